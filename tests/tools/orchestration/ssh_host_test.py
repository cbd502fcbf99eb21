import threading

import pytest
from orchestration.ssh_host import SshHost

pytestmark = pytest.mark.integration_test


def status(host, *options):
  return host.run("attach", "--list", *options)


def test_waits_for_a_host_that_is_still_booting(host):
  host.sshd.stop()
  boot = threading.Timer(1.5, host.sshd.start)
  boot.start()
  finished = status(host)
  boot.join()
  assert finished.returncode == 0, finished.stderr
  assert "refuses connections; check the port, and that the host is up" in finished.stderr
  assert "; trying again for 60 s" in finished.stderr
  assert finished.stdout == "no session on 127.0.0.1\n"


def test_says_that_connections_are_refused(host):
  host.sshd.stop()
  finished = status(host, "--wait", "0")
  assert finished.returncode == 255
  place = f"127.0.0.1 port {host.sshd.port}"
  assert finished.stderr == (
    f"error: {place} refuses connections; check the port, and that the host is up\n"
  )


def test_says_that_the_key_is_refused(host):
  (host.sshd.folder / "user").write_bytes((host.sshd.folder / "other").read_bytes())
  finished = status(host)
  assert finished.returncode == 255
  assert f"takes none of your keys for user {host.sshd.user}; name one" in finished.stderr
  assert finished.stderr.count("\n") == 1


def test_uses_the_key_that_is_named(host):
  key = host.sshd.folder / "a key"
  (host.sshd.folder / "user").rename(key)
  assert status(host, "--key", str(key)).returncode == 0
  assert status(host).returncode == 255
  key.chmod(0o644)
  finished = status(host, "--key", str(key))
  assert finished.returncode == 255
  assert "others can read the private key" in finished.stderr


def test_says_how_to_forget_the_key_of_a_host_that_was_made_anew(host):
  assert status(host).returncode == 0
  host.sshd.renew_host_key()
  finished = status(host)
  assert finished.returncode == 255
  assert "has another host key than before" in finished.stderr
  assert f"ssh-keygen -R '[127.0.0.1]:{host.sshd.port}'" in finished.stderr


def test_says_that_the_host_is_unknown(host):
  command = host.command("status")
  command[command.index("127.0.0.1")] = "gpu.invalid"
  finished = host.run_command(command)
  assert finished.returncode == 255
  assert finished.stderr == "error: unknown host gpu.invalid; check the name, or give the address\n"


@pytest.mark.parametrize(
  ("said", "again", "reason"),
  [
    ("ssh: connect to host h port 22: Connection timed out", True, "h port 22 does not answer"),
    ("ssh: connect to host h port 22: No route to host", True, "there is no way to h port 22"),
    ("Connection timed out during banner exchange", True, "h port 22 does not answer"),
    ("kex_exchange_identification: read: Connection reset by peer", True, "closes connections"),
    ("Connection closed by 10.0.0.1 port 22", True, "closes connections"),
    ("client_loop: send disconnect: Broken pipe", False, "was lost: client_loop: send disconnect"),
    ("Connection to h closed by remote host.", False, "was lost: Connection to h closed"),
    ("Timeout, server h not responding.", False, "was lost: Timeout, server h not responding."),
    ("", False, "was lost: ssh ended without a word"),
  ],
)
def test_explains_what_ssh_says(said, again, reason):
  explained = SshHost("h", 22).explain(f"Warning: something\n{said}" if said else "")
  assert explained[0] is again
  assert reason in explained[1]


def test_does_not_mind_what_the_shell_of_the_host_prints(host):
  (host.home / ".bashrc").write_text("echo welcome; echo hello >&2\n")
  host.install()
  finished = host.run("start", "--experiment", "tiny", "run=echo done")
  assert finished.returncode == 0, finished.stderr
  assert "welcome" not in finished.stdout
  assert finished.stdout.splitlines()[-2] == "done"


def test_asks_for_ssh_where_there_is_none(host, tmp_path):
  finished = host.run("status", PATH=str(tmp_path))
  assert finished.returncode == 255
  assert finished.stderr == "error: ssh is not installed here; install openssh-client\n"
