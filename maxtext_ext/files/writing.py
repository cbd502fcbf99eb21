"""Errors of writing, in one line: which file, what is wrong, what to do."""

import contextlib
import errno
import os
from collections.abc import Iterator

_FULL = (errno.ENOSPC, errno.EDQUOT)


class WriteError(OSError):
  """A file that cannot be written; the text names it."""


@contextlib.contextmanager
def writing(path: str) -> Iterator[None]:
  """Turns errors of a block that writes a file into WriteErrors.

  The operating system does not say which file a `write` failed for, and ArrayRecord's library
  raises RuntimeError, with the text of the operating system in it.

  Args:
    path: as the error is to name it.

  Raises:
    WriteError: an OSError or RuntimeError without that name.
  """
  try:
    yield
  except (OSError, RuntimeError) as error:
    if _names_file(error, path):
      raise
    reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or repr(error)
    is_full = any(
      code == getattr(error, "errno", 0) or os.strerror(code) in reason for code in _FULL
    )
    remedy = "make room there" if is_full else "check the disk"
    explained = WriteError(
      f"{path}: cannot write it ({reason}); {remedy}, then run the same command again"
    )
    explained.errno = getattr(error, "errno", None) or errno.EIO
    raise explained from error


def _names_file(error: Exception, path: str) -> bool:
  if getattr(error, "errno", None) in _FULL:
    return False
  return getattr(error, "filename", None) is not None or str(error).startswith(path)
