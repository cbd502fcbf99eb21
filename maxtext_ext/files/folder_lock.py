"""Locks of folders: one writer at a time, released when its process ends.

On a disk, local or shared, the lock is the operating system's on a file (`filelock`), which goes
with the process; where the file system knows no such locks it is the file itself, with the number
of its process. At a URL it is an object that only one process can create, and that its holder
rewrites every few seconds; without these heartbeats the lock is stale.
"""

import contextlib
import json
import logging
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from typing import Self

import filelock

from maxtext_ext.errors import Unreachable, leave
from maxtext_ext.files import storage
from maxtext_ext.files.creation import create
from maxtext_ext.files.writing import writing

# Seconds between heartbeats of a URL's lock, and without one until the lock is stale.
BEAT = 15.0
STALE = 60.0
_POLL = 1.0  # seconds between two looks at a lock that may be left over
_PATIENCE = 0.5  # seconds for a lock that is being removed
_STATUS = 2  # of a process whose lock was taken from it

_log = logging.getLogger(__name__)


class LockedError(OSError):
  """Another process writes to the folder."""


_Refusal = Callable[[object], LockedError]  # of the holder, "" where it is not known yet


@dataclass(frozen=True, kw_only=True)
class Holder:
  """Holder of a lock at a URL.

  Attributes:
    pid, host: as messages name it.
    machine: tells whether another process can see that one by its number.
    key: of this very lock, unlike any other's.
  """

  pid: int
  host: str
  machine: str
  key: str

  @classmethod
  def here(cls) -> Self:
    """This process, for a lock of its own."""
    return cls(
      pid=os.getpid(), host=socket.gethostname(), machine=_machine(), key=secrets.token_hex(8)
    )

  @classmethod
  def from_json(cls, data: bytes | None) -> Self | None:
    """Reads what a holder wrote; None where that is nothing, or no holder."""
    try:
      content = json.loads(data or b"")
      return cls(**{field.name: content[field.name] for field in fields(cls)})
    except (ValueError, KeyError, TypeError):
      return None

  def to_json(self, beat: int) -> bytes:
    """Serializes it for the object, with the number of this heartbeat."""
    return json.dumps(asdict(self) | {"beat": beat}).encode()

  def __str__(self) -> str:
    return f"process {self.pid} on {self.host}"

  @property
  def is_gone(self) -> bool:
    """Returns whether it is known to have ended: a process of this machine that no longer runs."""
    return self.machine == _machine() and not _runs(self.pid)


def _machine() -> str:
  """The running system and its numbering of processes, which differs between containers."""
  try:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
      return f"{file.read().strip()} {os.readlink('/proc/self/ns/pid')}"
  except OSError:  # no Linux
    return secrets.token_hex(8)


def _runs(pid: int) -> bool:
  try:
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
      return file.read().rpartition(")")[2].split()[0] != "Z"  # one that nobody has waited for
  except OSError:
    return False


@contextlib.contextmanager
def sole_writer(
  folder: str, name: str, work: str, *, instead: str = "another folder"
) -> Iterator[None]:
  """Keeps other processes from the same kind of work in a folder, which is created if missing.

  Args:
    folder: local, shared or a URL.
    name: of the kind of work, part of the lock's file name.
    work: name of the work for the message: "run".
    instead: alternatives of the user, for the message.

  Raises:
    LockedError: another process holds the lock; names process and host.
    OSError: the folder cannot be written to.
    ValueError: it is a file.
  """
  path = storage.join(folder, f".{name}.lock")
  lock = _remote_lock if storage.is_url(path) else _local_lock

  def refusal(holder: object) -> LockedError:
    who = holder or "a process that just began"
    return LockedError(
      f"{folder}: another {work} writes there, {who}; wait for its end, or give {instead}"
    )

  with lock(path, refusal):
    yield


@contextlib.contextmanager
def sole_converter(folder: str, splits: Iterable[str]) -> Iterator[None]:
  """Keeps other conversions of these splits from a folder; those of other splits may run beside.

  Raises:
    LockedError, OSError: as `sole_writer`.
  """
  with contextlib.ExitStack() as stack:
    for split in sorted(splits):
      stack.enter_context(sole_writer(folder, split, "conversion"))
    yield


@contextlib.contextmanager
def _local_lock(path: str, refusal: _Refusal) -> Iterator[None]:
  folder = os.path.dirname(path)
  made = _make_folder(folder)
  lock = filelock.FileLock(path)
  try:
    lock.acquire(timeout=_PATIENCE)
  except filelock.Timeout:
    raise refusal(_holder_named_in(path)) from None
  is_file_itself = isinstance(lock, filelock.SoftFileLock)
  try:
    if not is_file_itself:
      with writing(path), open(path, "w", encoding="utf-8") as file:
        file.write(f"{os.getpid()}\n{socket.gethostname()}\n")
    yield
  finally:
    if not is_file_itself:
      # Remove it while it is held: waiting processes see that it has no name, and try again.
      with contextlib.suppress(FileNotFoundError):
        os.remove(path)
    lock.release()
    with contextlib.suppress(OSError):  # something was written there
      for each in made:
        os.rmdir(each)


def _make_folder(folder: str) -> list[str]:
  """Makes a folder with those above it; returns what was made, the innermost first."""
  if os.path.isfile(folder):
    raise ValueError(f"{folder} is a file, expected the folder to write to; choose another name")
  made, above = [], os.path.abspath(folder)
  while not os.path.lexists(above):
    made.append(above)
    above = os.path.dirname(above)
  try:
    os.makedirs(folder or ".", exist_ok=True)
  except (FileExistsError, NotADirectoryError) as error:
    raise ValueError(
      f"{folder}: expected a folder, or a place to make it, but '{error.filename}' cannot be one; "
      "choose another name"
    ) from error
  return made


def _holder_named_in(path: str) -> str:
  try:
    with open(path, encoding="utf-8", errors="replace") as file:
      pid, host = file.read().splitlines()[:2]
  except (FileNotFoundError, ValueError):  # not written yet
    return ""
  return f"process {pid} on {host}"


@contextlib.contextmanager
def _remote_lock(url: str, refusal: _Refusal) -> Iterator[None]:
  me = Holder.here()
  _take(url, refusal, me)
  ended = threading.Event()
  beats = threading.Thread(target=_beat, args=(url, me, ended), name="lock", daemon=True)
  beats.start()
  reached = True
  try:
    yield
  except Unreachable:
    reached = False
    raise
  finally:
    ended.set()
    if reached:  # else each request would be tried again for minutes
      beats.join()
      with contextlib.suppress(OSError):  # then it is left over
        if _is(me, _look(url)):
          storage.remove(url)


def _take(url: str, refusal: _Refusal, me: Holder) -> None:
  """Creates the object, replacing a stale one.

  Raises:
    LockedError: it is another's.
  """
  if create(url, me.to_json(beat=0)):
    return
  _wait_until_left_over(url, refusal)
  storage.remove(url)
  if create(url, me.to_json(beat=0)):
    # Another that found the lock left over too may have removed ours instead.
    time.sleep(2 * _POLL)
    if _is(me, _look(url)):
      return
  raise refusal(Holder.from_json(_look(url)))


def _wait_until_left_over(url: str, refusal: _Refusal) -> None:
  """Waits until the lock is known to be stale, or is gone.

  Raises:
    LockedError: its holder sends heartbeats.
  """
  first = _look(url)
  holder = Holder.from_json(first)
  if first is None or (holder and holder.is_gone):
    return
  _log.warning("%s: waiting up to %.0f s for a heartbeat of %s", url, STALE, holder)
  end = time.monotonic() + STALE
  while time.monotonic() < end:
    time.sleep(_POLL)
    if (now := _look(url)) is None:
      return
    if now != first:
      raise refusal(Holder.from_json(now))


def _look(url: str) -> bytes | None:
  """Reads the object; None where there is none."""
  try:
    return storage.read_bytes(url)
  except FileNotFoundError:
    return None


def _is(me: Holder, data: bytes | None) -> bool:
  return Holder.from_json(data) == me


def _beat(url: str, me: Holder, ended: threading.Event) -> None:
  """Rewrites the object periodically; ends the process when the lock is another's."""
  count = 0
  while not ended.wait(BEAT):
    count += 1
    # A request may fail; if all do, what is written there fails too, and says so.
    with contextlib.suppress(OSError):
      if (data := _look(url)) is None:
        create(url, me.to_json(count))
      elif _is(me, data):
        storage.write_bytes(url, me.to_json(count))
      else:
        sys.stderr.write(
          f"error: {os.path.dirname(url)}: this process sent no heartbeat for {STALE:.0f} s, and"
          f" {Holder.from_json(data)} writes there now\n"
        )
        leave(_STATUS)
