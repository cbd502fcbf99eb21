"""Error handling of commands: one clear line and a non-zero exit, a traceback on request."""

import contextlib
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from maxtext_ext.escape import printable
from maxtext_ext.log import show_warnings

TRACEBACK_VARIABLE = "MAXTEXT_EXT_TRACEBACK"
# What a user can mend; any other exception is a fault of the program and keeps its traceback.
_OF_USERS = (ValueError, OSError)
_INTERRUPTED = 130
STDERR = 2  # its file descriptor, which is there whatever sys.stderr is
# Of a process that ends because another of its run was lost: the same command resumes. Engines
# that restart by exit status take this one alone, so it is none that a user's error ends with.
PEER_LOST = 42


class AllFailedError(Exception):
  """All of the work was tried, and none of it succeeded; its output tells why, piece by piece."""


class UnfinishedWork(OSError):
  """Other threads failed or hang; the process ends without waiting for them."""


class Unreachable(UnfinishedWork):
  """The storage cannot be reached; threads may keep retrying for 15 minutes."""


def exit_with_one_line(command: Callable[..., Any]) -> Callable[..., Any]:
  """Turns the errors that a user can fix (ValueError, OSError) into `error: ...` and exit status 2.

  AllFailedError is such a line too, with exit status 1: the command itself was right.
  Set MAXTEXT_EXT_TRACEBACK=1 to see where they come from.
  """

  @functools.wraps(command)
  def wrapped(*args: Any, **kwargs: Any) -> Any:
    show_warnings()
    try:
      return command(*args, **kwargs)
    except (*_OF_USERS, AllFailedError) as error:
      if os.environ.get(TRACEBACK_VARIABLE):
        raise
      sys.stderr.write(f"error: {one_line(error)}\n")
      if isinstance(error, UnfinishedWork):
        leave(exit_status(error))
      raise SystemExit(exit_status(error)) from error
    except KeyboardInterrupt:
      sys.stderr.write("interrupted\n")
      raise SystemExit(_INTERRUPTED) from None

  return wrapped


@contextlib.contextmanager
def leaving_at_interrupt() -> Iterator[None]:
  """Lets Ctrl-C end the process at once, while there is nothing to save or to clean up.

  A KeyboardInterrupt in the middle of the imports of JAX and MaxText may be swallowed there, and
  the command would continue to its end.
  """
  in_main = threading.current_thread() is threading.main_thread()
  if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
    yield
    return
  signal.signal(signal.SIGINT, _leave_interrupted)
  try:
    yield
  finally:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave_interrupted(number: int, frame: object) -> None:
  del number, frame
  os.write(STDERR, b"interrupted\n")  # print may be what was interrupted
  os._exit(_INTERRUPTED)


def one_line(error: BaseException) -> str:
  """Returns an error's message on one line, safe to print; its type when it has none."""
  text = str(error)
  if isinstance(error, OSError) and error.strerror and error.filename:
    # Of a file that is renamed, the second name is the one that the user knows.
    text = f"{os.fsdecode(error.filename2 or error.filename)}: {error.strerror}; check the path"
  return printable(" ".join(text.split())) or type(error).__name__


def exit_status(error: BaseException) -> int:
  """Returns the exit status of a command that raised the error."""
  if isinstance(error, KeyboardInterrupt):
    return _INTERRUPTED
  if isinstance(error, SystemExit):
    return error.code if isinstance(error.code, int) else int(error.code is not None)
  return 2 if isinstance(error, _OF_USERS) else 1


def leave(status: int) -> None:
  """Ends the process at once, without waiting for threads."""
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(status)
