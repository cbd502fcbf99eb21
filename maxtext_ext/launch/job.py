"""Job description that all engines share: command, checkout and requirements."""

import os
import pathlib
import re
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from maxtext_ext.files.connection import is_url
from maxtext_ext.keys.maxtext import configs_folder
from maxtext_ext.keys.settings import Settings, kinds, read, refuse_repeats

Task = Literal["train", "decode"]
# The environment and its programs. Nothing is tried there: the job takes the chips at once.
SETUP = "bash setup/setup_{kind}_worker.sh --skip-doctor"  # tpu or cuda
PROGRAM = "~/venv-maxtext/bin/maxtext-ext"
SECRETS = ("HF_TOKEN", "WANDB_API_KEY")
_TOKEN_KEY = "hf_access_token"
_SHORTEST_SECRET = 8  # characters; a shorter value is in many others by chance
_LONGEST_NAME = 40  # characters; XPK takes no more
_PLACES = ("data_dir", "load_parameters_path", "tokenizer_path", "base_output_directory")
_PLACES_OF_DECODING = ("output", "decode_input")


@dataclass(frozen=True, kw_only=True)
class Job:
  """Training or decoding job.

  Attributes:
    config: path of the yml file from the root of the checkout, which every engine copies.
    config_files: that file and its base files, likewise.
    overrides: `key=value` strings.
    name: lower-case letters, digits and dashes.
    root: of the checkout.
    settings: every key, as the job reads it.
  """

  task: Task
  config: str
  config_files: tuple[str, ...]
  overrides: tuple[str, ...]
  name: str
  root: pathlib.Path
  settings: Settings

  @property
  def arguments(self) -> list[str]:
    """Arguments of `maxtext-ext`."""
    return [self.task, self.config, *self.overrides]

  def command(self, program: str = PROGRAM) -> str:
    """Bash line, to be run in the root of the copied checkout."""
    return f"{program} {shlex.join(self.arguments)}"

  def local_places(self) -> list[str]:
    """Keys that name folders of the job's machine, as `key=folder`."""
    keys = [*_PLACES, *(_PLACES_OF_DECODING if self.task == "decode" else ())]
    folders = [(key, str(self.settings.values.get(key) or "")) for key in keys]
    folders += [("mixture", data["data_dir"]) for data in self.settings.mixture[:1]]
    return [f"{key}={path}" for key, path in folders if path and not is_url(path)]


def read_job(task: Task, config: str, overrides: Sequence[str], name: str) -> Job:
  """Checks the keys as the command itself does, and describes the job.

  Folders are not checked, as they are on the job's machine. M_KEY variables of this machine become
  overrides.

  Args:
    name: empty: the run's name.

  Raises:
    ValueError: for wrong keys or keys with a token, a configuration outside the checkout, or a name
      with other characters.
  """
  refuse_repeats(overrides)
  settings = read(config, overrides, on_another_machine=True)
  root = find_root()
  files = _config_files(settings.files, root)
  environment = [
    f"{key}={os.environ[variable]}"
    for key in kinds()
    if (variable := f"M_{key.upper()}") in os.environ
  ]
  _refuse_secrets((*overrides, *environment))
  return Job(
    task=task,
    config=files[-1],
    config_files=files,
    overrides=(*overrides, *environment),
    name=_checked_name(name) if name else _name_of(settings.run_name),
    root=root,
    settings=settings,
  )


def find_root() -> pathlib.Path:
  """Finds the root of the checkout that this package runs from.

  Raises:
    ValueError: the package is installed without a checkout.
  """
  root = pathlib.Path(__file__).resolve().parents[2]
  if not (root / "pyproject.toml").is_file() or not (root / "setup").is_dir():
    raise ValueError(
      "launch sends a checkout of the repository to the job, and this package is installed without"
      " one: clone the repository, run setup/install.sh, and launch from there"
    )
  return root


def git(root: pathlib.Path, *arguments: str) -> str | None:
  """Returns git's answer; None where it fails or there is no git or no repository."""
  quiet = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true"}
  try:
    finished = subprocess.run(
      ["git", "-C", str(root), *arguments],
      env=quiet,
      stdin=subprocess.DEVNULL,
      capture_output=True,
      text=True,
      check=False,
    )
  except FileNotFoundError:
    return None
  return finished.stdout if finished.returncode == 0 else None


def _config_files(names: Sequence[str], root: pathlib.Path) -> tuple[str, ...]:
  """Lists a configuration and its base files, from the root, without MaxText's own."""
  files = []
  for name in names:
    path = pathlib.Path(name).resolve()
    if path.is_relative_to(configs_folder()):
      continue
    if not path.is_relative_to(root):
      raise ValueError(f"{name} is not in {root}, which is what the job gets: copy it to configs/")
    files.append(path.relative_to(root).as_posix())
    if git(root, "check-ignore", files[-1]):
      raise ValueError(f"{name} is ignored by git, so the job does not get it: copy it to configs/")
  return tuple(files)


def _refuse_secrets(overrides: Sequence[str]) -> None:
  """Rejects keys with tokens: keys are written to files and shown by `ps`."""
  for text in overrides:
    key, _, value = text.partition("=")
    if key == _TOKEN_KEY and value:
      raise ValueError(f"{key} would be written down; export HF_TOKEN instead, and leave it out")
    for name in SECRETS:
      secret = os.environ.get(name, "")
      if len(secret) >= _SHORTEST_SECRET and secret in value:
        raise ValueError(
          f"{key} holds the value of {name}, and would be written down; leave it out"
        )


def _checked_name(name: str) -> str:
  if name != _name_of(name):
    raise ValueError(
      f"--name {name!r}: expected up to {_LONGEST_NAME} lower-case letters, digits and dashes, such"
      f" as {_name_of(name)}"
    )
  return name


def _name_of(text: str) -> str:
  """Makes a name that every engine accepts: a letter, then letters, digits and dashes."""
  name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
  if not name[:1].isalpha():
    name = f"job-{name}"
  return name[:_LONGEST_NAME].strip("-")
