"""Messages of a process that waits for the others of its run."""

import time

from maxtext_ext.hosts.join import _saying


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
