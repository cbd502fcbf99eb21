"""setup/install.sh with stand-ins for Python, pip and uv: no network, no real environment."""

import os
import pathlib
import shlex
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
TOOLS = ("bash", "cat", "cmp", "cp", "dirname", "grep", "mkdir", "mv", "paste", "rm", "sed", "sort")
TOOLS += ("env", "flock", "sleep", "tail", "tr")

# Answers what install.sh asks of a Python, and notes each call.
PYTHON = """#!/bin/sh
printf '%s\\n' "$*" >> "$CALLS"
case "$*" in
  "-c import sys"*) echo {version} ;;
  "-c import ensurepip"*) exit {no_venv} ;;
  "-m venv --clear "*)
    for venv; do :; done
    rm -rf "$venv"; mkdir -p "$venv/bin"; cp "$0" "$venv/bin/python"
    case "$*" in *--system-site-packages*) seen=true ;; *) seen=false ;; esac
    echo "include-system-site-packages = $seen" > "$venv/pyvenv.cfg" ;;
  "-m pip install"*)
    echo "Collecting something"
    case "${{PIP_KILLED:-}}" in pip) kill -9 $$ ;; script) kill -9 $PPID ;; esac
    sleep "${{PIP_SECONDS:-0}}"
    exit "${{PIP_STATUS:-0}}" ;;
  "- "*) exec {real} "$@" ;;
esac
"""
BROKEN = "#!/bin/sh\nexit 127\n"  # as a shim of pyenv for a version that is not there


class Machine:
  """A copy of what install.sh reads, and a PATH with nothing on it but what a test puts there."""

  def __init__(self, folder: pathlib.Path):
    self.root = folder / "a project"
    self.home = folder / "home"
    self.bin = folder / "bin"
    self.calls = folder / "calls"
    for part in (self.root / "setup", self.home, self.bin):
      part.mkdir(parents=True)
    for file in ("pyproject.toml", "setup/install.sh", "setup/constraints.txt"):
      shutil.copy(ROOT / file, self.root / file)
    for tool in TOOLS:
      (self.bin / tool).symlink_to(shutil.which(tool))
    self.venv = self.root / ".venv"

  def add(self, name, text):
    path = self.bin / name if "/" not in name else self.home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path

  def add_python(self, name, version, *, has_venv=True):
    no_venv = 0 if has_venv else 1
    return self.add(
      name, PYTHON.format(version=version, no_venv=no_venv, real=shlex.quote(sys.executable))
    )

  def environment(self, **more):
    return {"PATH": str(self.bin), "HOME": str(self.home), "CALLS": str(self.calls), **more}

  def install(self, *args, **env):
    self.calls.write_text("")
    return subprocess.run(
      [self.bin / "bash", self.root / "setup/install.sh", *args],
      env=self.environment(**env),
      cwd=self.home,
      capture_output=True,
      text=True,
      check=False,
    )

  def pip_installs(self):
    return [line for line in self.calls.read_text().splitlines() if line.startswith("-m pip inst")]

  def venvs_made(self):
    return self.calls.read_text().count("-m venv")


@pytest.fixture
def machine(tmp_path):
  return Machine(tmp_path)


@pytest.mark.parametrize(
  ("pythons", "chosen"),
  [
    ({"python3": "3.12"}, "python3"),
    ({"python3": "3.13", "python3.12": "3.12"}, "python3.12"),
    ({"python3": "3.11", "python3.13": "3.13"}, "python3.13"),
    ({"python3": "3.9", "python": "3.14"}, "python"),
    ({"python3.12": None, "python3": "3.12"}, "python3"),
    ({"python3": "2.7", ".pyenv/versions/3.12.1/bin/python3": "3.12"}, "3.12.1/bin/python3"),
    ({".pyenv/versions/3.11.9/bin/python3": "3.11", "python": "3.20"}, "python"),
  ],
)
def test_which_python_is_used(machine, pythons, chosen):
  for name, version in pythons.items():
    if version is None:
      machine.add(name, BROKEN)
    else:
      machine.add_python(name, version)
  finished = machine.install("--print-python")
  assert finished.returncode == 0
  assert finished.stdout.strip().endswith(f"/{chosen}")


def test_python_of_uv_is_used(machine):
  python = machine.add_python("uv-pythons/python3.12", "3.12")
  machine.add("uv", f'#!/bin/sh\n[ "$1 $2" = "python find" ] && echo "{python}"\n')
  assert machine.install("--print-python").stdout.strip() == str(python)


def test_uv_fetches_a_python_when_there_is_none(machine):
  python = machine.add_python("uv-pythons/python3.12", "3.12")
  flag = machine.home / "fetched"
  fetch = f'if [ "$2" = install ]; then : > "{flag}"; fi'
  machine.add("uv", f'#!/bin/sh\n{fetch}\n[ -f "{flag}" ] && echo "{python}"\n')
  finished = machine.install("--print-python")
  assert finished.stdout.splitlines()[-1] == str(python)
  assert "uv" in finished.stderr


def test_python_can_be_named(machine):
  machine.add_python("python3.12", "3.12")
  mine = machine.add_python("mine/python", "3.13")
  assert machine.install("--print-python", PYTHON=str(mine)).stdout.strip() == str(mine)


def test_a_named_python_that_is_too_old_is_refused(machine):
  machine.add_python("python3.12", "3.12")
  old = machine.add_python("old/python", "3.11")
  finished = machine.install(PYTHON=str(old))
  assert finished.returncode == 1
  assert str(old) in finished.stderr
  assert not machine.venv.exists()


def test_without_a_python_it_says_what_to_do(machine):
  machine.add_python("python3", "3.11")
  machine.add_python("python3.12", "3.12", has_venv=False)
  finished = machine.install()
  assert finished.returncode == 1
  assert finished.stderr.startswith("error: no Python 3.12 or newer found")
  for hint in ("python3 is Python 3.11", "apt install python3.12-venv", "uv", "pyenv", "PYTHON="):
    assert hint in finished.stderr
  assert not machine.venv.exists()


def test_the_second_run_does_nothing(machine):
  machine.add_python("python3.12", "3.12")
  first = machine.install()
  assert first.returncode == 0, first.stderr
  assert machine.venvs_made() == 1
  assert machine.pip_installs() == [
    "-m pip install --no-input --progress-bar off --no-compile -c setup/constraints.txt"
    " -e .[beam,dev,gcs,plan,tensorflow]"
  ]
  last = machine.calls.read_text().splitlines()[-1]
  assert last.startswith("-W ignore -c import maxtext_ext.cli, ")
  second = machine.install()
  assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
  assert machine.venvs_made() == 0
  assert machine.pip_installs() == []


@pytest.mark.parametrize("file", ["pyproject.toml", "setup/constraints.txt"])
def test_new_dependencies_are_installed(machine, file):
  machine.add_python("python3.12", "3.12")
  machine.install()
  with open(machine.root / file, "a") as out:
    out.write("# changed\n")
  assert machine.install().returncode == 0
  assert machine.venvs_made() == 0
  assert len(machine.pip_installs()) == 1


def test_extras_add_up(machine):
  machine.add_python("python3.12", "3.12")
  machine.install("none")
  assert machine.pip_installs()[0].endswith(" -e .")
  machine.install(EXTRAS="cuda12,serve")
  assert machine.pip_installs()[0].endswith(" -e .[cuda12,serve]")
  machine.install("dev")
  assert machine.pip_installs()[0].endswith(" -e .[cuda12,dev,serve]")
  for asked in ("cuda12", "dev,serve", "none"):
    machine.install(asked)
    assert machine.pip_installs() == []


def test_an_unknown_extra_is_refused(machine):
  machine.add_python("python3.12", "3.12")
  finished = machine.install("cuda")
  assert finished.returncode == 1
  assert finished.stderr.startswith("error: unknown extra cuda;")
  assert machine.pip_installs() == []


@pytest.mark.parametrize("extra", ["cuda12", "tpu"])
def test_accelerators_are_refused_on_macos(machine, extra):
  machine.add_python("python3.12", "3.12")
  finished = machine.install(extra, OSTYPE="darwin23")
  assert finished.returncode == 1
  assert finished.stderr.startswith(f"error: {extra} needs Linux;")
  assert machine.install("vad", OSTYPE="darwin23").returncode == 0
  assert machine.pip_installs()[-1].endswith(" -e .[vad]")


def make_bare_folder(machine):
  (machine.venv / "lib").mkdir(parents=True)


def make_without_python(machine):
  machine.install()
  (machine.venv / "bin" / "python").unlink()


def make_with_a_python_that_is_gone(machine):
  machine.install()
  (machine.venv / "bin" / "python").write_text(BROKEN)


def make_by_hand_with_an_old_python(machine):
  python = machine.add_python("old/python", "3.11")
  (machine.venv / "bin").mkdir(parents=True)
  shutil.copy(python, machine.venv / "bin" / "python")


def make_elsewhere(machine):
  machine.install()
  machine.root = machine.root.rename(machine.root.with_name("moved"))
  machine.venv = machine.root / ".venv"


@pytest.mark.parametrize(
  "damage",
  [
    make_bare_folder,
    make_without_python,
    make_with_a_python_that_is_gone,
    make_by_hand_with_an_old_python,
    make_elsewhere,
  ],
)
def test_a_damaged_environment_is_made_anew(machine, damage):
  machine.add_python("python3.12", "3.12")
  damage(machine)
  finished = machine.install()
  assert finished.returncode == 0, finished.stderr
  assert machine.venvs_made() == 1
  assert len(machine.pip_installs()) == 1
  assert os.access(machine.venv / "bin" / "python", os.X_OK)
  assert machine.install().stderr == ""


@pytest.mark.parametrize("name", ["mine", ".mine", "bin.txt"])
def test_a_folder_with_other_files_is_not_made_an_environment(machine, name):
  machine.add_python("python3", "3.12")
  (machine.home / "bin").mkdir()
  (machine.home / name).write_text("mine")
  finished = machine.install(VENV=str(machine.home))
  assert finished.returncode == 1
  assert finished.stderr == (
    f"error: {machine.home} holds other files, such as {name}; name another folder with VENV\n"
  )
  assert (machine.home / name).read_text() == "mine"


def test_an_environment_whose_making_was_killed_is_made_anew(machine):
  machine.add_python("python3", "3.12")
  for part in ("bin", "include", "lib"):
    (machine.venv / part).mkdir(parents=True)
  finished = machine.install()
  assert finished.returncode == 0, finished.stderr
  assert (machine.venv / "installed").is_file()


def test_a_failed_installation_is_reported_and_done_again(machine):
  machine.add_python("python3.12", "3.12")
  failed = machine.install(PIP_STATUS="1")
  assert failed.returncode == 1
  assert "Collecting something" in failed.stderr
  assert "error: pip could not install" in failed.stderr
  assert machine.install().returncode == 0
  assert machine.venvs_made() == 0
  assert len(machine.pip_installs()) == 1


@pytest.mark.parametrize("killed", ["pip", "script"])
def test_an_installation_that_was_killed_is_begun_anew(machine, killed):
  machine.add_python("python3.12", "3.12")
  assert machine.install(PIP_KILLED=killed).returncode != 0
  finished = machine.install()
  assert finished.returncode == 0, finished.stderr
  assert machine.venvs_made() == 1, "a package may be half there"
  assert machine.install().stderr == ""


def test_two_installations_at_once_take_turns(machine):
  machine.add_python("python3.12", "3.12")
  machine.calls.write_text("")
  command = [machine.bin / "bash", machine.root / "setup/install.sh"]
  both = [
    subprocess.Popen(command, env=machine.environment(PIP_SECONDS="1"), stderr=subprocess.PIPE)
    for _ in range(2)
  ]
  for process in both:
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
  assert machine.venvs_made() == 1
  assert len(machine.pip_installs()) == 1


def test_the_environment_may_be_elsewhere(machine):
  machine.add_python("python3.12", "3.12")
  venv = machine.home / "venv"
  finished = machine.install("tpu", VENV=str(venv))
  assert finished.returncode == 0, finished.stderr
  assert (venv / "bin" / "python").exists() and not machine.venv.exists()
  assert machine.install("tpu", VENV=str(venv)).stderr == ""
  machine.root = machine.root.rename(machine.root.with_name("moved"))
  machine.install("tpu", VENV=str(venv))
  assert (machine.venvs_made(), len(machine.pip_installs())) == (0, 1), "the code is elsewhere"
  venv = venv.rename(machine.home / "moved")
  machine.install("tpu", VENV=str(venv))
  assert machine.venvs_made() == 1, "its scripts hold the old path"


def test_packages_of_a_python_are_used_and_keep_their_versions(machine):
  machine.add_python("python3.12", "3.12")
  machine.install("none")
  finished = machine.install("none", SYSTEM_PACKAGES="1")
  assert finished.returncode == 0, finished.stderr
  assert machine.venvs_made() == 1, "the one before does not see them"
  assert machine.pip_installs()[0].endswith(f" -c {machine.venv}/constraints.txt -e .")
  kept = (machine.venv / "constraints.txt").read_text().splitlines()
  every = (machine.root / "setup" / "constraints.txt").read_text().splitlines()
  assert not [line for line in kept if line.startswith(("jax==", "numpy==", "array-record=="))]
  assert set(kept) < set(every)
  assert machine.install("none", SYSTEM_PACKAGES="1").stderr == ""
  refused = machine.install("none", SYSTEM_PACKAGES="yes")
  assert (refused.returncode, refused.stderr) == (
    1,
    "error: SYSTEM_PACKAGES=yes, expected 0 or 1\n",
  )
