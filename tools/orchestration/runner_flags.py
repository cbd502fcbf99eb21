"""Flags of the runner: those of MaxText's runner, and its own."""

from __future__ import annotations

import argparse
import os
import time

from orchestration.flags import boolean
from orchestration.slice_source import Wanted
from orchestration.task import Limits


def parse_flags(arguments: list[str]) -> argparse.Namespace:
  """Reads the flags of a run."""
  parser = argparse.ArgumentParser(
    prog="multihost_runner.py",
    description="Copies code to all workers of TPU slices and runs one command on each.",
    epilog="Of runs that were started: multihost_runner.py {attach,logs,status,stop} RUN_NAME",
    allow_abbrev=False,
  )
  group = parser.add_argument_group("where and what").add_argument
  group("--TPU_PREFIX", required=True, help="name of the slice; of several: what stands before -0")
  group("--PROJECT", default="", help="default: that of the gcloud configuration")
  group("--ZONE", default="", help="default: that of the gcloud configuration")
  group(
    "--INTERNAL_IP",
    type=boolean,
    default=False,
    metavar="BOOL",
    help="true on a machine of the same project (default: false)",
  )
  group(
    "--COMMAND",
    required=True,
    help="for bash; runs in the folder RUN_NAME of each worker, with MULTIHOST_SLICE and"
    " MULTIHOST_WORKER, both from 0, in its environment",
  )
  group("--WORKER", default="all", help="all, or numbers such as 0 or 0,2 (default: all)")
  group(
    "--ENV",
    action="append",
    default=[],
    metavar="NAME,...",
    help="variables of this environment that the workers get, in no file and no command line;"
    " may be given several times",
  )
  group = parser.add_argument_group("the code").add_argument
  group(
    "--SCRIPT_DIR",
    default=os.getcwd(),
    help="folder whose files, as git tracks them, are copied (default: this one)",
  )
  group(
    "--RUN_NAME",
    default=time.strftime("%Y-%m-%d-%H-%M-%S"),
    help="name of the run, and of its folder on the workers (default: the time)",
  )
  group(
    "--USE_EXISTING_FOLDER",
    type=boolean,
    default=False,
    metavar="BOOL",
    help="run in the folder RUN_NAME that is there, copy nothing (default: false)",
  )
  group(
    "--SETUP_COMMAND",
    default="",
    help="runs before COMMAND at the start, and on slices that were made anew",
  )
  group = parser.add_argument_group("when something fails").add_argument
  group(
    "--restarts",
    "--RESTARTS",
    type=int,
    default=0,
    metavar="N",
    help="start all workers again after a failure, at most N times in all (default: 0)",
  )
  group(
    "--preemptions",
    "--PREEMPTIONS",
    type=int,
    default=0,
    metavar="M",
    help="make a slice anew that was taken away, at most M times in all (default: 0)",
  )
  group("--QUEUED_RESOURCE", default="", help="that made the slices (default: as gcloud says)")
  group("--ACCELERATOR_TYPE", default="", help="of new slices (default: that of the lost ones)")
  group("--RUNTIME_VERSION", default="", help="of new slices (default: that of the lost ones)")
  group(
    "--SPOT",
    type=boolean,
    default=None,
    metavar="BOOL",
    help="whether new slices are spot (default: as the lost ones)",
  )
  group(
    "--QUEUE_TIMEOUT_SECS",
    type=float,
    default=Wanted.queue_timeout,
    metavar="S",
    help="for a new slice to leave the queue (default: %(default)g)",
  )
  group = parser.add_argument_group("limits").add_argument
  group(
    "--TIMEOUT_SECS",
    type=float,
    default=0,
    metavar="S",
    help="for the command; status 124 after it (default: no limit)",
  )
  group(
    "--SCP_TIMEOUT_SECS",
    type=int,
    default=600,
    metavar="S",
    help="for the code to be copied (default: %(default)s)",
  )
  group(
    "--CONNECT_TIMEOUT_SECS",
    type=float,
    default=Limits.connect,
    metavar="S",
    help="for a worker to answer (default: %(default)g)",
  )
  group(
    "--RETRIES",
    type=int,
    default=Limits.retries,
    metavar="N",
    help="more attempts to connect or copy, after 1, 2, 4 ... s (default: %(default)s)",
  )
  group(
    "--STOP_GRACE_SECS",
    type=float,
    default=Limits.stop_grace,
    metavar="S",
    help="for the command to end after Ctrl-C, `stop` or a lost connection (default: %(default)g)",
  )
  group = parser.add_argument_group("logs").add_argument
  group("--LOG_DIR", default="", help="folder of a log for each worker (default: RUN_NAME in /tmp)")
  group("--detach", "--DETACH", action="store_true", help="go on in tmux; see attach, status, stop")
  group("--dry-run", "--DRY_RUN", action="store_true", help="say what would run where, do nothing")
  flags = parser.parse_args(arguments)
  flags.numbers = _numbers(parser, flags.WORKER)
  for name in ("restarts", "preemptions", "RETRIES", "TIMEOUT_SECS", "STOP_GRACE_SECS"):
    if getattr(flags, name) < 0:
      parser.error(f"--{name}={getattr(flags, name)}: expected 0 or more")
  for name in ("TPU_PREFIX", "COMMAND", "RUN_NAME"):
    if not getattr(flags, name).strip():
      parser.error(f"--{name} is empty")
  if flags.preemptions and flags.USE_EXISTING_FOLDER and not flags.SETUP_COMMAND:
    parser.error(
      "--preemptions makes slices anew, with empty disks: give --SETUP_COMMAND, which brings the"
      " code there, or --USE_EXISTING_FOLDER=false"
    )
  return flags


def _numbers(parser: argparse.ArgumentParser, text: str) -> tuple[int, ...]:
  if text == "all":
    return ()
  if not all(each.strip().isdigit() for each in text.split(",")):
    parser.error(f"--WORKER={text}: expected all, or numbers such as 0 or 0,2")
  return tuple(int(each) for each in text.split(","))
