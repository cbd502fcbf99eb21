"""Code of a Hugging Face job: a commit that the job clones, or the checkout in the request itself.

There is no image of this project in a registry. The hub's buckets, where `hf jobs uv run` puts
scripts, were considered: they would keep a third of a megabyte per job until somebody deletes it.
"""

import base64
import io
import lzma
import pathlib
import re
import shlex
import tarfile
from dataclasses import dataclass
from typing import Literal

from maxtext_ext.launch.job import Job, git

How = Literal["auto", "git", "inline"]
# What a run needs of the checkout; tests and documents stay here.
_PARTS = ("maxtext_ext", "configs", "setup", "pyproject.toml", "README.md", "LICENSE")
_LEFT_OUT = ("__pycache__",)
# The system takes no longer argument (MAX_ARG_STRLEN is 128 KiB).
_CHUNK = 100_000  # characters
_FOLDER = "~/maxtext"


@dataclass(frozen=True, kw_only=True)
class Code:
  """Transfer of the code to a job.

  Attributes:
    script: lines of bash that put it into the current folder.
    arguments: of that script.
    said: message for the user.
  """

  script: str
  arguments: tuple[str, ...]
  said: str


def choose(job: Job, how: How) -> Code:
  """Chooses the transfer; auto: clone if that gives exactly this checkout, else in the request."""
  if how == "inline":
    return _inline(job, "")
  problem = _why_not_cloned(job)
  if problem and how == "git":
    raise ValueError(f"--code git: {problem}; or take --code inline")
  return _inline(job, problem) if problem else _cloned(job)


def _inline(job: Job, reason: str) -> Code:
  """Returns the transfer of git's tracked files and the configuration's files in the request."""
  names = _files(job)
  packed = _pack(job.root, names)
  text = base64.b64encode(packed).decode()
  chunks = tuple(text[i : i + _CHUNK] for i in range(0, len(text), _CHUNK))
  return Code(
    script=f'mkdir -p {_FOLDER} && cd {_FOLDER}\nprintf %s "$@" | base64 -d | tar -xJ',
    arguments=chunks,
    said=(
      f"{len(names)} files of this checkout, {len(text) / 1e3:.0f} kB in the request"
      f"{reason and f' ({reason})'}"
    ),
  )


def _cloned(job: Job) -> Code:
  """Returns the transfer that clones the checkout's commit."""
  commit, url = _commit(job.root), _public_url(job.root)
  return Code(
    script=(
      f"git clone --quiet {shlex.quote(url)} {_FOLDER} && cd {_FOLDER}\n"
      f"git checkout --quiet {commit}"
    ),
    arguments=(),
    said=f"commit {commit[:12]} of {url}",
  )


def _why_not_cloned(job: Job) -> str:
  """Returns why a job cannot clone exactly this checkout; empty: it can."""
  root = job.root
  if not _commit(root):
    return "there is no commit; commit and push"
  if changed := (git(root, "status", "--porcelain", "--", *_PARTS) or "").splitlines():
    return f"{changed[0][3:]} is not as committed ({len(changed)} such files); commit and push"
  for name in job.config_files:
    if git(root, "ls-files", "--error-unmatch", name) is None:
      return f"{name} is not tracked by git; add, commit and push it"
  url = _public_url(root)
  if not url:
    return "there is no remote `origin` with an address; add one and push"
  if not (git(root, "branch", "--remotes", "--contains", "HEAD") or "").strip():
    return "the commit is on no branch of the remote; push"
  if git(root, "-c", "credential.helper=", "ls-remote", "--quiet", url, "HEAD") is None:
    return f"{url} cannot be read without a password, so the job cannot clone it"
  return ""


def _commit(root: pathlib.Path) -> str:
  return (git(root, "rev-parse", "--verify", "--quiet", "HEAD") or "").strip()


def _public_url(root: pathlib.Path) -> str:
  """Returns the https:// address of `origin`, without a user and a password; empty without one."""
  url = (git(root, "config", "--get", "remote.origin.url") or "").strip()
  if match := re.fullmatch(r"(?:ssh://)?[\w.-]+@([\w.-]+)[:/](.+)", url):
    return f"https://{match[1]}/{match[2]}"
  return re.sub(r"^https://[^/@]*@", "https://", url) if url.startswith("https://") else ""


def _files(job: Job) -> list[str]:
  """Lists paths from the root, sorted."""
  listed = git(job.root, "ls-files", "-z", "--", *_PARTS)
  if listed:
    names = {name for name in listed.split("\0") if name and (job.root / name).is_file()}
  else:  # no git, or nothing that it tracks: an unpacked archive
    found = [path for part in _PARTS for path in _walk(job.root / part)]
    names = {path.relative_to(job.root).as_posix() for path in found}
  return sorted(names.union(job.config_files))


def _walk(path: pathlib.Path) -> list[pathlib.Path]:
  if path.is_file():
    return [path]
  return [p for p in path.rglob("*") if p.is_file() and not set(_LEFT_OUT) & set(p.parts)]


def _pack(root: pathlib.Path, names: list[str]) -> bytes:
  """Packs files into a reproducible tar.xz: the same files give the same bytes."""
  buffer = io.BytesIO()
  with tarfile.open(fileobj=buffer, mode="w") as archive:
    for name in names:
      info = archive.gettarinfo(root / name, arcname=name)
      info.mtime = info.uid = info.gid = 0
      info.uname = info.gname = ""
      with open(root / name, "rb") as file:
        archive.addfile(info, file if info.isreg() else None)
  return lzma.compress(buffer.getvalue(), preset=9)
