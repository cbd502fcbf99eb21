"""How a command fails: one clear line and a non-zero exit, the traceback on request."""

import functools
import os
import sys
from collections.abc import Callable
from typing import Any

from maxtext_ext.log import show_warnings

TRACEBACK_VARIABLE = "MAXTEXT_EXT_TRACEBACK"


def exit_with_one_line(command: Callable[..., Any]) -> Callable[..., Any]:
  """Turns the errors a user can mend (ValueError, OSError) into `error: ...` and exit status 2.

  Set MAXTEXT_EXT_TRACEBACK=1 to see where they come from. Any other exception is a fault of the
  program and keeps its traceback.
  """

  @functools.wraps(command)
  def wrapped(*args: Any, **kwargs: Any) -> Any:
    show_warnings()
    try:
      return command(*args, **kwargs)
    except (ValueError, OSError) as error:
      if os.environ.get(TRACEBACK_VARIABLE):
        raise
      sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
      raise SystemExit(2) from error
    except KeyboardInterrupt:
      sys.stderr.write("interrupted\n")
      raise SystemExit(130) from None

  return wrapped
