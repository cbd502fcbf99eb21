"""The trial of JAX ends in time, whatever hangs, and says how far it came."""

import math
import os
import subprocess
import sys
import time

import pytest

from maxtext_ext.doctor import trial
from maxtext_ext.doctor.trial import attempt

FOUND = '{"stage": "found", "devices": [{"platform": "cpu", "kind": "cpu"}]}'
BUSY = "RuntimeError: the TPU is already in use"


def script(code: str) -> list[str]:
  """A trial that does this in place of the probe; `report` is the file to write to."""
  head = "import os, sys, time; report = open(sys.argv[1] + '/report.jsonl', 'a', buffering=1)\n"
  return [sys.executable, "-c", head + code]


def test_a_hang_of_the_accelerator_is_ended_with_its_children(tmp_path):
  child = tmp_path / "child"
  code = f"""
report.write('{{"stage": "devices"}}\\n{{"stage": "fo')
if child := os.fork():
  open({str(child)!r} + ".new", "w").write(str(child))
  os.rename({str(child)!r} + ".new", {str(child)!r})
time.sleep(1000)
"""
  found = attempt(5.0, script(code))
  (problem,) = found.findings
  assert problem.status == "error"
  assert problem.said.startswith("could not start JAX on the accelerator within 5 s, and was ended")
  assert not found.devices and not found.training
  until = time.monotonic() + 30
  while subprocess.run(["kill", "-0", child.read_text()], capture_output=True).returncode == 0:
    assert time.monotonic() < until, "the child goes on"
    time.sleep(0.05)


def test_who_holds_the_chips_is_named(monkeypatch):
  monkeypatch.setattr(trial, "tpu_files", lambda: ["/dev/accel0"])
  monkeypatch.setattr(trial, "holders", lambda files: ["process 7 (python train.py)"])
  (problem,) = attempt(0.2, script("time.sleep(1000)")).findings
  assert problem.remedy.startswith("the chips are in use by process 7 (python train.py): wait")


@pytest.mark.parametrize(
  ("code", "said"),
  [
    (
      f"print({BUSY!r}, file=sys.stderr); print(' @ 0x1'); sys.exit(1)",
      f"cannot start JAX on the accelerator (status 1): {BUSY}",
    ),
    ("os.abort()", "cannot start JAX on the accelerator (signal 6): no message"),
    (
      f"report.write({FOUND!r} + chr(10)); raise ValueError('no')",
      "cannot train 3 steps of a tiny model (status 1): ValueError: no",
    ),
    ("sys.exit(0)", "cannot start JAX on the accelerator (status 0): no message"),
  ],
)
def test_a_failure_says_why(code, said):
  (problem,) = attempt(60.0, script(code)).findings
  assert (problem.status, problem.said) == ("error", said)


def test_it_waits_for_no_other_machine(monkeypatch):
  monkeypatch.setattr(trial, "tpu_files", lambda: [f"/dev/accel{chip}" for chip in range(4)])
  for name in ("JAX_COORDINATOR_ADDRESS", "JAX_PROCESS_ID", "MEGASCALE_NUM_SLICES", "M_STEPS"):
    monkeypatch.setenv(name, "1")
  (problem,) = attempt(60.0, script("raise ValueError(sorted(os.environ))")).findings
  for name in ("JAX_COORDINATOR_ADDRESS", "JAX_PROCESS_ID", "MEGASCALE_NUM_SLICES", "'M_STEPS'"):
    assert name not in problem.said
  values = "raise ValueError(os.environ['TPU_PROCESS_BOUNDS'], os.environ['TPU_VISIBLE_CHIPS'])"
  (problem,) = attempt(60.0, script(values)).findings
  assert problem.said.endswith("ValueError: ('1,1,1', '0,1,2,3')")


@pytest.mark.integration_test
@pytest.mark.slow
def test_a_tiny_model_is_trained():
  found = attempt(600.0)
  assert found.findings == []
  assert found.devices[0]["platform"] == os.environ["JAX_PLATFORMS"].replace("cuda", "gpu")
  assert math.isfinite(found.training["loss"])
  assert 0 < found.training["step_seconds"] < found.training["seconds"]
