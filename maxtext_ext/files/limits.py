"""Limit of open files of this process: shards of a large corpus, and connections."""

import contextlib
import resource

OPEN_FILES = 4096


def raise_open_files() -> None:
  """Raises the limit to OPEN_FILES, or as far as the system allows; macOS begins with 256."""
  soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
  most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
  if soft == resource.RLIM_INFINITY or soft >= most:
    return
  with contextlib.suppress(ValueError, OSError):  # a limit of the system below the hard one
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
