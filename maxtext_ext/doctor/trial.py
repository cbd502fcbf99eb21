"""Test of JAX in a process of its own, with a time limit."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from maxtext_ext.doctor.checks import Finding
from maxtext_ext.doctor.machine import alone_environment, holders, tpu_files
from maxtext_ext.doctor.probe import REPORT, STEPS

# Variables that would make JAX wait for other machines, and keys of a run (M_...) for this one.
_OF_RUNS = ("JAX_COORDINATOR_", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID", "MEGASCALE_", "M_")
_LINE = 300  # characters of an error
_DOING = {
  "devices": "start JAX on the accelerator",
  "found": f"train {STEPS} steps of a tiny model",
}


@dataclass(frozen=True, kw_only=True)
class Trial:
  """Report of the process.

  Attributes:
    devices: of this machine, as JAX has them: platform, kind, bytes of memory and of it used.
    training: seconds of the trial, of its last step, and its loss; empty: it was not reached.
    findings: problems and successes.
  """

  devices: Sequence[Mapping[str, Any]] = ()
  training: Mapping[str, float] = field(default_factory=dict)
  findings: Sequence[Finding] = ()


def attempt(seconds: float, command: Sequence[str] | None = None) -> Trial:
  """Tests JAX on this machine alone; ends the process after a time limit in seconds.

  Args:
    command: instead of the probe; it is given the folder of its report.
  """
  chips = tpu_files()
  command = command or (sys.executable, "-m", "maxtext_ext.doctor.probe")
  with tempfile.TemporaryDirectory(prefix="doctor-", ignore_cleanup_errors=True) as folder:
    with open(os.path.join(folder, "log"), "wb") as log:
      process = subprocess.Popen(
        [*command, folder],
        env=_environment(len(chips)),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,  # it may have children, which end with it
      )
      try:
        with contextlib.suppress(subprocess.TimeoutExpired):
          process.wait(seconds)
      finally:
        ended = process.poll() is not None
        _end(process)
    stages = _stages(folder)
    if "trained" in stages:
      problem = None
    else:
      stage = "found" if "found" in stages else "devices"
      what = _DOING[stage]
      problem = _failed(what, process.returncode, folder) if ended else _hung(what, seconds, chips)
  return Trial(
    devices=stages.get("found", {}).get("devices", ()),
    training=stages.get("trained", {}),
    findings=[] if problem is None else [problem],
  )


def _environment(chips: int) -> dict[str, str]:
  kept = {name: value for name, value in os.environ.items() if not name.startswith(_OF_RUNS)}
  kept.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # leaves a GPU to others
  return kept | (alone_environment(chips) if chips else {})


def _end(process: subprocess.Popen[bytes]) -> None:
  """Ends the process and its children; one that hangs in the kernel is left."""
  with contextlib.suppress(ProcessLookupError):
    os.killpg(process.pid, signal.SIGKILL)
  with contextlib.suppress(subprocess.TimeoutExpired):
    process.wait(10)


def _stages(folder: str) -> dict[str, dict[str, Any]]:
  """Returns the process's report, by stage, without an incomplete last line."""
  try:
    with open(os.path.join(folder, REPORT), encoding="utf-8") as report:
      lines = report.read().split("\n")[:-1]
  except FileNotFoundError:
    return {}
  return {(stage := json.loads(line)).pop("stage"): stage for line in lines}


def _failed(what: str, status: int, folder: str) -> Finding:
  with open(os.path.join(folder, "log"), encoding="utf-8", errors="replace") as log:
    lines = [line.strip() for line in log if line.strip()]
  # The last line of a traceback; what C++ adds behind it begins with a space or a star.
  said = next((line for line in reversed(lines) if "Error" in line or "error" in line), "")
  said = said or (lines or ["no message"])[-1]
  ended = f"signal {-status}" if status < 0 else f"status {status}"
  return Finding(
    name="trial",
    status="error",
    said=f"cannot {what} ({ended}): {said[:_LINE]}",
    remedy="`python -m maxtext_ext.doctor.probe $(mktemp -d)` shows all that it says",
  )


def _hung(what: str, seconds: float, chips: Sequence[str]) -> Finding:
  busy = holders(chips)
  if busy:
    remedy = f"the chips are in use by {', '.join(busy)}: wait for its end, or stop it"
  elif chips:
    remedy = f"see `sudo lsof {chips[0]}` for processes of others, or give --timeout more seconds"
  else:
    remedy = "give --timeout more seconds"
  return Finding(
    name="trial",
    status="error",
    said=f"could not {what} within {seconds:g} s, and was ended",
    remedy=remedy,
  )
