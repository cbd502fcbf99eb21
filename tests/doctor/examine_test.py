"""Output of the command, and its exit status."""

import json

import pytest

from maxtext_ext import cli
from maxtext_ext.doctor import examine as engine
from maxtext_ext.doctor.checks import Finding
from maxtext_ext.doctor.trial import Trial

CHIP = {"platform": "tpu", "kind": "TPU v4", "memory": 33_000_000_000, "used": 0}
CPU = {"platform": "cpu", "kind": "cpu", "memory": None, "used": None}
TRAINING = {"seconds": 12.3, "step_seconds": 0.05, "loss": 5.5}
WELL = Finding(name="accelerator", status="ok", said="4 TPU chips")
FAULT = Finding(name="gs://", status="error", said="no gcsfs", remedy="install it")


@pytest.fixture
def doctor(monkeypatch, capsys):
  """Runs the command on a machine that is as the test says; returns status and output."""

  def examine(*args, checks, trial=None, chips=0, gpus=0):
    def attempt(seconds: float) -> Trial:
      assert seconds == 300
      assert trial is not None, "it must not be tried"
      return trial

    monkeypatch.setattr(engine, "check_machine", lambda expected: list(checks))
    monkeypatch.setattr(engine, "tpu_files", lambda: [f"/dev/accel{chip}" for chip in range(chips)])
    monkeypatch.setattr(engine, "find_gpus", lambda: ["a GPU"] * gpus)
    monkeypatch.setattr(engine, "attempt", attempt)
    monkeypatch.delenv("JAX_PLATFORMS")
    with pytest.raises(SystemExit) as ended:
      cli.main(["doctor", *args])
    return ended.value.code or 0, capsys.readouterr().out

  return examine


def test_all_is_well(doctor):
  trial = Trial(devices=[CHIP] * 4, training=TRAINING)
  status, out = doctor(checks=[WELL], trial=trial, chips=4)
  assert status == 0
  lines = out.splitlines()
  assert lines[0].startswith("versions: python 3.")
  assert lines[1:] == [
    "devices: 4 x TPU v4, 30.7 GiB each, of this machine",
    "training: a tiny model in 12.3 s with compiling, 0.050 s a step, loss 5.500",
    "ok      accelerator: 4 TPU chips",
    "ready to train",
  ]


def test_a_problem_is_a_line_with_its_remedy(doctor):
  trial = Trial(devices=[CPU], training=TRAINING)
  status, out = doctor(checks=[WELL, FAULT], trial=trial)
  assert status == 1
  assert out.splitlines()[-2:] == [
    "error   gs://: no gcsfs; install it",
    "not ready: 1 of these are errors",
  ]


def test_warnings_do_not_fail(doctor):
  warning = Finding(name="open files", status="warning", said="up to 1024", remedy="ulimit -n 4096")
  status, out = doctor(checks=[WELL, warning], trial=Trial(devices=[CPU], training=TRAINING))
  assert status == 0
  assert "warning open files: up to 1024; ulimit -n 4096" in out


def test_an_accelerator_that_is_in_use_is_not_tried(doctor):
  busy = Finding(name="accelerator", status="error", said="in use by process 7", remedy="wait")
  status, out = doctor(checks=[busy], chips=4)
  assert status == 1
  assert "error   accelerator: in use by process 7; wait" in out


@pytest.mark.parametrize(
  ("there", "said"),
  [
    ({"chips": 4}, "4 TPU chips here, but JAX computes on the cpu; `JAX_PLATFORMS=tpu python"),
    ({"gpus": 1}, "1 GPUs here, but JAX computes on the cpu; `JAX_PLATFORMS=cuda python"),
  ],
)
def test_jax_that_computes_beside_the_accelerator(doctor, there, said):
  status, out = doctor(checks=[WELL], trial=Trial(devices=[CPU], training=TRAINING), **there)
  assert status == 1
  assert f"error   devices: {said}" in out


def test_chips_that_are_missing(doctor):
  status, out = doctor(checks=[WELL], trial=Trial(devices=[CHIP], training=TRAINING), chips=4)
  assert status == 0
  assert "warning devices: JAX sees 1 of 4 TPU chips; recreate" in out


def test_json(doctor):
  status, out = doctor("--json", checks=[WELL, FAULT], trial=Trial(devices=[CPU]))
  facts = json.loads(out)
  assert status == 1 and facts["well"] is False
  assert facts["devices"] == [CPU]
  assert facts["findings"][1] == {
    "name": "gs://",
    "status": "error",
    "said": "no gcsfs",
    "remedy": "install it",
  }
  assert facts["versions"]["jax"]
