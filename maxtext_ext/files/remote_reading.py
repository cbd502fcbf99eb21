"""Reading of files at URLs, by blocks or whole; whole files are compared with their checksums."""

import base64
import contextlib
import io
import os
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import google_crc32c

from maxtext_ext.files.connection import explained, file_system, missing

BLOCK = 8 * 2**20  # bytes of a request: long enough against the time to the first byte
_BLOCKS_KEPT = 3  # the one being read, the one before it, and the one being fetched
_BUFFER = 2**20  # bytes
_DOWNLOADS = 3  # of a file whose bytes do not have its checksum


def info(url: str) -> dict[str, Any] | None:
  """Returns what fsspec knows of a file or folder; None where nothing is."""
  with explained("look at", url):
    try:
      return file_system(url).info(url)
    except FileNotFoundError:
      return None


def as_version(entry: Mapping[str, Any]) -> str:
  """Returns a text that changes when the file of this `info` is rewritten."""
  times = (entry.get(key) for key in ("generation", "ETag", "etag", "mtime", "created"))
  return f"{entry['size']}-{next((time for time in times if time), '')}"


def version_of(url: str) -> str:
  """Returns a text that changes when the file is rewritten."""
  entry = info(url)
  if entry is None:
    raise FileNotFoundError(missing(url))
  return as_version(entry)


def version_of_open(file: BinaryIO) -> str | None:
  """The version of a file that `open_read` has opened; None of any other."""
  raw = getattr(file, "raw", None)
  return raw.version if isinstance(raw, _Reading) else None


def open_read(url: str) -> BinaryIO:
  """Opens a file for reading bytes: can be seeked, and prefetches for sequential reading.

  Holds at most 33 MiB at a time. A file of one block is fetched whole, and its bytes must have the
  checksum that the service gives; of a larger one parts are read, which have none.
  """
  for _ in range(_DOWNLOADS):
    with explained("read", url):
      file = file_system(url).open(
        url,
        "rb",
        block_size=BLOCK,
        cache_type="background",
        cache_options={"maxblocks": _BLOCKS_KEPT},
      )
      details = getattr(file, "details", None) or {}
      checksum = _checksum(details)
      if checksum is None or details["size"] > BLOCK:
        return io.BufferedReader(_Reading(url, file, details), _BUFFER)
      data = file_system(url).cat_file(url)
    if _crc32c(data) == checksum:
      return io.BufferedReader(_Reading(url, io.BytesIO(data), details), _BUFFER)
  raise _damaged(url)


@contextlib.contextmanager
def local_copy(url: str) -> Iterator[str]:
  """Downloads a file for as long as the block lasts; it has the checksum that the service gives."""
  with tempfile.TemporaryDirectory(prefix="maxtext_ext-") as folder:
    path = os.path.join(folder, url.rpartition("/")[2])
    for _ in range(_DOWNLOADS):
      checksum = _checksum(info(url) or {})
      with explained("read", url):
        file_system(url).get_file(url, path)
      if checksum is None or _crc32c_of_file(path) == checksum:
        break
    else:
      raise _damaged(url)
    yield path


class _Reading(io.RawIOBase):
  """File of fsspec with one-line errors; `details` as `info` has them, where they are known."""

  mode = "rb"

  def __init__(self, url: str, file: Any, details: Mapping[str, Any]) -> None:
    self.name = url
    self._file = file
    self._details = details

  @property
  def version(self) -> str:
    """See `version_of`, of what was opened."""
    return as_version(self._details) if self._details else version_of(self.name)

  def readable(self) -> bool:
    return True

  def seekable(self) -> bool:
    return True

  def readinto(self, buffer: Any) -> int:
    with explained("read", self.name):
      return self._file.readinto(buffer)

  def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
    return self._file.seek(offset, whence)

  def tell(self) -> int:
    return self._file.tell()

  def close(self) -> None:
    if not self.closed:
      self._file.close()
    super().close()


def _checksum(details: Mapping[str, Any]) -> str | None:
  """The CRC32C of a file in base64; None where the bytes that arrive are not those it is of."""
  return None if details.get("contentEncoding") else details.get("crc32c")


def _crc32c(data: bytes, before: int = 0) -> str:
  return base64.b64encode(google_crc32c.extend(before, data).to_bytes(4, "big")).decode()


def _crc32c_of_file(path: str) -> str:
  crc = 0
  with open(path, "rb") as file:
    while block := file.read(BLOCK):
      crc = google_crc32c.extend(crc, block)
  return _crc32c(b"", crc)


def _damaged(url: str) -> OSError:
  return OSError(
    f"{url}: {_DOWNLOADS} downloads did not have the checksum of the object; check the network, or"
    " upload the file again"
  )
