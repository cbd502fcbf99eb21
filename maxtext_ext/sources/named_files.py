"""Sound files named by records: access rules, and the versions that were read.

A conversion resumes, and a finished shard is kept, only while these files are unchanged: the result
of a shard stores the versions that `noting` collects, to be compared with `current_versions`.
"""

import contextlib
from collections.abc import Collection, Iterator, Mapping
from contextvars import ContextVar

import numpy as np

from maxtext_ext.audio.integrity import SeekableFile
from maxtext_ext.audio.io import read_audio
from maxtext_ext.audio.limits import AudioError
from maxtext_ext.files import storage
from maxtext_ext.files.access import AccessError, allowed, is_web
from maxtext_ext.files.download import DownloadError, downloaded
from maxtext_ext.files.writing import WriteError

# Versions besides those of storage. A file that cannot be read has none, and is tried again.
FETCHED, NOT_FETCHED = "fetched", "not fetched"  # of the web, where nothing is asked a second time

Versions = Mapping[str, str | None]  # by path

_noted: ContextVar[dict[str, str | None] | None] = ContextVar("noted", default=None)


@contextlib.contextmanager
def noting() -> Iterator[Versions]:
  """Collects the versions of all files that `open_named` is asked for within the block."""
  versions: dict[str, str | None] = {}
  token = _noted.set(versions)
  try:
    yield versions
  finally:
    _noted.reset(token)


@contextlib.contextmanager
def open_named(reference: str, folder: str, *, allow_urls: bool = False) -> Iterator[SeekableFile]:
  """Opens a file that a record names, if allowed; every error is one of the record.

  Args:
    reference: the path or URL as the record has it.
    folder: what a relative path starts from.
    allow_urls: whether http:// and https:// may be fetched.

  Raises:
    AudioError: it may not be opened, or cannot; the text names the file.
  """
  try:
    path = allowed(reference, folder, allow_urls=True)
    if is_web(path):
      _note(path, FETCHED if allow_urls else NOT_FETCHED)
    allowed(reference, folder, allow_urls=allow_urls)
  except AccessError as error:
    raise AudioError(str(error)) from error
  try:
    with downloaded(path) if is_web(path) else storage.open_read(path) as file:
      if not is_web(path):
        _note(path, storage.version_of_open(file))
      yield file
  except AudioError as error:
    raise AudioError(f"{path}: {error}") from error
  except WriteError:
    raise
  except DownloadError as error:
    _note(path, None)
    raise AudioError(str(error)) from error
  except OSError as error:
    _note(path, storage.ABSENT if storage.is_absent(error) else None)
    if isinstance(error, FileNotFoundError):
      raise AudioError(f"{path}: audio file not found; check the path") from error
    raise AudioError(f"{path!r:.200}: cannot read the audio file ({error})") from error


def load_named(
  reference: str,
  folder: str,
  *,
  allow_urls: bool = False,
  offset: float = 0.0,
  duration: float | None = None,
  declared: float | None = None,
  channel: int | None = None,
) -> np.ndarray:
  """Decodes the sound file that a record names: `open_named`, then `audio.io.read_audio`."""
  with open_named(reference, folder, allow_urls=allow_urls) as file:
    return read_audio(file, offset=offset, duration=duration, declared=declared, channel=channel)


def note_version(path: str) -> None:
  """Notes a local file that is asked for, but not opened here."""
  _note(path, storage.versions_if_there([path])[0])


def current_versions(paths: Collection[str], *, allow_urls: bool) -> Versions:
  """Returns what `noting` would collect now; a file of the web counts as unchanged."""
  web = FETCHED if allow_urls else NOT_FETCHED
  own = [path for path in paths if not is_web(path)]
  versions = dict(zip(own, storage.versions_if_there(own), strict=True))
  return versions | {path: web for path in paths if is_web(path)}


def _note(path: str, version: str | None) -> None:
  versions = _noted.get()
  if versions is not None:
    versions[path] = version
