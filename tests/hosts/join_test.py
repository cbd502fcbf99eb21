"""Messages of a process that waits for the others of its run."""

import time

import pytest

from maxtext_ext.hosts.join import _saying, is_lost_peer

# As JAX 0.12 says them on CPUs, on GPUs and in its own service.
LOST = (
  ValueError(
    "UNKNOWN: Gloo AllGather failed: [external/gloo/transport/tcp/pair.cc:547] Connection closed by"
    " peer [127.0.0.1]:13198"
  ),
  RuntimeError(
    "INTERNAL: NCCL operation ncclGroupEnd() failed: remote process exited or there was a network"
    " error"
  ),
  RuntimeError(
    "UNAVAILABLE: Failed to send RPC to coordination service. Either the leader task was preempted"
  ),
  RuntimeError("DEADLINE_EXCEEDED: Barrier timed out. Id: checkpoint::1. This usually happens"),
)
OF_THIS_PROCESS = (
  ValueError("clip-1: audio is 31.0 s, over max_seconds=30"),
  RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1 bytes"),
  RuntimeError(
    "UNAVAILABLE: TPU initialization failed: open(/dev/accel0): Device or resource busy"
  ),
  OSError("gs://bucket/run: 503, connection closed by peer"),
)


@pytest.mark.parametrize("error", LOST)
def test_errors_of_a_lost_process(error):
  assert is_lost_peer(error)


@pytest.mark.parametrize("error", OF_THIS_PROCESS)
def test_errors_of_this_process(error):
  assert not is_lost_peer(error)


def test_waiting_is_told_when_it_takes_long(capsys):
  with _saying("waiting for all 2 processes", after=0.01):
    until = time.monotonic() + 60
    while "waiting for all 2 processes" not in (said := capsys.readouterr().err):
      assert time.monotonic() < until, said
      time.sleep(0.01)


def test_nothing_is_said_when_all_are_there(capsys):
  with _saying("waiting for all 2 processes", after=0.05):
    pass
  time.sleep(0.2)
  assert not capsys.readouterr().err
