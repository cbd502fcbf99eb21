"""setup/install_engines.sh with stand-ins for Python and pip; and the versions that it installs."""

import shutil
import subprocess

import pytest

from tests.setup import install_test
from tests.setup.constraints_test import read_pins

ROOT = install_test.ROOT
PINS = "setup/engines-constraints.txt"


class Machine(install_test.Machine):
  """As that of install_test, with this script."""

  def __init__(self, folder):
    super().__init__(folder)
    for file in ("setup/install_engines.sh", PINS):
      shutil.copy(ROOT / file, self.root / file)
    self.venv = self.root / ".venv-engines"

  def install(self, *args, **env):
    self.calls.write_text("")
    return subprocess.run(
      [self.bin / "bash", self.root / "setup/install_engines.sh", *args],
      env={"PATH": str(self.bin), "HOME": str(self.home), "CALLS": str(self.calls), **env},
      cwd=self.home,
      capture_output=True,
      text=True,
      check=False,
    )


@pytest.fixture
def machine(tmp_path):
  made = Machine(tmp_path)
  made.add_python("python3.12", "3.12")
  return made


def test_the_pins_are_installed_as_they_are_and_once(machine):
  first = machine.install()
  assert first.returncode == 0, first.stderr
  (installed,) = machine.pip_installs()
  assert installed.endswith(f" --no-deps --no-compile -r {PINS}")
  second = machine.install()
  assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
  assert machine.pip_installs() == []


def test_new_pins_make_a_new_environment(machine):
  machine.install()
  with open(machine.root / PINS, "a") as out:
    out.write("# changed\n")
  assert machine.install().returncode == 0
  assert machine.venvs_made() == 1


def test_what_was_broken_off_is_made_anew(machine):
  failed = machine.install(PIP_STATUS="1")
  assert failed.returncode == 1
  assert "Collecting something" in failed.stderr
  assert "error: pip could not install the engines" in failed.stderr
  assert machine.install().returncode == 0
  assert machine.venvs_made() == 1


def test_an_environment_that_was_moved_is_made_anew(machine):
  machine.install()
  machine.root = machine.root.rename(machine.root.with_name("moved"))
  assert machine.install().returncode == 0
  assert machine.venvs_made() == 1


def test_without_a_python_it_says_what_to_do(machine):
  (machine.bin / "python3.12").unlink()
  finished = machine.install()
  assert finished.returncode == 1
  assert finished.stderr.startswith("error: no Python 3.12 or newer found")


def test_the_pins_are_exact_and_those_of_the_engines_that_we_write_for():
  pins = read_pins(ROOT / PINS)
  assert len(pins) == len({pin.name.lower() for pin in pins})
  versions = {pin.name: str(pin.specifier) for pin in pins}
  assert all(version.startswith("==") for version in versions.values())
  assert versions.items() >= {
    ("skypilot", "==0.14.1"),
    ("xpk", "==1.16.0"),
    ("ray", "==2.60.0"),
  }


def test_ray_is_the_same_here_and_in_the_image_of_a_cluster():
  ours = {pin.name: pin.specifier for pin in read_pins(ROOT / "setup/constraints.txt")}
  engines = {pin.name: pin.specifier for pin in read_pins(ROOT / PINS)}
  assert ours["ray"] == engines["ray"]
