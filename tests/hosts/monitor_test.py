"""A lost host is named by all others; a run that ends well ends for all."""

import contextlib
import signal
import socket
import subprocess
import sys
import time

import pytest

from maxtext_ext.errors import PEER_LOST
from tests.train.processes import free_address

HOST = socket.gethostname()
# After the roll call and a line from the test, each does what it is told: sleep, finish, fail.
PROCESS = r"""
import sys, time
from maxtext_ext.hosts.cluster import Cluster
from maxtext_ext.hosts.monitor import HostMonitor
address, index, does = sys.argv[1], int(sys.argv[2]), sys.argv[3]
monitor = HostMonitor(Cluster(address=address, count=3, index=index), 300, beat=float(sys.argv[4]))
print("here", flush=True)
sys.stdin.readline()
if does == "finish":
  monitor.finish()
elif does == "fail":
  monitor.fail("no more\x1b[2J " + 5_000 * "x", 7)
  time.sleep(1000)
else:
  time.sleep(1000)
"""
BEAT = 0.5  # seconds: a process counts as frozen after 4


@pytest.fixture
def begin():
  """Starts three processes that do what they are told, and waits until all have come."""
  started = []

  def start(*does: str) -> list[subprocess.Popen]:
    address = free_address()
    for index, what in enumerate(does):
      command = [sys.executable, "-c", PROCESS, address, str(index), what, str(BEAT)]
      pipe = subprocess.PIPE
      started.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True))
    for process in started:
      assert process.stdout.readline() == "here\n", process.stderr.read()
    for process in started:
      with contextlib.suppress(BrokenPipeError):  # one that was told before may have ended it
        process.stdin.write("go\n")
        process.stdin.flush()
    return started

  yield start
  for process in started:
    process.kill()
    process.communicate()


@pytest.mark.integration_test
@pytest.mark.parametrize("lost", [0, 2])
def test_the_others_name_the_one_that_is_lost(begin, lost):
  processes = begin("sleep", "finish", "sleep")
  processes[lost].send_signal(signal.SIGKILL)
  for process in (process for index, process in enumerate(processes) if index != lost):
    _, errors = process.communicate(timeout=60)
    assert process.returncode == PEER_LOST
    assert errors.startswith(f"error: process {lost} ({HOST}) is gone: it was killed, or")
    assert len(errors.splitlines()) == 1


@pytest.mark.integration_test
@pytest.mark.parametrize("failing", [0, 1])
def test_the_others_say_why_one_stopped_and_end_after_it(begin, failing):
  does = ["sleep", "sleep", "finish"]
  does[failing] = "fail"
  processes = begin(*does)
  for index, process in enumerate(processes):
    _, errors = process.communicate(timeout=60)
    if index == failing:
      assert (process.returncode, errors) == (7, "")
    else:
      assert process.returncode == 7, "as the one that failed"
      assert processes[failing].poll() == 7, "it ends first, as the cause"
      assert errors.startswith(f"error: process {failing} ({HOST}) stopped: no more")


@pytest.mark.integration_test
def test_those_that_are_done_wait_for_the_others(begin):
  processes = begin("finish", "finish", "finish")
  for process in processes:
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")


@pytest.mark.integration_test
def test_one_that_is_done_ends_when_another_is_lost(begin):
  first, done, lost = begin("finish", "finish", "sleep")
  time.sleep(0.5)
  assert first.poll() is None and done.poll() is None, "they wait"
  lost.kill()
  for process in (first, done):
    _, errors = process.communicate(timeout=60)
    assert process.returncode == PEER_LOST
    assert f"process 2 ({HOST}) is gone" in errors


@pytest.mark.integration_test
@pytest.mark.parametrize("frozen", [0, 2])
def test_one_that_is_frozen_is_named_and_ends_when_it_goes_on(begin, frozen):
  processes = begin("sleep", "finish", "sleep")
  processes[frozen].send_signal(signal.SIGSTOP)
  others = [process for index, process in enumerate(processes) if index != frozen]
  ended = [(process.communicate(timeout=60)[1], process.returncode) for process in others]
  processes[frozen].send_signal(signal.SIGCONT)
  ended.append((processes[frozen].communicate(timeout=60)[1], processes[frozen].returncode))
  for errors, status in ended:
    assert status == PEER_LOST
    assert errors.startswith(
      f"error: process {frozen} ({HOST}) has sent no heartbeat for 4 s: it is stopped"
    )
    assert len(errors.splitlines()) == 1


@pytest.mark.integration_test
def test_what_others_say_is_escaped_and_cut(begin):
  monitors = begin("sleep", "sleep", "fail")
  _, errors = monitors[0].communicate(timeout=60)
  assert errors.startswith(rf"error: process 2 ({HOST}) stopped: no more\x1b[2J xxx")
  assert len(errors) < 2_100
