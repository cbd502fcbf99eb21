"""A model's folder at a URL: shape and tokenizer are copied to this machine, weights stay there."""

import contextlib
import hashlib
import os
import tempfile

from maxtext_ext.keys.machine import cache_folder
from maxtext_ext.keys.values import ConfigError
from maxtext_ext.keys.yml import MODEL_FILE, TOKENIZER_FILES
from maxtext_ext.records import remote


def local_folder(url: str, *, of_model: bool) -> str:
  """A local folder with the tokenizer of a URL, and its model.yml where there is one.

  Files are downloaded once for each version of them, into the user's cache. Processes that do so at
  the same time do not disturb each other.

  Args:
    of_model: model.yml must be there.

  Raises:
    ConfigError: it is not, or there is nothing at all, or it cannot be read.
  """
  base = url.rstrip("/")
  urls = {f"{base}/{name}": name for name in (MODEL_FILE, *TOKENIZER_FILES)}
  try:
    found = remote.versions_if_there([*urls])
    for file, version in found.items():
      if version is None:
        remote.version_of(file)  # says why it cannot be asked
    versions = {file: version for file, version in found.items() if version != remote.ABSENT}
    if not versions or (of_model and f"{base}/{MODEL_FILE}" not in versions):
      raise ConfigError(
        f"{url}: no {MODEL_FILE if of_model else 'tokenizer'} there; expected the folder that"
        " `maxtext-ext convert to-maxtext SOURCE OUT` wrote, or that of a run"
      )
    digest = hashlib.sha256(repr(sorted(versions.items())).encode()).hexdigest()[:16]
    folder = os.path.join(os.path.dirname(cache_folder()), "models", digest)
    if not os.path.isdir(folder):
      _download({file: urls[file] for file in versions}, folder)
  except OSError as error:
    raise ConfigError(f"{url}: shape and tokenizer cannot be read: {error}") from error
  return folder


def _download(files: dict[str, str], folder: str) -> None:
  """Downloads files, by URL with their names, into a folder that is there when it is complete."""
  os.makedirs(os.path.dirname(folder), exist_ok=True)
  with tempfile.TemporaryDirectory(prefix="new-", dir=os.path.dirname(folder)) as scratch:
    new = os.path.join(scratch, "model")
    os.mkdir(new)
    for url, name in files.items():
      with remote.open_read(url) as source, open(os.path.join(new, name), "wb") as copy:
        copy.write(source.read())
    with contextlib.suppress(FileExistsError):  # another process was first
      os.rename(new, folder)
