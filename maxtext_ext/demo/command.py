"""Subprocesses for the package's commands, printed as a user would type them."""

import os
import pathlib
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping
from types import FrameType

from rich.console import Console

_FORWARDED = (signal.SIGINT, signal.SIGTERM)


def run_command(console: Console, name: str, config: str, keys: Mapping[str, str]) -> None:
  """Runs `maxtext-ext NAME CONFIG KEY=VALUE...` to its end.

  Ctrl-C and SIGTERM are passed on, so that training saves before it ends.

  Raises:
    SystemExit: the command was interrupted, with its status.
    ValueError: it failed.
  """
  command = [*_program(), name, config, *(f"{key}={value}" for key, value in keys.items())]
  console.print(f"[bold]$ {shlex.join(command)}[/bold]", highlight=False, soft_wrap=True)
  # In a group of its own, else a terminal's Ctrl-C would reach it twice, which stops it at once.
  process = subprocess.Popen(command, process_group=0)

  def pass_on(number: int, frame: FrameType | None) -> None:
    del frame
    process.send_signal(number)

  before = {number: signal.signal(number, pass_on) for number in _FORWARDED}
  try:
    status = process.wait()
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)
  if status in {code for number in _FORWARDED for code in (-number, 128 + number)}:
    console.print(f"{name} was interrupted: nothing is scored")
    raise SystemExit(128 - status if status < 0 else status)
  if status:
    raise ValueError(f"{name} ended with exit status {status}; see its line above")


def _program() -> list[str]:
  """Returns the console script of this environment, or else `python -m` with its module."""
  script = pathlib.Path(sys.executable).with_name("maxtext-ext")
  if not script.is_file():
    return [sys.executable, "-m", "maxtext_ext.cli"]
  near = os.path.relpath(script)
  return [str(script) if near.startswith("..") else near]
