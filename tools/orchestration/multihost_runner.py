#!/usr/bin/env python3
"""Runner of one command on all workers of TPU slices, from a machine beside them.

The flags are those of MaxText's runner, and some more; see --help and docs/pod.md.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from orchestration import detached, run_record
from orchestration.connection import end_clients
from orchestration.console import say
from orchestration.flags import project_and_zone
from orchestration.gcloud import GcloudError
from orchestration.interrupts import Interrupted, Interrupts
from orchestration.queued_resource import QueuedResourceError
from orchestration.runner_flags import parse_flags
from orchestration.slice_source import SliceSource, Wanted
from orchestration.supervisor import Plan, Supervisor
from orchestration.task import Limits, Outcome
from orchestration.tpu_workers import Place, find_workers

_VERBS = {
  "attach": "show the output of a run to its end, and end with its exit status",
  "logs": "print the last lines of the workers' logs",
  "status": "say how runs are; of one run, end with its exit status",
  "stop": "end a run on all its workers",
}


def run(flags: argparse.Namespace, arguments: list[str]) -> int:
  """Does a run; returns its exit status."""
  flags.RUN_NAME = run_record.check_run_name(flags.RUN_NAME)
  folder = run_record.log_folder(flags.RUN_NAME, flags.LOG_DIR)
  missing = [name for name in _names(flags.ENV) if name not in os.environ]
  if missing:
    raise ValueError(f"--ENV: {', '.join(missing)} is not in the environment: export it")
  code = None if flags.USE_EXISTING_FOLDER else Path(flags.SCRIPT_DIR)
  if code and not code.is_dir():
    raise ValueError(f"--SCRIPT_DIR={code}: no such folder")
  running = f"{flags.RUN_NAME} is running: `attach` or `stop` it, or give another name"
  if run_record.is_running(run_record.read(folder)):
    raise ValueError(running)
  place = Place(*project_and_zone(flags.PROJECT, flags.ZONE), flags.INTERNAL_IP)
  if flags.dry_run:
    return _describe(flags, place, code)
  if flags.detach:
    kept = [each for each in arguments if each not in ("--detach", "--DETACH")]
    if not any(each.startswith("--RUN_NAME") for each in kept):
      kept.append(f"--RUN_NAME={flags.RUN_NAME}")
    detached.start(Path(__file__).resolve(), kept, flags.RUN_NAME, folder)
    return 0
  interrupts = Interrupts()
  if not run_record.claim(folder):
    raise ValueError(running)
  run_record.write(
    folder,
    run_name=flags.RUN_NAME,
    command=flags.COMMAND,
    project=place.project,
    zone=place.zone,
    internal_ip=place.internal_ip,
    began=time.time(),
    pid=os.getpid(),
    pid_start=run_record.process_start(os.getpid()),
    state="running",
    workers=[],
    unconfirmed=[],
  )
  try:
    outcome = _supervise(flags, place, code, folder, interrupts)
  except Interrupted as error:
    outcome = Outcome(error.status, str(error), wished=True)
  except (GcloudError, QueuedResourceError, OSError, ValueError) as error:
    outcome = Outcome(1, str(error))
  finally:
    end_clients()
  _summarise(outcome, folder)
  try:
    run_record.write(
      folder,
      state="ended",
      status=outcome.status,
      text=outcome.text,
      unconfirmed=list(outcome.unconfirmed),
    )
  except OSError as error:  # a full disk; how the run ended matters more
    say(f"{folder} cannot be written, so `status` will not know the end: {error.strerror}")
  return outcome.status


def _supervise(
  flags: argparse.Namespace, place: Place, code: Path | None, folder: Path, interrupts: Interrupts
) -> Outcome:
  plan = Plan(
    place=place,
    prefix=flags.TPU_PREFIX,
    run_name=flags.RUN_NAME,
    command=flags.COMMAND,
    logs=folder,
    numbers=flags.numbers,
    code=code,
    setup=flags.SETUP_COMMAND,
    secrets={name: os.environ[name] for name in _names(flags.ENV)},
    scp_timeout=flags.SCP_TIMEOUT_SECS,
    restarts=flags.restarts,
    preemptions=flags.preemptions,
  )
  limits = Limits(
    connect=flags.CONNECT_TIMEOUT_SECS,
    retries=flags.RETRIES,
    command=flags.TIMEOUT_SECS,
    stop_grace=flags.STOP_GRACE_SECS,
  )
  wanted = Wanted(
    queued_resource=flags.QUEUED_RESOURCE,
    accelerator_type=flags.ACCELERATOR_TYPE,
    runtime_version=flags.RUNTIME_VERSION,
    spot=flags.SPOT,
    queue_timeout=flags.QUEUE_TIMEOUT_SECS,
  )
  poll = float(os.environ.get("MULTIHOST_POLL", "30"))  # seconds
  source = SliceSource(place, flags.TPU_PREFIX, wanted, poll)
  return Supervisor(plan, limits, interrupts, source).run()


def _names(texts: list[str]) -> list[str]:
  return [name.strip() for text in texts for name in text.split(",") if name.strip()]


def _describe(flags: argparse.Namespace, place: Place, code: Path | None) -> int:
  """Says what a run would do."""
  for worker in find_workers(place, flags.TPU_PREFIX, flags.numbers):
    print(f"{worker.slice_name} {worker.name}: cd {flags.RUN_NAME} && {flags.COMMAND}")
  print(f"code: {code or f'what is in ~/{flags.RUN_NAME}'}")
  if flags.SETUP_COMMAND:
    print(f"before it: {flags.SETUP_COMMAND}")
  return 0


def _summarise(outcome: Outcome, folder: Path) -> None:
  """Says how a run ended, last what matters most."""
  if outcome.tail:
    say("last lines of the worker that failed:")
    for line in outcome.tail:
      say(f"  | {line}")
  if outcome.unconfirmed:
    say(
      f"not certain to have stopped: {', '.join(outcome.unconfirmed)}; try"
      f" `multihost_runner.py stop` when it can be reached"
    )
  say(f"logs: {folder}")
  say(outcome.text if outcome.status == 0 else f"error: {outcome.text}")


def ask_about_runs(verb: str, arguments: list[str]) -> int:
  """Does `attach`, `logs`, `status` or `stop`; returns the exit status."""
  parser = argparse.ArgumentParser(
    prog=f"multihost_runner.py {verb}", description=_VERBS[verb], allow_abbrev=False
  )
  parser.add_argument("RUN_NAME", nargs="?" if verb == "status" else None)
  parser.add_argument("--LOG_DIR", default="", help="if the run was given one")
  if verb == "logs":
    parser.add_argument("--lines", type=int, default=20, help="of each (default: 20)")
    parser.add_argument("--follow", action="store_true", help="show the output as it comes")
  if verb == "stop":
    parser.add_argument("--STOP_GRACE_SECS", type=float, default=Limits.stop_grace)
  flags = parser.parse_args(arguments)
  if flags.RUN_NAME is None and not flags.LOG_DIR:
    for record in run_record.all_runs():
      detached.report(record)
    return 0
  folder = run_record.log_folder(flags.RUN_NAME or "", flags.LOG_DIR)
  record = run_record.read(folder)
  if not record:
    raise ValueError(f"no run in {folder}: `multihost_runner.py status` lists the runs")
  if verb == "status":
    return detached.report(record)
  if verb == "attach":
    return detached.attach(record, folder)
  if verb == "stop":
    return detached.stop(record, folder, flags.STOP_GRACE_SECS)
  return _print_logs(folder, flags.lines, follow=flags.follow)


def _print_logs(folder: Path, lines: int, *, follow: bool) -> int:
  if follow:
    detached.follow(folder / run_record.CONSOLE, folder, lines)
    return 0
  for path in sorted(folder.glob("output_slice_*.txt")):
    print(f"==> {path} <==")
    print("\n".join(path.read_text(errors="replace").splitlines()[-lines:]))
  return 0


def main(arguments: list[str]) -> int:
  """Reads the command line and does it."""
  try:
    if arguments and arguments[0] in _VERBS:
      return ask_about_runs(arguments[0], arguments[1:])
    return run(parse_flags(arguments), arguments)
  except (GcloudError, OSError, ValueError) as error:
    say(f"error: {error}")
    return 1
  except (Interrupted, KeyboardInterrupt):
    return 130


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
