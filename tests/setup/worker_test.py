"""The scripts that set up workers, with stand-ins for Python, pip, apt and nvidia-smi."""

import pathlib
import shutil
import subprocess

import pytest

from tests.setup import install_test

ROOT = pathlib.Path(__file__).parents[2]
TOOLS = ("chmod", "cut", "head", "id", "ln", "uname", "wc")
# As that of install_test; an installation brings the command, whose doctor says where it is.
PYTHON = install_test.PYTHON.replace(
  '    echo "Collecting something"\n',
  """    echo "Collecting something"
    case "$*" in
      *--target*) [ -n "${{NO_NETWORK:-}}" ] && exit 1
        for folder; do [ "$before" = --target ] && break; before="$folder"; done
        mkdir -p "$folder/bin"; cp "$HOME/uv" "$folder/bin/uv"; exit ;;
    esac
    printf '#!/bin/sh\\necho "doctor $*"; exit "${{DOCTOR_STATUS:-0}}"\\n' > "${{0%/*}}/maxtext-ext"
    chmod +x "${{0%/*}}/maxtext-ext"
""",
)
# apt-get, which fails as often as there are lines in the file `apt-fails`, each with its line.
APT = """#!/bin/sh
printf 'apt-get %s\\n' "$*" >> "$CALLS"
if [ -s "$HOME/apt-fails" ]; then
  sed -n 1p "$HOME/apt-fails" >&2
  sed 1d "$HOME/apt-fails" > "$HOME/rest"; mv "$HOME/rest" "$HOME/apt-fails"
  exit 100
fi
case "$*" in *"install python3.12 "*) cp "$HOME/python3.12" "{bin}/python3.12" ;; esac
"""
NOTED = '#!/bin/sh\nprintf \'%s\\n\' "${0##*/} $*" >> "$CALLS"\n'
LOCKED = (
  "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 7 (unattended-upgr)"
)
GPU = '#!/bin/sh\necho "${DRIVER:-550.90.07}, NVIDIA H200"\n'


class Worker(install_test.Machine):
  """A machine where the code was copied to `a project`."""

  def __init__(self, folder: pathlib.Path) -> None:
    super().__init__(folder)
    for script in ("worker.sh", "setup_tpu_worker.sh", "setup_cuda_worker.sh"):
      shutil.copy(ROOT / "setup" / script, self.root / "setup" / script)
    for tool in TOOLS:
      (self.bin / tool).symlink_to(shutil.which(tool))
    self.venv = self.home / "venv-maxtext"
    self.code = self.home / "maxtext"

  def add_python(self, name, version, *, has_venv=True):
    real = shutil.which("false")  # brings no CUDA
    text = PYTHON.format(version=version, no_venv=0 if has_venv else 1, real=real)
    return self.add(name, text)

  def add_cuda_python(self, name):
    """A Python that brings JAX for CUDA: what it is asked on standard input, it says."""
    answer = 'case "$2" in setup/*) cat "$2" ;; *) echo "Python 3.12, JAX for CUDA 0.12" ;; esac;'
    text = PYTHON.format(version="3.12", no_venv=0, real="true").replace("exec true", f"{answer} :")
    return self.add(name, text)

  def add_apt(self, *failures):
    """An Ubuntu: with sudo, and apt-get that fails so often before it works."""
    (self.home / "apt-fails").write_text("".join(f"{line}\n" for line in failures))
    self.add("apt-get", APT.format(bin=self.bin))
    self.add("sudo", '#!/bin/sh\nshift\nexec "$@"\n')
    for name in ("apt-cache", "add-apt-repository", "dpkg"):
      self.add(name, NOTED)
    new = PYTHON.format(version="3.12", no_venv=0, real="false")
    (self.home / "python3.12").write_text(new)
    (self.home / "python3.12").chmod(0o755)

  def setup(self, kind, *args, **env):
    self.calls.write_text("")
    return subprocess.run(
      [self.bin / "bash", self.root / f"setup/setup_{kind}_worker.sh", *args],
      env=self.environment(LOCK_POLL="0", **env),
      cwd=self.home,
      capture_output=True,
      text=True,
      check=False,
    )


@pytest.fixture
def worker(tmp_path):
  return Worker(tmp_path)


def test_a_tpu_worker_from_nothing_and_again(worker):
  worker.add_python("python3.12", "3.12")
  first = worker.setup("tpu")
  assert first.returncode == 0, first.stderr
  assert worker.pip_installs()[0].endswith(" -e .[tpu]")
  assert first.stdout == "doctor doctor --expect tpu\n"
  assert worker.code.resolve() == worker.root
  assert (worker.venv / "bin" / "python").exists()
  again = worker.setup("tpu")
  assert (again.returncode, again.stdout) == (0, "doctor doctor --expect tpu\n")
  assert (worker.venvs_made(), worker.pip_installs()) == (0, [])


def test_the_doctors_status_is_that_of_the_script(worker):
  worker.add_python("python3.12", "3.12")
  assert worker.setup("tpu", DOCTOR_STATUS="1").returncode == 1
  skipped = worker.setup("tpu", "--skip-doctor", DOCTOR_STATUS="1")
  assert (skipped.returncode, skipped.stdout) == (0, "")


def test_the_next_copy_of_the_code_takes_the_place_of_the_last(worker):
  worker.add_python("python3.12", "3.12")
  worker.setup("tpu")
  worker.root = shutil.copytree(worker.root, worker.root.with_name("run-2"))
  finished = worker.setup("tpu")
  assert finished.returncode == 0, finished.stderr
  assert worker.code.resolve() == worker.root
  assert (worker.venvs_made(), len(worker.pip_installs())) == (0, 1), "of this copy"
  worker.root = worker.code
  worker.setup("tpu")
  assert worker.pip_installs() == [], "the same by another name"


def test_code_at_its_place_stays_there(worker):
  worker.add_python("python3.12", "3.12")
  worker.root = worker.root.rename(worker.code)
  finished = worker.setup("tpu")
  assert finished.returncode == 0, finished.stderr
  assert not worker.code.is_symlink()


def test_another_clone_is_left_alone(worker):
  worker.add_python("python3.12", "3.12")
  worker.code.mkdir()
  (worker.code / "mine").touch()
  finished = worker.setup("tpu")
  assert finished.returncode == 0, finished.stderr
  assert f"note: {worker.code} is another copy of the code and stays" in finished.stderr
  assert [file.name for file in worker.code.iterdir()] == ["mine"]


def damage_half(worker):
  shutil.rmtree(worker.venv / "bin")


def damage_killed(worker):
  (worker.venv / "installing").touch()
  (worker.venv / "installed").unlink()


def damage_link(worker):
  worker.code.unlink()
  worker.code.symlink_to("/nowhere/at/all")


@pytest.mark.parametrize("damage", [damage_half, damage_killed, damage_link])
def test_it_mends_what_was_broken(worker, damage):
  worker.add_python("python3.12", "3.12")
  worker.setup("tpu")
  damage(worker)
  finished = worker.setup("tpu")
  assert (finished.returncode, finished.stdout) == (0, "doctor doctor --expect tpu\n"), (
    finished.stderr
  )
  assert worker.code.resolve() == worker.root


def test_uv_brings_a_python_without_root(worker):
  worker.add_python("python3", "3.10")
  python = worker.add_python("uv-pythons/python3.12", "3.12")
  flag = worker.home / "fetched"
  fetch = f'if [ "$2" = install ]; then : > "{flag}"; fi'
  worker.add("../home/uv", f'#!/bin/sh\n{fetch}\n[ -f "{flag}" ] && echo "{python}"\n')
  finished = worker.setup("tpu")
  assert finished.returncode == 0, finished.stderr
  assert "fetching uv" in finished.stderr
  assert worker.setup("tpu").returncode == 0


def test_apt_brings_a_python_once_others_are_done_with_it(worker):
  worker.add_python("python3", "3.10")
  worker.add_apt(
    LOCKED, LOCKED, "E: dpkg was interrupted, you must manually run 'dpkg --configure -a'"
  )
  finished = worker.setup("tpu", NO_NETWORK="1")
  assert finished.returncode == 0, finished.stderr
  assert finished.stderr.count("waiting for the program that holds apt's lock: E: Could not") == 2
  calls = worker.calls.read_text()
  assert "dpkg --configure -a" in calls
  assert "install python3.12 python3.12-venv" in calls


@pytest.mark.parametrize(
  ("failures", "said"),
  [
    (["E: Unable to locate package python3.12"], "E: Unable to locate package python3.12"),
    ([LOCKED] * 3, "It is held by process 7"),
  ],
)
def test_without_any_python_it_says_what_to_do(worker, failures, said):
  worker.add_python("python3", "3.10")
  worker.add_apt(*failures)
  finished = worker.setup("tpu", NO_NETWORK="1", LOCK_SECONDS="0")
  assert finished.returncode == 1
  assert said in finished.stderr
  assert "error: no Python 3.12 or newer found" in finished.stderr
  assert not worker.venv.exists()


@pytest.mark.parametrize("kind", ["tpu", "cuda"])
@pytest.mark.parametrize(
  ("arguments", "status"), [(["--help"], 0), (["--no-such"], 2), (["--skip-doctor", "more"], 2)]
)
def test_how_it_is_used(worker, kind, arguments, status):
  finished = worker.setup(kind, *arguments)
  assert finished.returncode == status
  assert f"usage: setup/setup_{kind}_worker.sh" in finished.stdout + finished.stderr
  assert not worker.code.exists()


def test_a_cuda_worker(worker):
  worker.add_python("python3.12", "3.12")
  worker.add("nvidia-smi", GPU)
  finished = worker.setup("cuda")
  assert (finished.returncode, finished.stdout) == (0, "doctor doctor --expect gpu\n"), (
    finished.stderr
  )
  assert "driver 550.90.07, NVIDIA H200 x 1" in finished.stderr
  assert worker.pip_installs()[0].endswith(" -e .[cuda12]")


@pytest.mark.parametrize(
  ("script", "driver", "said"),
  [
    (None, "", "error: no nvidia-smi, so no NVIDIA driver"),
    ("echo NVIDIA-SMI has failed; exit 9", "", "error: nvidia-smi failed: NVIDIA-SMI has failed"),
    ("echo No devices were found", "", 'error: nvidia-smi said "No devices were found"'),
    (GPU, "470.82.01", "error: driver 470.82.01 is too old, CUDA 12 needs 525.60.13 or newer"),
    (GPU, "525.60.2", "error: driver 525.60.2 is too old"),
  ],
)
def test_a_driver_that_will_not_do(worker, script, driver, said):
  worker.add_python("python3.12", "3.12")
  if script:
    worker.add("nvidia-smi", script if script.startswith("#!") else f"#!/bin/sh\n{script}\n")
  finished = worker.setup("cuda", DRIVER=driver)
  assert finished.returncode == 1
  assert finished.stderr.startswith(said)
  assert not worker.venv.exists()


def test_a_python_with_cuda_is_reused(worker):
  worker.add("nvidia-smi", GPU)
  worker.add_python("python3.12", "3.12")
  worker.add_cuda_python("python3")
  finished = worker.setup("cuda")
  assert finished.returncode == 0, finished.stderr
  assert f"reusing the packages of {worker.bin}/python3 (Python 3.12, JAX for CUDA 0.12)" in (
    finished.stderr
  )
  assert "--system-site-packages" in worker.calls.read_text()
  assert worker.pip_installs()[0].endswith(f" -c {worker.venv}/constraints.txt -e .")
  worker.setup("cuda", "--own-python")
  assert worker.pip_installs()[0].endswith(" -c setup/constraints.txt -e .[cuda12]")


def test_a_python_that_is_too_old_cannot_be_reused(worker):
  worker.add("nvidia-smi", GPU)
  worker.add_python("python3", "3.10")
  finished = worker.setup("cuda", "--system-python")
  assert finished.returncode == 1
  assert "error: --system-python: no python3 of 3.12 or newer" in finished.stderr
