"""Commands of the demo: what they end with, and signals on their way to them."""

import os
import pathlib
import signal
import sys
import threading
import time

import pytest
from rich.console import Console

from maxtext_ext.demo import command
from maxtext_ext.demo.command import run_command


def program(monkeypatch, script: str) -> None:
  """Has this script run instead of `maxtext-ext`."""
  monkeypatch.setattr(command, "_program", lambda: [sys.executable, "-c", script])


@pytest.fixture
def console():
  return Console(stderr=True)


def test_a_command_gets_its_keys_and_is_shown(monkeypatch, console, tmp_path, capfd):
  said = tmp_path / "said"
  program(monkeypatch, f"import sys; open({str(said)!r}, 'w').write(repr(sys.argv[1:]))")
  run_command(console, "train", "a.yml", {"steps": "3", "context": "a b"})
  assert said.read_text() == "['train', 'a.yml', 'steps=3', 'context=a b']"
  assert "train a.yml steps=3 'context=a b'" in capfd.readouterr().err


def test_a_command_that_fails_is_one_line(monkeypatch, console):
  program(monkeypatch, "raise SystemExit(2)")
  with pytest.raises(ValueError, match="decode ended with exit status 2"):
    run_command(console, "decode", "a.yml", {})


@pytest.mark.parametrize("status", [130, 143])
def test_what_follows_a_command_that_was_broken_off_is_not_run(monkeypatch, console, capfd, status):
  program(monkeypatch, f"raise SystemExit({status})")
  with pytest.raises(SystemExit) as exited:
    run_command(console, "train", "a.yml", {})
  assert exited.value.code == status
  assert "train was interrupted: nothing is scored" in capfd.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_passed_on_once_and_waited_for(monkeypatch, console, tmp_path, number):
  ready, saved = tmp_path / "ready", tmp_path / "saved"
  program(
    monkeypatch,
    "import pathlib, signal, sys, time\n"
    "def save(number, frame):\n"
    f"  with open({str(saved)!r}, 'a') as file: file.write('saved ')\n"
    "  sys.exit(128 + number)\n"
    f"signal.signal({int(number)}, save)\n"
    f"pathlib.Path({str(ready)!r}).touch()\n"
    "time.sleep(60)\n",
  )

  def ask() -> None:
    while not ready.exists():
      time.sleep(0.01)
    os.kill(os.getpid(), number)

  before = signal.getsignal(number)
  asking = threading.Thread(target=ask)
  asking.start()
  with pytest.raises(SystemExit) as exited:
    run_command(console, "train", "a.yml", {})
  asking.join()
  assert exited.value.code == 128 + number
  assert saved.read_text() == "saved "
  assert signal.getsignal(number) == before


def test_the_command_shown_is_that_of_this_environment():
  (script,) = command._program()
  assert pathlib.Path(script).name == "maxtext-ext" and os.access(script, os.X_OK)
