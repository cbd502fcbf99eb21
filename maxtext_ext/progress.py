"""Lines that tell what a command is doing, on the error stream."""

import functools
import sys
import time
from collections.abc import Callable

from maxtext_ext.escape import printable


def say(text: str) -> None:
  """Writes a line at once; above a progress bar, where there is one."""
  sys.stderr.write(f"{printable(text)}\n")
  sys.stderr.flush()


def announce_first_call[**P, T](
  function: Callable[P, T], what: str, *, visible: bool = True
) -> Callable[P, T]:
  """The function, whose first call says what it does and how long it took.

  A jitted function compiles at its first call, which takes up to minutes.

  Args:
    what: such as "compiling the training step".
  """
  called = not visible

  @functools.wraps(function)
  def call(*args: P.args, **kwargs: P.kwargs) -> T:
    nonlocal called
    if called:
      return function(*args, **kwargs)
    called = True
    say(f"{what} ...")
    began = time.monotonic()
    result = function(*args, **kwargs)
    say(f"{what}: {time.monotonic() - began:.1f} s")
    return result

  return call
