"""Each problem is one line with what to do about it."""

import os
import pathlib
import resource
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest

from maxtext_ext.doctor import checks
from tests.doctor.programs import add_program

CHIPS = ["/dev/accel0", "/dev/accel1"]


@pytest.fixture
def machine(tmp_path, monkeypatch):
  """A machine without programs, and no lock of libtpu."""
  monkeypatch.setenv("PATH", str(tmp_path))
  monkeypatch.setattr(checks, "_LOCK", str(tmp_path / "lock"))
  return tmp_path


def accelerator(**installed: object) -> checks.Finding:
  return checks.check_accelerator(**({"tpus": [], "libtpu": False, "cuda": False} | installed))


@pytest.mark.parametrize(("expected", "said"), [("tpu", "no TPU chips"), ("gpu", "no GPU")])
def test_an_accelerator_that_must_be_there(machine, expected, said):
  found = accelerator(libtpu=True, cuda=True, expected=expected)
  assert found.status == "error"
  assert found.said.startswith(said)


def test_a_cpu_alone_is_fine(machine):
  assert accelerator(libtpu=True, cuda=True).status == "ok"


def test_a_tpu(machine, monkeypatch):
  assert accelerator(tpus=CHIPS, libtpu=True).status == "ok"
  without = accelerator(tpus=CHIPS)
  assert (without.status, without.remedy) == (
    "error",
    "install the extra: setup/setup_tpu_worker.sh",
  )
  monkeypatch.setattr(checks, "holders", lambda files: ["process 7 (python train.py)"])
  busy = accelerator(tpus=CHIPS, libtpu=True)
  assert busy.status == "error"
  assert "2 TPU chips (/dev/accel0 ...) in use by process 7 (python train.py); wait" in str(busy)


def test_a_lock_of_another_user(machine, monkeypatch):
  (machine / "lock").touch()
  monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everything
  locked = accelerator(tpus=CHIPS, libtpu=True)
  assert locked.status == "error"
  assert locked.remedy.endswith(f"sudo rm {machine / 'lock'}")


@pytest.mark.parametrize(
  ("driver", "cuda", "status", "said"),
  [
    ("550.90.07", True, "ok", "1 x NVIDIA H200, 140 GiB, driver 550.90.07"),
    ("525.60.13", True, "ok", "driver 525.60.13"),
    ("525.60.12", True, "error", "too old; install a driver of 525.60.13 or newer"),
    ("470.1", True, "error", "too old"),
    ("550.90.07", False, "error", "but JAX has no CUDA; install the extra: setup/setup_cuda"),
  ],
)
def test_a_gpu(machine, driver, cuda, status, said):
  add_program(machine, "nvidia-smi", f'echo "NVIDIA H200, 143771, {driver}"')
  found = accelerator(cuda=cuda)
  assert found.status == status
  assert said in str(found)


def test_a_driver_that_fails(machine):
  add_program(machine, "nvidia-smi", "echo couldn\\'t communicate with the driver; exit 9")
  found = accelerator(cuda=True)
  assert found.status == "error"
  assert "status 9: couldn't communicate with the driver; repair the driver" in str(found)


def test_sound():
  assert [finding.status for finding in checks.check_sound()] == ["ok", "ok"]


def test_sound_that_cannot_be_imported(monkeypatch):
  def fail(name: str) -> None:
    raise OSError(f"{name}: cannot open shared object file")

  monkeypatch.setattr(checks.importlib, "import_module", fail)
  first, second = checks.check_sound()
  assert (first.status, second.status) == ("error", "error")
  assert "cannot open shared object file; install it again: pip" in str(first)


@pytest.mark.parametrize(
  ("installed", "needed", "status"),
  [(True, True, "ok"), (False, False, "warning"), (False, True, "error")],
)
def test_buckets(monkeypatch, installed, needed, status):
  monkeypatch.setattr(checks, "_installed", lambda module: installed)
  assert checks.check_buckets(needed=needed).status == status


@pytest.mark.parametrize(
  ("free", "status"), [(2**29, "error"), (5 * 2**30, "warning"), (2**40, "ok")]
)
def test_disk(tmp_path, monkeypatch, free, status):
  monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
  found = checks.check_disk("disk", str(tmp_path / "not" / "made"))
  assert found.status == status
  assert f"GiB free at {tmp_path}" in found.said


def test_a_folder_that_cannot_be_written(monkeypatch, tmp_path):
  monkeypatch.setattr(os, "access", lambda path, mode: False)
  found = checks.check_disk("disk", str(tmp_path))
  assert (found.status, found.said) == ("error", f"{tmp_path} cannot be written")


@pytest.mark.parametrize(
  ("limits", "status", "remedy"),
  [
    ((1024, 1_048_576), "warning", "ulimit -n 65536"),
    ((1024, 2048), "warning", "ulimit -n 2048"),
    ((1024, resource.RLIM_INFINITY), "warning", "ulimit -n 65536"),
    ((65536, 65536), "ok", ""),
    ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), "ok", ""),
  ],
)
def test_open_files(monkeypatch, limits, status, remedy):
  monkeypatch.setattr(resource, "getrlimit", lambda which: limits)
  found = checks.check_files()
  assert (found.status, found.remedy) == (status, remedy)


def test_variables_that_make_jax_wait(monkeypatch):
  monkeypatch.setattr(checks, "tpu_files", lambda: CHIPS)
  monkeypatch.setenv("JAX_PLATFORMS", "cpu")
  monkeypatch.setenv("MEGASCALE_NUM_SLICES", "2")
  cpu, stale = checks.check_environment()
  assert cpu.remedy == "unset JAX_PLATFORMS"
  assert stale.remedy == "outside of such a run: unset MEGASCALE_NUM_SLICES"
  monkeypatch.setenv("JAX_PLATFORMS", "tpu,cpu")
  monkeypatch.delenv("MEGASCALE_NUM_SLICES")
  assert checks.check_environment() == []


def test_versions():
  found = checks.versions()
  assert found["python"].startswith("3.")
  assert found["jax"] and found["maxtext"] and "jax-cuda13-plugin" not in found


def test_scripts_that_remedies_name_are_there():
  root = pathlib.Path(__file__).parents[2]
  for name in ("setup_tpu_worker.sh", "setup_cuda_worker.sh", "install.sh"):
    assert os.access(root / "setup" / name, os.X_OK)


def test_a_broken_library_is_found_and_does_not_break_the_doctor(tmp_path):
  (tmp_path / "soundfile.py").write_text("raise OSError('sndfile library not found')\n")
  code = """
import maxtext_ext.doctor.examine
from maxtext_ext.doctor.checks import check_sound
print(check_sound()[0])
"""
  finished = subprocess.run(
    [sys.executable, "-c", code],
    env={**os.environ, "PYTHONPATH": f"{tmp_path}:{pathlib.Path(__file__).parents[2]}"},
    capture_output=True,
    text=True,
    check=False,
  )
  assert finished.returncode == 0, finished.stderr
  assert finished.stdout == (
    "sound: soundfile cannot be imported: sndfile library not found;"
    " install it again: pip install --force-reinstall soundfile\n"
  )
