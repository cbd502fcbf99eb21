"""Ends of commands: status and message."""

import os
import signal
import subprocess
import sys

import pytest

from maxtext_ext.errors import (
  AllFailedError,
  Unreachable,
  exit_status,
  leaving_at_interrupt,
  one_line,
)


@pytest.mark.parametrize(
  ("error", "status"),
  [
    (ValueError("a"), 2),
    (FileNotFoundError("a"), 2),
    (Unreachable("a"), 2),
    (AllFailedError("a"), 1),
    (KeyError("a"), 1),
    (KeyboardInterrupt(), 130),
    (SystemExit(3), 3),
    (SystemExit(None), 0),
    (SystemExit("a"), 1),
  ],
)
def test_the_status_tells_the_kind_of_end(error, status):
  assert exit_status(error) == status


def test_an_error_is_one_line():
  assert one_line(ValueError("a\n  b")) == "a b"
  assert one_line(TimeoutError()) == "TimeoutError"


def test_an_error_of_the_operating_system_names_the_file_that_the_user_knows(tmp_path):
  (tmp_path / "a").write_text("")
  (tmp_path / "b").mkdir()
  with pytest.raises(OSError) as raised:
    os.replace(tmp_path / "a", tmp_path / "b")
  assert one_line(raised.value) == f"{tmp_path / 'b'}: Is a directory; check the path"
  with pytest.raises(OSError) as raised:
    os.stat(tmp_path / "none")
  assert one_line(raised.value) == f"{tmp_path / 'none'}: No such file or directory; check the path"


def test_what_an_error_quotes_reaches_no_terminal_as_a_command():
  assert one_line(ValueError("clip \x1b[2J\u202e: שלום")) == r"clip \x1b[2J\u202e: שלום"


def test_an_end_for_want_of_a_bucket_waits_for_no_thread():
  code = """
import threading, time
from maxtext_ext.errors import Unreachable, exit_with_one_line
threading.Thread(target=time.sleep, args=(1000,)).start()
@exit_with_one_line
def command():
  raise Unreachable("gs://bucket: gone")
command()
"""
  ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
  assert (ended.returncode, ended.stderr) == (2, "error: gs://bucket: gone\n")


def test_an_interrupt_that_an_import_swallows_ends_the_command():
  code = """
import os, signal
from maxtext_ext.errors import exit_with_one_line, leaving_at_interrupt
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
@exit_with_one_line
def command():
  with leaving_at_interrupt():
    try:
      os.kill(os.getpid(), signal.SIGINT)
      for _ in range(1000): pass
    except BaseException:
      pass
  print("goes on")
command()
"""
  ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
  assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "interrupted\n")


def test_an_interrupt_behind_the_imports_is_an_exception_again():
  before = signal.getsignal(signal.SIGINT)
  with leaving_at_interrupt():
    pass
  assert signal.getsignal(signal.SIGINT) is before
