import os

import pytest
from standins.gpu_host import wait_until

pytestmark = pytest.mark.integration_test

AWKWARD = [
  "with space",
  'quo"te',
  "apo'strophe",
  "new\nline",
  "عربي",
  "back\\slash",
  "-dash",
  "$(x)",
]


@pytest.fixture(params=["rsync", "tar"])
def way(request, host):
  """Both ways to copy: tar is taken where the host has no rsync."""
  if request.param == "tar":
    (host.sshd.bin / "rsync").unlink()
  return request.param


def sync(host):
  finished = host.run("deploy", "--skip-setup", "--skip-deps")
  assert finished.returncode == 0, finished.stderr
  return finished.stderr


def test_copies_what_git_tracks_and_deletes_nothing(host, way):
  for name in AWKWARD:
    host.write(f"data/{name}", name)
  os.symlink("data/عربي", host.project / "link")
  host.write("run.sh", "echo").chmod(0o755)
  host.git("add", "--all")
  host.write("untracked", "stays here")
  host.write("data/with space", "modified since")
  mine = host.code / "out" / "checkpoint"
  mine.parent.mkdir(parents=True)
  mine.write_text("mine")
  said = sync(host)
  assert f"files to {host.code} by {way}\n" in said
  assert "note: git does not track these, they stay here: untracked\n" in said
  assert (host.code / "data/with space").read_text() == "modified since"
  assert all((host.code / f"data/{name}").read_text() == name for name in AWKWARD[1:])
  assert os.readlink(host.code / "link") == "data/عربي"
  assert (host.code / "run.sh").stat().st_mode & 0o777 == 0o755
  assert not (host.code / "untracked").exists()
  assert mine.read_text() == "mine"


def test_a_repeated_copy_brings_changes_and_keeps_the_rest(host, way):
  host.write("changed", "old")
  host.write("removed", "still there")
  host.git("add", "--all")
  sync(host)
  host.write("changed", "new")
  (host.project / "removed").unlink()
  (host.code / "configs" / "mine.yml").write_text("mine")
  assert "note: " not in sync(host)
  assert (host.code / "changed").read_text() == "new"
  assert (host.code / "removed").read_text() == "still there"
  assert (host.code / "configs" / "mine.yml").read_text() == "mine"


def test_renames_what_stands_in_the_way(host, way):
  host.write("was a file/inner", "new")
  host.write("was a link/inner", "new")
  host.write("was a folder", "new")
  host.git("add", "--all")
  elsewhere = host.home / "elsewhere"
  for folder in (elsewhere, host.code / "was a folder"):
    folder.mkdir(parents=True)
    (folder / "kept").write_text("kept")
  (host.code / "was a file").write_text("kept")
  (host.code / "was a link").symlink_to(elsewhere)
  said = sync(host)
  assert (host.code / "was a file/inner").read_text() == "new"
  assert (host.code / "was a link/inner").read_text() == "new"
  assert (host.code / "was a folder").read_text() == "new"
  renamed = {path.name.partition(".")[0]: path for path in host.code.glob("*.before-deploy-*")}
  assert renamed["was a file"].read_text() == "kept"
  assert (renamed["was a folder"] / "kept").read_text() == "kept"
  assert renamed["was a link"].readlink() == elsewhere
  assert [path.name for path in elsewhere.iterdir()] == ["kept"]
  assert f"note: was a file was in the way on the host, and is {renamed['was a file'].name}" in said


def test_takes_tar_when_rsync_fails(host):
  host.sshd.add(host.sshd.bin / "rsync", "exit 12")
  assert "note: rsync failed, copying with tar: " in sync(host)
  assert (host.code / "configs/experiments/tiny.yml").exists()


def test_says_that_the_folder_or_a_program_cannot_be_had(host):
  finished = host.run("deploy", "--skip-deps", "--remote-dir", "/dev/null/x")
  assert finished.returncode == 255
  assert finished.stderr.splitlines()[-1] == (
    "error: 127.0.0.1: the folder /dev/null/x cannot be made; choose another --remote-dir"
  )
  for name in ("rsync", "tar"):
    (host.sshd.bin / name).unlink()
  finished = host.run("deploy", "--skip-deps")
  assert finished.returncode == 255
  assert finished.stderr.splitlines()[-1] == "error: 127.0.0.1: no tar; install it, or rsync"


def test_takes_tar_where_this_side_has_no_rsync(host):
  (host.sshd.client / "rsync").unlink()
  host.environment["PATH"] = f"{host.sshd.client}:{host.sshd.bin}"
  (host.sshd.bin / "git").symlink_to("/usr/bin/git")
  (host.sshd.bin / "rsync").unlink()
  assert " by tar\n" in sync(host)
  assert (host.code / "configs/experiments/tiny.yml").exists()


def test_the_folder_may_have_any_name(host, way):
  folder = host.home / "my code's عربي"
  finished = host.run("deploy", "--skip-setup", "--skip-deps", "--remote-dir", "~/my code's عربي")
  assert finished.returncode == 0, finished.stderr
  assert f"by {way}\n" in finished.stderr
  assert (folder / "configs/experiments/tiny.yml").exists()


def test_a_repeat_completes_what_a_lost_connection_broke_off(host):
  (host.sshd.bin / "rsync").unlink()
  tar = (host.sshd.bin / "tar").readlink()
  host.sshd.add(host.sshd.bin / "tar", f'touch {host.home}/unpacking; sleep 60; exec {tar} "$@"')
  deploying = host.popen("deploy", "--skip-setup", "--skip-deps")
  wait_until((host.home / "unpacking").exists)
  assert host.sshd.drop_connections()
  said = deploying.communicate(timeout=60)[0]
  assert deploying.returncode == 255
  assert f"error: the connection to 127.0.0.1 port {host.sshd.port} was lost: " in said
  host.sshd.add(host.sshd.bin / "tar", f'exec {tar} "$@"')
  sync(host)
  assert (host.code / "configs/experiments/tiny.yml").read_text() == "steps: 1\n"


@pytest.mark.parametrize("program", ["rsync", "tar"])
def test_says_that_the_disk_is_full(host, program):
  if program == "tar":
    (host.sshd.bin / "rsync").unlink()
  message = f"{program}: x: Cannot write: No space left on device"
  host.sshd.add(host.sshd.bin / program, f"echo '{message}' >&2; exit 2")
  finished = host.run("deploy", "--skip-setup", "--skip-deps")
  assert finished.returncode == 255
  assert "error: 127.0.0.1: no space left on the disk" in finished.stderr
  assert "Traceback" not in finished.stderr
