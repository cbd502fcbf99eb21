"""Warnings of the package: one plain line each, on the error stream."""

import logging
import sys

from maxtext_ext.escape import printable


class _Plain(logging.Handler):
  """Handler that writes to the current `sys.stderr`, which a progress line may replace."""

  def emit(self, record: logging.LogRecord) -> None:
    sys.stderr.write(f"{record.levelname.lower()}: {printable(record.getMessage())}\n")


_plain = _Plain()


def show_warnings() -> None:
  """Shows warnings of the package, whatever the libraries do to the root logger."""
  logger = logging.getLogger("maxtext_ext")
  logger.setLevel(logging.WARNING)
  logger.addHandler(_plain)  # once, however often it is called


def in_command() -> bool:
  """Returns whether this process is a command of the package, not a program that imports it."""
  return _plain in logging.getLogger("maxtext_ext").handlers
