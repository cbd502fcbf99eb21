"""Words of a command line: files, and `key=value`."""

import os
import re
from collections.abc import Sequence

_OVERRIDE = re.compile(r"[a-z][a-z0-9_]*=")


def split_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
  """Splits the words of a command into sound files and `key=value`; a file that is there is one.

  Raises:
    ValueError: there is no sound file among them.
  """
  overrides = [word for word in words if _OVERRIDE.match(word) and not os.path.exists(word)]
  files = [word for word in words if word not in overrides]
  if not files:
    raise ValueError(f"only keys are given ({' '.join(overrides)}), expected sound files too")
  return files, overrides
