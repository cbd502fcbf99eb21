#!/usr/bin/env python3
"""Job on new TPU slices: requests them, runs a command on every worker, and deletes them.

The flags are those of MaxText's multihost_job.py, and some more; see --help and docs/pod.md.
"""

from __future__ import annotations

import argparse
import getpass
import os
import re
import secrets
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from orchestration.bucket import BucketFolder
from orchestration.code_archive import write_archive
from orchestration.console import say
from orchestration.flags import boolean, project_and_zone
from orchestration.gcloud import GcloudError
from orchestration.job_script import request_slices, startup_script
from orchestration.job_state import JOB_FILE, Job, workers_of
from orchestration.job_watch import JobError, JobWatch, latest_job
from orchestration.queued_resource import BOOT_TIMEOUT, QUEUE_TIMEOUT, QueuedResource
from orchestration.tpu_states import ABSENT, ENDED, QueuedResourceError

# A jumpbox has two cores, and gcloud takes a second of one: it looks less often than the workers.
_WATCH = 4

_VERBS = {
  "attach": "show the log of worker 0 to the end of the job, and end with its exit status",
  "logs": "print the log of a worker",
  "status": "say how a job goes; of one that is over, end with its exit status",
  "stop": "end a job on all its workers, and delete its slices",
}


def default_run_name() -> str:
  """Returns user and time, in the letters that names of TPUs may have."""
  try:
    user = re.sub(r"[^a-z0-9]+", "-", getpass.getuser().lower()).strip("-")
  except (KeyError, OSError):  # a container's user that has no name
    user = ""
  return f"{user or 'job'}-{time.strftime('%Y-%m-%d-%H-%M-%S')}"


def parse_flags(arguments: Sequence[str] | None) -> argparse.Namespace:
  """Reads the flags of a job."""
  parser = argparse.ArgumentParser(
    prog="multihost_job.py",
    description="Requests TPU slices, runs a command on each of their workers, deletes them.",
    epilog="Of jobs that were submitted: multihost_job.py {attach,logs,status,stop} RUN_NAME "
    "--BUCKET_NAME=NAME",
    allow_abbrev=False,
  )
  group = parser.add_argument_group("where and what").add_argument
  group("--COMMAND", required=True, help="for bash; with all set-up that it needs")
  group("--BUCKET_NAME", required=True, help="bucket for code, logs and exit statuses")
  group("--BUCKET_DIR", default="", help="folder in the bucket (default: its root)")
  group("--RUN_NAME", default=default_run_name(), help="name of the job (default: user and time)")
  group("--SCRIPT_DIR", default=os.getcwd(), help="folder whose files git tracks (default: this)")
  group("--PROJECT", default="", help="default: that of the gcloud configuration")
  group("--ZONE", default="", help="default: that of the gcloud configuration")
  group = parser.add_argument_group("the slices").add_argument
  group("--TPU_TYPE", default="v4-8", help="default: %(default)s")
  group("--VERSION", default="tpu-ubuntu2204-base", help="default: %(default)s")
  group("--NUM_SLICES", type=int, default=2, help="default: %(default)s")
  group("--WORKERS_PER_SLICE", type=int, default=0, help="default: as --TPU_TYPE says")
  group("--CQR_EXTRA_ARGS", default="", help='more arguments for gcloud, such as "--spot"')
  _boolean(group, "--ENABLE_AUTOCHECKPOINT", False, "pass --autocheckpoint-enabled on")
  group = parser.add_argument_group("the job").add_argument
  _boolean(group, "--WAIT", False, "show the log to the end, and end with its exit status")
  group("--RESTARTS", type=int, default=0, help="attempts after failed ones (default: 0)")
  group("--PREEMPTIONS", type=int, default=10, help="attempts after lost machines (default: 10)")
  group(
    "--DELETE_AFTER_SECS",
    type=float,
    default=600.0,
    help="from the end until the slices delete themselves; negative: never (default: 600)",
  )
  _boolean(group, "--VENV", True, "make and activate a virtual environment, as MaxText does")
  group("--LOG_SECS", type=float, default=60.0, help="between copies of the logs (default: 60)")
  _add_waiting(group)
  return parser.parse_args(arguments)


def _boolean(group, name: str, default: bool, text: str) -> None:  # noqa: ANN001
  group(
    name, type=boolean, default=default, metavar="BOOL", help=f"{text} (default: {default})".lower()
  )


def _add_waiting(group) -> None:  # noqa: ANN001
  group(
    "--QUEUE_TIMEOUT_SECS",
    type=int,
    default=0,
    help="in the queue until the request is withdrawn (default: never; a day if watched)",
  )
  group("--BOOT_TIMEOUT_SECS", type=float, default=BOOT_TIMEOUT, help="default: %(default).0f")
  group("--POLL_SECS", type=float, default=4.0, help="between looks at marks (default: 4)")


def parse_verb(arguments: Sequence[str]) -> argparse.Namespace:
  """Reads the command line about a job that was submitted."""
  parser = argparse.ArgumentParser(prog="multihost_job.py", allow_abbrev=False)
  verbs = parser.add_subparsers(dest="verb", required=True)
  for verb, text in _VERBS.items():
    one = verbs.add_parser(verb, help=text, description=text, allow_abbrev=False)
    one.add_argument("RUN_NAME")
    one.add_argument("--BUCKET_NAME", required=True)
    one.add_argument("--BUCKET_DIR", default="")
    _add_waiting(one.add_argument)
    if verb == "logs":
      one.add_argument("--SLICE", type=int, default=0, help="default: 0")
      one.add_argument("--WORKER", type=int, default=0, help="default: 0")
  return parser.parse_args(arguments)


def run_folder(bucket_name: str, bucket_dir: str, run_name: str) -> str:
  """Returns the URL of a run's folder.

  Raises:
    ValueError: the name of the run cannot be that of a folder.
  """
  if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", run_name):
    raise ValueError(f"--RUN_NAME={run_name}: expected letters, digits, `-`, `_` and `.` only")
  bucket = bucket_name[len("gs://") :] if bucket_name.startswith("gs://") else bucket_name
  parts = [bucket.strip("/"), bucket_dir.strip("/"), run_name]
  return f"gs://{'/'.join(part for part in parts if part)}"


def job_of(flags: argparse.Namespace) -> Job:
  """Returns the job that the flags ask for."""
  project, zone = project_and_zone(flags.PROJECT, flags.ZONE)
  if flags.NUM_SLICES < 1:
    raise ValueError(f"--NUM_SLICES={flags.NUM_SLICES}: expected 1 or more")
  extra = shlex.split(flags.CQR_EXTRA_ARGS)
  return Job(
    id=f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(3)}",
    run_name=flags.RUN_NAME,
    command=flags.COMMAND,
    folder=run_folder(flags.BUCKET_NAME, flags.BUCKET_DIR, flags.RUN_NAME),
    project=project,
    zone=zone,
    tpu_type=flags.TPU_TYPE,
    version=flags.VERSION,
    slices=flags.NUM_SLICES,
    workers=flags.WORKERS_PER_SLICE or workers_of(flags.TPU_TYPE),
    extra=[*extra, *["--autocheckpoint-enabled"] * flags.ENABLE_AUTOCHECKPOINT],
    restarts=flags.RESTARTS,
    preemptions=flags.PREEMPTIONS,
    queue_seconds=flags.QUEUE_TIMEOUT_SECS,
    delete_after=flags.DELETE_AFTER_SECS,
    venv=flags.VENV,
    poll_seconds=flags.POLL_SECS,
    log_seconds=flags.LOG_SECS,
  )


def submit(job: Job, script_dir: Path) -> None:
  """Brings code and job into the bucket, and requests the slices."""
  startup_script(job)  # an error in it must come before anything has happened
  resource = QueuedResource(job.run_name, job.project, job.zone)
  state = resource.state()
  if state not in (ABSENT, *ENDED):
    raise JobError(
      f"{job.run_name} is {state}: `multihost_job.py attach {job.run_name}` follows it, `stop` "
      "ends it; or take another --RUN_NAME"
    )
  folder = BucketFolder(job.folder)
  with tempfile.TemporaryDirectory() as local:
    archive = Path(local) / job.archive
    count = write_archive(script_dir, archive)
    size = archive.stat().st_size / 2**20
    say(f"copying {count} files of {script_dir} ({size:.1f} MiB) to {job.folder}")
    folder.upload(archive, job.archive)
  folder.write(JOB_FILE, job.to_json())
  if state != ABSENT:
    say(f"{job.run_name} is {state}, deleting it")
    resource.delete()
  request_slices(job, resource)
  flags = f"--BUCKET_NAME={job.folder.split('/')[2]}"
  below = "/".join(job.folder.split("/")[3:-1])
  flags += f" --BUCKET_DIR={below}" if below else ""
  say(
    f"requested {job.slices} x {job.tpu_type} as {job.run_name}; the job starts when they are there"
  )
  say(f"  logs and exit statuses: {job.folder}")
  say(f"  how it goes:            multihost_job.py status {job.run_name} {flags}")


def print_flags(flags: argparse.Namespace, job: Job) -> None:
  """Says what the job is, with its defaults filled in."""
  resolved = {**vars(flags), "PROJECT": job.project, "ZONE": job.zone}
  resolved["WORKERS_PER_SLICE"] = job.workers
  for name, value in resolved.items():
    say(f"--{name}={value}")


def run(arguments: Sequence[str]) -> int:
  """Carries out a command line; returns the exit status."""
  if arguments and arguments[0] in _VERBS:
    flags = parse_verb(arguments)
    folder = run_folder(flags.BUCKET_NAME, flags.BUCKET_DIR, flags.RUN_NAME)
    job = latest_job(BucketFolder(folder))
    if job is None:
      raise JobError(f"there is no job in {folder}: check RUN_NAME, --BUCKET_NAME, --BUCKET_DIR")
    watch = JobWatch(job, _WATCH * flags.POLL_SECS)
    if flags.verb == "logs":
      return watch.log(flags.SLICE, flags.WORKER)
    if flags.verb == "status":
      return watch.status()
    if flags.verb == "stop":
      return watch.stop()
    return watch.attach(flags.QUEUE_TIMEOUT_SECS or QUEUE_TIMEOUT, flags.BOOT_TIMEOUT_SECS, False)
  flags = parse_flags(arguments)
  job = job_of(flags)
  print_flags(flags, job)
  watch = JobWatch(job, _WATCH * flags.POLL_SECS)
  if flags.WAIT:
    watch.skip_log()
  submit(job, Path(flags.SCRIPT_DIR))
  if not flags.WAIT:
    return 0
  return watch.attach(flags.QUEUE_TIMEOUT_SECS or QUEUE_TIMEOUT, flags.BOOT_TIMEOUT_SECS, True)


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  try:
    return run(sys.argv[1:] if arguments is None else arguments)
  except (JobError, QueuedResourceError, GcloudError, ValueError, OSError) as error:
    say(f"error: {error}")
    return 1
  except KeyboardInterrupt:
    say("interrupted; a job that was submitted goes on: see `status`, `attach` and `stop`")
    return 130


if __name__ == "__main__":
  sys.exit(main())
