"""Accelerators are found by their device files and by nvidia-smi, and who holds them is named."""

import os
import subprocess
import sys

import pytest

from maxtext_ext.doctor.machine import Gpu, alone_environment, find_gpus, holders, tpu_files
from tests.doctor.programs import add_program


@pytest.mark.parametrize(
  ("files", "found"),
  [
    (["accel0", "accel1", "null"], ["accel0", "accel1"]),
    (["vfio/0", "vfio/1", "vfio/vfio"], ["vfio/0", "vfio/1"]),
    (["null"], []),
  ],
)
def test_tpu_files(tmp_path, files, found):
  for file in files:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).touch()
  assert tpu_files(str(tmp_path)) == [str(tmp_path / file) for file in found]


def test_who_holds_a_device_is_named(tmp_path):
  device = tmp_path / "accel0"
  device.touch()
  assert holders([str(device)]) == []
  code = "import sys; held = open(sys.argv[1]); print('here', flush=True); sys.stdin.read()"
  command = [sys.executable, "-c", code, str(device)]
  pipe = subprocess.PIPE
  with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
    assert process.stdout.readline() == "here\n"
    (line,) = holders([str(device), str(tmp_path / "accel1")])
    process.stdin.close()
  assert line.startswith(f"process {process.pid} ({sys.executable} -c import sys; held")
  assert holders([str(device)]) == []


@pytest.fixture
def programs(tmp_path, monkeypatch):
  """An empty PATH."""
  monkeypatch.setenv("PATH", str(tmp_path))
  return tmp_path


def test_gpus(programs):
  assert find_gpus() == []
  add_program(programs, "nvidia-smi", 'echo "NVIDIA H200, 143771, 550.90.07"; echo "T4, [N/A], 1"')
  assert find_gpus() == [
    Gpu(name="NVIDIA H200", memory=143771, driver="550.90.07"),
    Gpu(name="T4", memory=0, driver="1"),
  ]


@pytest.mark.parametrize(
  ("script", "said"),
  [
    (
      "echo NVIDIA-SMI has failed; exit 9",
      "nvidia-smi failed with status 9: NVIDIA-SMI has failed",
    ),
    ("exit 3", "failed with status 3: no message"),
    ("echo No devices", "nvidia-smi said 'No devices', expected name"),
  ],
)
def test_a_driver_that_fails(programs, script, said):
  add_program(programs, "nvidia-smi", script)
  with pytest.raises(OSError, match=said):
    find_gpus()


def test_one_machine_of_a_slice_starts_alone():
  variables = alone_environment(4)
  assert variables["TPU_PROCESS_BOUNDS"] == "1,1,1"
  assert variables["TPU_CHIPS_PER_PROCESS_BOUNDS"] == "2,2,1"
  assert variables["TPU_VISIBLE_CHIPS"] == "0,1,2,3"
  assert variables["TPU_PROCESS_ADDRESSES"] == f"localhost:{variables['TPU_PROCESS_PORT']}"
  assert alone_environment(8)["TPU_CHIPS_PER_PROCESS_BOUNDS"] == "2,4,1"
  with pytest.raises(ValueError, match="3 TPU chips, expected 1, 2, 4, 8"):
    alone_environment(3)


def test_processes_of_others_are_passed_over(tmp_path):
  (tmp_path / "proc" / "1").mkdir(parents=True)  # without fd
  (tmp_path / "proc" / "self").mkdir()
  assert holders([os.devnull], str(tmp_path / "proc")) == []
