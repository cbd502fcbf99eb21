"""Signals to a process that trains; several hosts agree (`hosts_test` has real ones)."""

import os
import signal
import threading

import pytest

from maxtext_ext.train.signals import StopRequest, _count


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_noted_and_handlers_come_back(number, capfd):
  before = signal.getsignal(number)
  with StopRequest() as stop:
    assert not stop.asked()
    os.kill(os.getpid(), number)
    assert stop.asked() and stop.name == number.name
    assert stop.status == 128 + number
  assert signal.getsignal(number) == before
  assert f"{number.name}: the step under way ends, then the run is saved" in capfd.readouterr().err


def test_a_second_interrupt_is_at_once():
  with StopRequest() as stop:
    os.kill(os.getpid(), signal.SIGINT)
    assert stop.asked()
    with pytest.raises(KeyboardInterrupt):
      signal.raise_signal(signal.SIGINT)
  with StopRequest() as stop:
    for _ in range(2):
      os.kill(os.getpid(), signal.SIGTERM)
    assert stop.asked(), "SIGTERM may come as often as it likes"


def test_a_signal_that_is_ignored_stays_so():
  before = signal.signal(signal.SIGINT, signal.SIG_IGN)
  try:
    with StopRequest() as stop:
      os.kill(os.getpid(), signal.SIGINT)
      assert not stop.asked()
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
  finally:
    signal.signal(signal.SIGINT, before)


def test_in_another_thread_signals_stay_as_they_are():
  found = []

  def enter() -> None:
    with StopRequest() as stop:
      found.append((stop.asked(), signal.getsignal(signal.SIGTERM)))

  thread = threading.Thread(target=enter)
  thread.start()
  thread.join()
  assert found == [(False, signal.getsignal(signal.SIGTERM))]


def test_votes_are_counted():
  assert int(_count(False)) == 0
  assert int(_count(True)) > 0
