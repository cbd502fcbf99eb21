"""What a save that fails would leave on the terminal beside its one line.

At the first write that fails Orbax closes its event loop. Every other write then reports to the
closed loop, which Python prints as an error that nobody can catch: hundreds of lines.
"""

import functools
import sys


@functools.cache
def hush() -> None:
  """Drops those reports for the rest of the process; the failure itself is raised elsewhere."""
  before = sys.unraisablehook

  def report(unraisable: "sys.UnraisableHookArgs") -> None:
    error = unraisable.exc_value
    if not (isinstance(error, RuntimeError) and str(error) == "Event loop is closed"):
      before(unraisable)

  sys.unraisablehook = report
