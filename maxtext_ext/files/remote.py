"""Files at URLs (gs://bucket/...), through fsspec: atomic writes, and one-line errors.

gs:// needs the extra `gcs`. Other schemes work where fsspec's package for them is installed.
A bucket shows an object when its upload is complete, under the name it was uploaded to: so there is
no temporary name to rename, and a process that dies leaves nothing.
"""

import contextlib
import fnmatch
import functools
import io
import logging
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, BinaryIO

import fsspec

from maxtext_ext.errors import Unreachable, one_line

BLOCK = 8 * 2**20  # bytes of a request: long enough against the time to the first byte
_BLOCKS_KEPT = 3  # the one being read, the one before it, and the one being fetched
_BUFFER = 2**20  # bytes
_REQUESTS_AT_ONCE = 16
_LIST_FROM = 100  # files of a folder; from there on a listing takes fewer requests than asking each
ABSENT = "absent"  # the version of what is no file

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://")
_CODES_OF_ACCESS = (401, 403)


@dataclass(frozen=True, kw_only=True)
class FileInfo:
  """Facts about a file that are known without reading it.

  Attributes:
    size: in bytes.
    crc32c: in base64; None where only reading it tells.
  """

  size: int
  crc32c: str | None = None


def is_url(path: str) -> bool:
  """Returns whether this is gs://... or another URL, rather than a local path."""
  return _SCHEME.match(path) is not None


def list_folder(url: str, suffix: str = "") -> list[str]:
  """URLs of the files in a folder whose names end so, sorted; none if there is no such folder.

  Raises:
    FileNotFoundError: there is no such bucket.
  """
  names = sorted(entry["name"] for entry in _entries(url) if entry["type"] == "file")
  return [_url(url, name) for name in names if name.endswith(suffix) and not name.endswith("/")]


def walk(url: str) -> dict[str, FileInfo]:
  """All files below a folder, by path from there; none if there is no such folder."""
  folder = url.rstrip("/") + "/"
  with _explained("list", url):
    entries = _file_system(url).find(folder, detail=True)
  return {
    _url(url, name).removeprefix(folder): FileInfo(size=entry["size"], crc32c=entry.get("crc32c"))
    for name, entry in entries.items()
    if entry["type"] == "file" and not name.endswith("/")
  }


def find_files(url: str, *patterns: str) -> list[str]:
  """Does the same as storage.find_files for a URL; an empty list where nothing is."""
  kind = kind_of(url)
  if kind == "file":
    return [url]
  if kind == "directory":
    names = {path: path.rpartition("/")[2] for path in list_folder(url)}
    return [
      path for path, name in names.items() if any(fnmatch.fnmatchcase(name, p) for p in patterns)
    ]
  if not re.search(r"[*?\[]", url):
    return []
  with _explained("list", url):
    entries = _file_system(url).glob(url, detail=True)
  return sorted(_url(url, name) for name, entry in entries.items() if entry["type"] == "file")


def kind_of(url: str) -> str | None:
  """Either "file", "directory", or None where nothing is."""
  entry = _info(url)
  return None if entry is None else entry["type"]


def size_of(url: str) -> int:
  """Size of a file in bytes."""
  entry = _info(url)
  if entry is None or entry["type"] != "file":
    raise FileNotFoundError(_missing(url))
  return entry["size"]


def version_of(url: str) -> str:
  """Returns a text that changes when the file is rewritten."""
  entry = _info(url)
  if entry is None:
    raise FileNotFoundError(_missing(url))
  return _as_version(entry)


def versions_if_there(urls: Sequence[str]) -> dict[str, str | None]:
  """Returns the versions of URLs, as storage.versions_if_there does.

  A folder of which many files are asked for is listed, a thousand files a request; else each file
  is a request of its own, several at once.
  """
  folders: dict[str, list[str]] = {}
  for url in dict.fromkeys(urls):
    folders.setdefault(url.rpartition("/")[0], []).append(url)
  with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
    return {
      url: version
      for found in pool.map(_versions_in_folder, folders, folders.values())
      for url, version in found.items()
    }


def modified(url: str) -> float:
  """Returns the time at which a file was written, in seconds since 1970."""
  with _explained("look at", url):
    return _file_system(url).modified(url).timestamp()


def version_of_open(file: BinaryIO) -> str | None:
  """The version of a file that `open_read` has opened; None of any other."""
  raw = getattr(file, "raw", None)
  return raw.version if isinstance(raw, _Reading) else None


def open_read(url: str) -> BinaryIO:
  """Opens a file for reading bytes: can be seeked, and prefetches for sequential reading.

  Holds at most 33 MiB at a time.
  """
  with _explained("read", url):
    file = _file_system(url).open(
      url,
      "rb",
      block_size=BLOCK,
      cache_type="background",
      cache_options={"maxblocks": _BLOCKS_KEPT},
    )
  return io.BufferedReader(_Reading(url, file), _BUFFER)


def write_bytes(url: str, data: bytes) -> None:
  """Writes a small file in one go."""
  with _explained("write", url):
    _file_system(url).pipe_file(url, data)


def create(url: str, data: bytes) -> bool:
  """Creates a small file; returns False if it already exists."""
  with _explained("write", url):
    try:
      _file_system(url).pipe_file(url, data, mode="create")
    except FileExistsError:
      return False
  return True


@contextlib.contextmanager
def atomic_write(url: str) -> Iterator[str]:
  """Gives the name of a local file to write; it is uploaded when the block succeeds.

  Two processes that both create a file (a worker that was declared lost, and its replacement)
  cannot overwrite each other's: the first upload is kept, and the second is an error unless its
  bytes are the same. A file that was there before is replaced, by the upload that ends last.
  """
  mode = "create" if _info(url) is None else "overwrite"
  with tempfile.TemporaryDirectory(prefix="maxtext_ext-") as folder:
    temporary = os.path.join(folder, url.rpartition("/")[2])
    yield temporary
    with _explained("write", url):
      try:
        _file_system(url).put_file(temporary, url, mode=mode)
      except FileExistsError as error:
        # Also after a reply that was lost on its way: then the bytes there are our own.
        if not _equal(temporary, url):
          raise FileExistsError(
            f"{url}: another process wrote it meanwhile, with other content, and its file stands; "
            "run one conversion at a time into a folder"
          ) from error


@contextlib.contextmanager
def local_copy(url: str) -> Iterator[str]:
  """Downloads a file for as long as the block lasts."""
  with tempfile.TemporaryDirectory(prefix="maxtext_ext-") as folder:
    path = os.path.join(folder, url.rpartition("/")[2])
    with _explained("read", url):
      _file_system(url).get_file(url, path)
    yield path


def remove(url: str) -> None:
  """Removes a file, if there is one."""
  with _explained("remove", url), contextlib.suppress(FileNotFoundError):
    _file_system(url).rm_file(url)


def _versions_in_folder(folder: str, urls: Sequence[str]) -> dict[str, str | None]:
  try:
    if len(urls) < _LIST_FROM:
      entries = {url: _info(url) for url in urls}
    else:
      entries = {_url(folder, entry["name"]): entry for entry in _entries(folder)}
  except OSError:
    return dict.fromkeys(urls)
  found: dict[str, str | None] = {}
  for url in urls:
    entry = entries.get(url)
    if entry is not None and entry["type"] == "file":
      found[url] = _as_version(entry)
    else:
      found[url] = ABSENT
  return found


def _as_version(entry: Mapping[str, Any]) -> str:
  times = (entry.get(key) for key in ("generation", "ETag", "etag", "mtime", "created"))
  return f"{entry['size']}-{next((time for time in times if time), '')}"


class _Reading(io.RawIOBase):
  """File of fsspec with one-line errors."""

  mode = "rb"

  def __init__(self, url: str, file: Any) -> None:
    self.name = url
    self._file = file

  @property
  def version(self) -> str:
    """See `version_of`, of what was opened."""
    details = getattr(self._file, "details", None)
    return _as_version(details) if details else version_of(self.name)

  def readable(self) -> bool:
    return True

  def seekable(self) -> bool:
    return True

  def readinto(self, buffer: Any) -> int:
    with _explained("read", self.name):
      return self._file.readinto(buffer)

  def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
    return self._file.seek(offset, whence)

  def tell(self) -> int:
    return self._file.tell()

  def close(self) -> None:
    if not self.closed:
      self._file.close()
    super().close()


def _file_system(url: str) -> fsspec.AbstractFileSystem:
  """The file system of a URL; fsspec makes one a process and kind."""
  scheme = _scheme(url)
  if scheme == "file":
    raise ValueError(f"{url}: give a local path without file://")
  if scheme in ("gs", "gcs") and "GCSFS_DEBUG" not in os.environ:
    # It logs what it raises too, with its traceback; we say it in one line.
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)
  try:
    # Other processes write to the same folders: a listing that is kept would be wrong.
    return fsspec.filesystem(scheme, use_listings_cache=False)
  except ImportError as error:
    extra = "; pip install 'maxtext_ext[gcs]'" if scheme in ("gs", "gcs") else ""
    raise ValueError(f"{url}: a package for {scheme}:// is missing ({error}){extra}") from error
  except ValueError as error:
    raise ValueError(f"{url}: {error}, expected a local path or gs://bucket/...") from error


def _entries(folder: str) -> list[dict[str, Any]]:
  files = _file_system(folder)
  folder = folder.rstrip("/") + "/"
  with _explained("list", folder):
    try:
      return files.ls(folder, detail=True)
    except FileNotFoundError:
      # As much is said of an empty folder; this lists nothing, and fails without the bucket.
      files.find(folder)
      return []


def _info(url: str) -> dict[str, Any] | None:
  with _explained("look at", url):
    try:
      return _file_system(url).info(url)
    except FileNotFoundError:
      return None


def _equal(path: str, url: str) -> bool:
  if os.path.getsize(path) != size_of(url):
    return False
  with open(path, "rb") as ours, open_read(url) as theirs:
    while block := ours.read(BLOCK):
      if block != theirs.read(BLOCK):
        return False
  return True


def _scheme(url: str) -> str:
  match = _SCHEME.match(url)
  assert match, url
  return match[1]


def _url(like: str, name: str) -> str:
  """The URL of a name that fsspec lists, in the scheme that the user wrote."""
  return f"{_scheme(like)}://{name.lstrip('/')}"


@functools.cache
def _failures(scheme: str) -> tuple[type[Exception], ...]:
  """Returns the errors that the file system of a scheme raises for failed requests."""
  common = (OSError, ValueError)
  if scheme not in ("gs", "gcs"):
    return common
  import aiohttp
  from gcsfs.retry import HttpError
  from google.auth.exceptions import GoogleAuthError

  return (*common, HttpError, aiohttp.ClientError, GoogleAuthError)


def failures(url: str) -> tuple[type[Exception], ...]:
  """Returns the errors of failed requests to a URL's file system; none for a local path."""
  kinds = _failures(_scheme(url)) if is_url(url) else ()
  return tuple(kind for kind in kinds if kind is not ValueError)


@contextlib.contextmanager
def reaching(url: str) -> Iterator[None]:
  """Turns failed requests of work that writes below a URL into Unreachable.

  Raises:
    Unreachable: a request failed.
  """
  try:
    yield
  except failures(url) as error:
    raise Unreachable(f"{url}: {one_line(error)}; the same command resumes from there") from error


@contextlib.contextmanager
def _explained(action: str, url: str) -> Iterator[None]:
  """Turns what a file system raises into an OSError of one line: what, got, remedy."""
  _file_system(url)  # a package that is missing is said first
  try:
    yield
  except _failures(_scheme(url)) as error:
    if isinstance(error, OSError) and str(error).startswith(url):
      raise  # explained already
    detail = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, FileNotFoundError):
      raise FileNotFoundError(_missing(url)) from error
    if (
      isinstance(error, PermissionError)
      or type(error).__name__ in ("RefreshError", "DefaultCredentialsError")
      or getattr(error, "code", None) in _CODES_OF_ACCESS
      or detail.startswith("Forbidden")
    ):
      raise PermissionError(
        f"{url}: may not {action} it ({detail}); sign in with `gcloud auth application-default "
        "login`, or have your account given the role Storage Object Admin on the bucket"
      ) from error
    raise OSError(
      f"{url}: cannot {action} it ({detail}); check the name and the network, then try again"
    ) from error


def _missing(url: str) -> str:
  bucket = "/".join(url.split("/")[:3])
  return f"{url}: no such file, or no bucket {bucket}; check the name with `gcloud storage ls`"
