"""Files at URLs (gs://bucket/...): listings, facts about files, atomic writes.

A bucket shows an object when its upload is complete, under the name it was uploaded to: so there is
no temporary name to rename, and a process that dies leaves nothing.
"""

import contextlib
import fnmatch
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from maxtext_ext.files.connection import explained, file_system, missing, scheme_of
from maxtext_ext.files.remote_reading import BLOCK, as_version, info, open_read

_REQUESTS_AT_ONCE = 16
_LIST_FROM = 100  # files of a folder; from there on a listing takes fewer requests than asking each
ABSENT = "absent"  # the version of what is no file


@dataclass(frozen=True, kw_only=True)
class FileInfo:
  """Facts about a file that are known without reading it.

  Attributes:
    size: in bytes.
    crc32c: in base64; None where only reading it tells.
  """

  size: int
  crc32c: str | None = None


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
  with explained("list", url):
    entries = file_system(url).find(folder, detail=True)
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
  with explained("list", url):
    entries = file_system(url).glob(url, detail=True)
  return sorted(_url(url, name) for name, entry in entries.items() if entry["type"] == "file")


def kind_of(url: str) -> str | None:
  """Either "file", "directory", or None where nothing is."""
  entry = info(url)
  return None if entry is None else entry["type"]


def size_of(url: str) -> int:
  """Size of a file in bytes."""
  entry = info(url)
  if entry is None or entry["type"] != "file":
    raise FileNotFoundError(missing(url))
  return entry["size"]


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
  with explained("look at", url):
    return file_system(url).modified(url).timestamp()


def write_bytes(url: str, data: bytes) -> None:
  """Writes a small file in one go."""
  with explained("write", url):
    file_system(url).pipe_file(url, data)


@contextlib.contextmanager
def atomic_write(url: str) -> Iterator[str]:
  """Gives the name of a local file to write; it is uploaded when the block succeeds.

  Two processes that both create a file (a worker that was declared lost, and its replacement)
  cannot overwrite each other's: the first upload is kept, and the second is an error unless its
  bytes are the same. A file that was there before is replaced, by the upload that ends last.
  """
  mode = "create" if info(url) is None else "overwrite"
  with tempfile.TemporaryDirectory(prefix="maxtext_ext-") as folder:
    temporary = os.path.join(folder, url.rpartition("/")[2])
    yield temporary
    with explained("write", url):
      try:
        file_system(url).put_file(temporary, url, mode=mode)
      except FileExistsError as error:
        # Also after a reply that was lost on its way: then the bytes there are our own.
        if not _equal(temporary, url):
          raise FileExistsError(
            f"{url}: another process wrote it meanwhile, with other content, and its file stands; "
            "run one conversion at a time into a folder"
          ) from error


def remove(url: str) -> None:
  """Removes a file, if there is one."""
  with explained("remove", url), contextlib.suppress(FileNotFoundError):
    file_system(url).rm_file(url)


def _versions_in_folder(folder: str, urls: Sequence[str]) -> dict[str, str | None]:
  try:
    if len(urls) < _LIST_FROM:
      entries = {url: info(url) for url in urls}
    else:
      entries = {_url(folder, entry["name"]): entry for entry in _entries(folder)}
  except OSError:
    return dict.fromkeys(urls)
  found: dict[str, str | None] = {}
  for url in urls:
    entry = entries.get(url)
    if entry is not None and entry["type"] == "file":
      found[url] = as_version(entry)
    else:
      found[url] = ABSENT
  return found


def _entries(folder: str) -> list[dict[str, Any]]:
  files = file_system(folder)
  folder = folder.rstrip("/") + "/"
  with explained("list", folder):
    try:
      return files.ls(folder, detail=True)
    except FileNotFoundError:
      # As much is said of an empty folder; this lists nothing, and fails without the bucket.
      files.find(folder)
      return []


def _equal(path: str, url: str) -> bool:
  if os.path.getsize(path) != size_of(url):
    return False
  with open(path, "rb") as ours, open_read(url) as theirs:
    while block := ours.read(BLOCK):
      if block != theirs.read(BLOCK):
        return False
  return True


def _url(like: str, name: str) -> str:
  """The URL of a name that fsspec lists, in the scheme that the user wrote."""
  return f"{scheme_of(like)}://{name.lstrip('/')}"
