"""Hugging Face Jobs: one GPU machine of the hub, through huggingface_hub."""

import json
import os
import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from maxtext_ext.launch.code import Code
from maxtext_ext.launch.engines import place
from maxtext_ext.launch.job import SETUP, Job
from maxtext_ext.progress import say

if TYPE_CHECKING:
  from huggingface_hub import HfApi, JobInfo

  from maxtext_ext.launch.hub import Pace

IMAGE = "python:3.12"  # with git, tar and xz; the drivers come from the machine, CUDA from wheels
TOKEN = "HF_TOKEN"
_HIDDEN = "***"
_SHOWN = 60  # characters of a longer word of the command
_MARK = "launch"  # label by which a job is found whose acceptance was lost on the way
_SUBMISSION = 60.0  # seconds without an answer; short, as the user waits and nothing is lost yet
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, kw_only=True)
class Request:
  """Request for a job.

  Attributes:
    timeout: seconds, after which the hub ends it.
    attempts: of a job that fails, the first included; None: one.
    secrets: values by the names of environment variables.
    volumes: hf://buckets/OWNER/NAME:/MOUNT and the like.
  """

  name: str
  image: str
  command: tuple[str, ...]
  flavor: str
  timeout: int
  attempts: int | None
  secrets: dict[str, str]
  volumes: tuple[str, ...]

  def shown(self) -> str:
    """JSON with the names of the HTTP interface; secrets hidden, long words cut."""
    shown: dict[str, Any] = {
      "dockerImage": self.image,
      "command": [_cut(word) for word in self.command],
      "flavor": self.flavor,
      "timeoutSeconds": self.timeout,
      "labels": {"name": self.name},
    }
    if self.attempts:
      shown["attempts"] = self.attempts
    if self.secrets:
      shown["secrets"] = dict.fromkeys(self.secrets, _HIDDEN)
    if self.volumes:
      shown["volumes"] = [volume.to_dict() for volume in _parse_volumes(self.volumes)]
    return json.dumps(shown, indent=2, ensure_ascii=False)


def request(
  job: Job,
  code: Code,
  *,
  flavor: str,
  image: str,
  timeout: str,
  restarts: int,
  secret_names: Sequence[str],
  volumes: Sequence[str],
) -> Request:
  """Builds the request for a job.

  Args:
    flavor: of the machine: a100-large, h200; cpu-upgrade for a trial.
    timeout: 8h, 30m, or seconds.
    secret_names: of environment variables.

  Raises:
    ValueError: for a time or a volume that cannot be read, or a secret that is not set.
  """
  if flavor.startswith("cpu"):
    setup, start = "setup/install.sh none", job.command(".venv/bin/maxtext-ext")
  else:
    setup, start = SETUP.format(kind="cuda"), job.command()
  script = f"set -euo pipefail\n{code.script}\n{setup}\nexec {start}\n"
  missing = [name for name in secret_names if not os.environ.get(name)]
  if missing:
    raise ValueError(f"--secret {missing[0]}: not set in the environment; export it before")
  _parse_volumes(volumes)
  return Request(
    name=job.name,
    image=image,
    command=("bash", "-c", script, "maxtext-ext", *code.arguments),
    flavor=flavor,
    timeout=_seconds(timeout),
    attempts=restarts + 1 if restarts else None,
    secrets={name: os.environ[name] for name in secret_names},
    volumes=tuple(volumes),
  )


def write(job: Job, output: str, asked: Request) -> None:
  """Writes the request without its secrets to a file."""
  path = job.root / place(job, output, "")
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(f"{asked.shown()}\n", encoding="utf-8")


def run(asked: Request, namespace: str, *, monitor: bool, cancel: bool) -> int:
  """Submits a job and, with `monitor`, follows it to its end; returns the exit status.

  Args:
    namespace: user or organisation that pays; empty: the token's user.
    cancel: whether Ctrl-C cancels the job, rather than leaving it.
  """
  from huggingface_hub import HfApi, get_token
  from huggingface_hub.errors import HTTPError

  from maxtext_ext.launch import hub

  token = get_token()
  if not token:
    raise ValueError(f"no token of the Hugging Face hub: export {TOKEN}, or run `hf auth login`")
  api, pace = HfApi(token=token), hub.USUAL
  asked = replace(asked, secrets={TOKEN: token, **asked.secrets})
  try:
    job = submit(api, asked, namespace, pace)
    where = f"{job.owner.name}/{job.id}"
    say(f"job {where}: {job.url}")
    if not monitor:
      sys.stdout.write(f"{where}\n")
      return 0
    return _monitor(api, job, where, pace, cancel=cancel)
  except HTTPError as error:
    raise OSError(f"the hub at {api.endpoint} refuses: {error}") from error


def submit(api: "HfApi", asked: Request, namespace: str, pace: "Pace") -> "JobInfo":
  """Requests the job until the hub has accepted it exactly once."""
  from huggingface_hub.errors import HTTPError

  from maxtext_ext.launch.hub import insist, is_lasting, status_of

  pace = replace(pace, patience=min(pace.patience, _SUBMISSION))
  namespace = namespace or insist(lambda: api.whoami()["name"], "the hub", pace)
  mark = secrets.token_hex(8)
  labels = {"name": asked.name, _MARK: mark}
  refused = False

  def ask() -> "JobInfo":
    nonlocal refused
    if refused:  # without an answer that can be relied on: it may have been taken
      for job in _jobs_with(api, namespace, {_MARK: mark}):
        return job
    refused = True
    return api.run_job(
      image=asked.image,
      command=list(asked.command),
      secrets=asked.secrets,
      flavor=asked.flavor,
      timeout=asked.timeout,
      attempts=asked.attempts,
      labels=labels,
      volumes=_parse_volumes(asked.volumes) or None,
      namespace=namespace,
    )

  try:
    return insist(ask, "the hub", pace)
  except HTTPError as error:
    if status_of(error) == 413 and is_lasting(error):
      size = sum(map(len, asked.command)) / 1e3
      raise ValueError(
        f"the hub refuses a request of {size:.0f} kB: commit and push, and give --code git"
      ) from error
    raise


def _jobs_with(api: "HfApi", namespace: str, labels: dict[str, str]) -> "list[JobInfo]":
  from huggingface_hub.errors import HTTPError

  from maxtext_ext.launch.hub import is_lasting

  try:
    return list(api.list_jobs(labels=labels, namespace=namespace))
  except HTTPError as error:
    if is_lasting(error):  # a token that may not list
      return []
    raise


def _monitor(api: "HfApi", job: "JobInfo", where: str, pace: "Pace", *, cancel: bool) -> int:
  """Writes the log to standard output; returns 0 for a completed job, else 1."""
  from maxtext_ext.launch.job_log import JobLog

  def write(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()

  try:
    job = JobLog(api, job, write, pace).follow()
  except (KeyboardInterrupt, BrokenPipeError):
    if cancel:
      api.cancel_job(job_id=job.id, namespace=job.owner.name)
      say(f"job {where} is cancelled")
    else:
      say(
        f"job {where} continues; `hf jobs logs -f {where}` follows it, `hf jobs cancel {where}`"
        " ends it"
      )
    raise
  if job.status.stage == "COMPLETED":
    say(f"job {where}: completed")
    return 0
  reason = f": {job.status.message}" if job.status.message else ""
  say(f"error: job {where} ended as {job.status.stage}{reason}; see {job.url}")
  return 1


def _parse_volumes(volumes: Sequence[str]) -> list[Any]:
  if not volumes:
    return []
  from huggingface_hub import Volume
  from huggingface_hub.utils import parse_hf_mount

  parsed = []
  for text in volumes:
    try:
      mount = parse_hf_mount(text)
    except ValueError as error:
      raise ValueError(
        f"--volume {text}: expected hf://buckets/OWNER/NAME:/MOUNT, or hf://datasets/... ({error})"
      ) from error
    source = mount.source
    parsed.append(
      Volume(
        type=source.type,
        source=source.id,
        revision=source.revision,
        path=source.path_in_repo or None,
        mount_path=mount.mount_path,
        read_only=mount.read_only,
      )
    )
  return parsed


def _seconds(text: str) -> int:
  number, factor = (text[:-1], _UNITS[text[-1]]) if text[-1:] in _UNITS else (text, 1)
  try:
    seconds = int(float(number) * factor)
  except (ValueError, OverflowError):
    seconds = 0
  if seconds < 1:
    raise ValueError(f"--timeout {text!r}: expected a time such as 8h, 30m or 600 (seconds)")
  return seconds


def _cut(word: str) -> str:
  line = len(word) <= _SHOWN or "\n" in word or " " in word
  return word if line else f"{word[:_SHOWN]}... ({len(word)} characters)"
