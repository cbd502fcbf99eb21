"""Files of records, local or at a URL such as gs://bucket/folder.

Conversion and reading meet the file system here and nowhere else. Local paths take the plain
functions of the operating system; URLs go through `remote`.
"""

import contextlib
import errno
import fcntl
import glob
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO, BinaryIO

from maxtext_ext.files import remote, remote_reading
from maxtext_ext.files.connection import is_url as is_url
from maxtext_ext.files.remote import FileInfo
from maxtext_ext.files.writing import writing

ABSENT = remote.ABSENT  # the version of what is no file
_TEMPORARY = ".tmp-"
_REQUESTS_AT_ONCE = 16
_NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.EINVAL, errno.ENAMETOOLONG, errno.ELOOP)


def find_files(source: str, *patterns: str) -> list[str]:
  """The files that a user's SOURCE stands for, sorted.

  Args:
    source: a file, a folder or a glob.
    patterns: which files of a folder count, globs on their names ("*.jsonl").

  Raises:
    ValueError: nothing is there.
  """
  if is_url(source):
    files = remote.find_files(source, *patterns)
  else:
    files = _find_local(source, patterns)
  files = [path for path in files if path == source or _TEMPORARY not in os.path.basename(path)]
  if not files:
    raise ValueError(
      f"{source}: no input found, expected a file, a folder with {' or '.join(patterns)} files, "
      "or a glob; check the path (quote a glob against the shell)"
    )
  return files


def list_folder(folder: str, suffix: str = "") -> list[str]:
  """The files of a folder whose names end so, sorted; none if there is no such folder."""
  if is_url(folder):
    return remote.list_folder(folder, suffix)
  return sorted(glob.glob(os.path.join(glob.escape(folder), "*" + suffix)))


def walk(folder: str) -> dict[str, FileInfo]:
  """All files below a folder, by path from there; none if there is no such folder.

  Links are followed, but not those to a folder that they are in.
  """
  if is_url(folder):
    return remote.walk(folder)
  infos = {}
  for place, _, names in walk_local(folder):
    for name in names:
      path = os.path.join(place, name)
      # A link that leads nowhere is named too, so that whoever reads it says so.
      size = (os.stat(path) if os.path.exists(path) else os.lstat(path)).st_size
      infos[os.path.relpath(path, folder)] = FileInfo(size=size)
  return infos


def walk_local(folder: str) -> Iterator[tuple[str, list[str], list[str]]]:
  """Does what os.walk does, follows links, and leaves out links to a folder that they are in."""
  for place, folders, names in os.walk(folder, followlinks=True):
    around = os.path.realpath(place)
    folders[:] = [
      name
      for name in folders
      if not f"{around}/".startswith(f"{os.path.realpath(os.path.join(place, name))}/")
    ]
    yield place, folders, names


def find_below(folder: str, pattern: str) -> list[str]:
  """The files of a folder, and of those below it, that match a glob ("*/metadata.csv"), sorted."""
  if is_url(folder):
    return remote.find_files(f"{folder.rstrip('/')}/{pattern}")
  paths = glob.glob(os.path.join(glob.escape(folder), pattern), recursive=True)
  return sorted(path for path in paths if os.path.isfile(path))


def exists(path: str) -> bool:
  """Returns whether there is a file or a folder of this name."""
  return remote.kind_of(path) is not None if is_url(path) else os.path.exists(path)


def is_file(path: str) -> bool:
  """Returns whether there is a file of this name."""
  return remote.kind_of(path) == "file" if is_url(path) else os.path.isfile(path)


def size_of(path: str) -> int:
  """Size of a file in bytes."""
  return remote.size_of(path) if is_url(path) else os.path.getsize(path)


def sizes_of(paths: Sequence[str]) -> list[int]:
  """Sizes of files in bytes; of those that are far away many are asked at once."""
  if any(map(is_url, paths)):
    with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
      return list(pool.map(size_of, paths))
  return [size_of(path) for path in paths]


def versions(paths: Sequence[str]) -> list[str]:
  """Returns for each file a text that changes when the file is rewritten."""
  if any(map(is_url, paths)):
    with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
      return list(pool.map(_version, paths))
  return [_version(path) for path in paths]


def versions_if_there(paths: Sequence[str]) -> list[str | None]:
  """Returns the same, ABSENT where there is no such file, None where that is not known."""
  remotes = remote.versions_if_there([path for path in paths if is_url(path)])
  return [remotes[path] if is_url(path) else _version_if_there(path) for path in paths]


def version_of_open(file: BinaryIO) -> str:
  """The version of a file that `open_read` has opened."""
  if version := remote_reading.version_of_open(file):
    return version
  return _as_version(os.fstat(file.fileno()))


def modified(path: str) -> float:
  """Returns the time at which a file was written, in seconds since 1970."""
  return remote.modified(path) if is_url(path) else os.path.getmtime(path)


def is_absent(error: OSError) -> bool:
  """Returns whether opening a file failed since there is none of that name."""
  return isinstance(error, FileNotFoundError) or error.errno in _NO_FILE


def open_read(path: str) -> BinaryIO:
  """Opens a file for reading bytes; it can be seeked. Pipes and devices are refused."""
  return remote_reading.open_read(path) if is_url(path) else open(path, "rb", opener=_open_file)


def read_bytes(path: str) -> bytes:
  """The whole content of a file."""
  with open_read(path) as file:
    return file.read()


def write_bytes(path: str, data: bytes) -> None:
  """Writes a file atomically."""
  if is_url(path):
    remote.write_bytes(path, data)
    return
  with writing(path), atomic_write(path) as temporary, open(temporary, "wb") as file:
    file.write(data)


def temporary_name(path: str, *parts: str) -> str:
  """Returns the name of a file until it is complete, of this process; `parts` tell more apart."""
  return "-".join([f"{path}{_TEMPORARY}{os.getpid()}", *parts])


@contextlib.contextmanager
def atomic_write(path: str) -> Iterator[str]:
  """Gives a temporary local name to write to; it becomes `path` at the end.

  On an error it is removed and `path` is unchanged. For a URL the file is uploaded at the end: the
  folder for temporary files (TMPDIR) then needs room for it.

  Raises:
    FileExistsError: at a URL, where another process has made another file of this name meanwhile.
  """
  if is_url(path):
    with remote.atomic_write(path) as temporary:
      yield temporary
    return
  os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
  temporary = temporary_name(path)
  try:
    yield temporary
    os.replace(temporary, path)
  finally:
    with contextlib.suppress(FileNotFoundError):
      os.remove(temporary)


@contextlib.contextmanager
def atomic_open(path: str | os.PathLike[str]) -> Iterator[IO[str]]:
  """Opens a UTF-8 text file for writing, which is renamed into place on success.

  The directory is created if missing. When the block raises, `path` is unchanged. A URL such as
  gs://bucket/file gets the file when it is complete.
  """
  with (
    atomic_write(os.fspath(path)) as temporary,
    open(temporary, "w", encoding="utf-8", newline="\n") as file,
  ):
    yield file
    file.flush()
    os.fsync(file.fileno())


@contextlib.contextmanager
def folder_lock(folder: str) -> Iterator[None]:
  """Waits until no other process of this machine is in such a block for the same local folder.

  At a URL there is no waiting.
  """
  if is_url(folder):
    yield
    return
  opened = os.open(folder, os.O_RDONLY)
  try:
    fcntl.flock(opened, fcntl.LOCK_EX)
    yield
  finally:
    os.close(opened)


def stale_temporaries(folder: str) -> dict[str, str]:
  """Temporary files of `atomic_write` in a folder, from processes that were killed.

  Returns:
    Path of each, and the file name that it would have taken.
  """
  if is_url(folder):
    return {}  # uploads have no temporary names
  found = {path: os.path.basename(path) for path in list_folder(folder)}
  return {path: name.partition(_TEMPORARY)[0] for path, name in found.items() if _TEMPORARY in name}


@contextlib.contextmanager
def local_copy(path: str) -> Iterator[str]:
  """Gives a local path to a file, for what cannot read a URL; downloads it for that long."""
  if is_url(path):
    with remote_reading.local_copy(path) as copy:
      yield copy
  else:
    yield path


def remove(path: str) -> None:
  """Removes a file, if there is one."""
  if is_url(path):
    remote.remove(path)
    return
  with contextlib.suppress(FileNotFoundError):
    os.remove(path)


def remove_folder(folder: str) -> None:
  """Removes a folder of files, if there is one."""
  if is_url(folder):
    for path in remote.list_folder(folder):
      remote.remove(path)
  elif os.path.isdir(folder):
    shutil.rmtree(folder)


def join(*parts: str) -> str:
  """Joins a path; an absolute path or a URL drops the parts before it."""
  start = max((i for i, part in enumerate(parts) if is_url(part)), default=0)
  return os.path.join(*parts[start:])


def _version(path: str) -> str:
  if is_url(path):
    return remote_reading.version_of(path)
  return _as_version(os.stat(path))


def _version_if_there(path: str) -> str | None:
  try:
    facts = os.stat(path)
  except OSError as error:
    return ABSENT if is_absent(error) else None
  return _as_version(facts) if stat.S_ISREG(facts.st_mode) else ABSENT


def _as_version(facts: os.stat_result) -> str:
  return f"{facts.st_size}-{facts.st_mtime_ns}"


def _open_file(path: str, flags: int) -> int:
  """Opens without waiting for the writer of a pipe, which data may name."""
  descriptor = os.open(path, flags | os.O_NONBLOCK)
  if not stat.S_ISREG(os.fstat(descriptor).st_mode):
    os.close(descriptor)
    raise OSError(errno.EINVAL, "not a regular file", path)
  return descriptor


def _find_local(source: str, patterns: Sequence[str]) -> list[str]:
  if os.path.isfile(source):
    return [source]
  if os.path.isdir(source):
    places = [os.path.join(glob.escape(source), pattern) for pattern in patterns]
  else:
    places = [source]
  paths = {path for place in places for path in glob.glob(place, recursive=True)}
  return sorted(path for path in paths if os.path.isfile(path))
