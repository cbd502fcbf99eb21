"""Child process that reads parquet files: the parent's side.

pyarrow ends the process on some contradictions in a footer, and allocates any size that a page
header states. So it runs in a child (`parquet_child`) with 4 GiB of address space and 5 s
of processor time for an answer, 1 s more for each 100 MiB of a row group. The parent serves it the
bytes of the file and gets one row at a time. pyarrow writes 1,024 values into a page by default: of
recordings some 400 MB, for which the child takes 0.9 GB. Pages of up to 1.3 GB fit.
"""

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from maxtext_ext.audio.integrity import SeekableFile
from maxtext_ext.sources import parquet_child

LIMITS_MEMORY = sys.platform != "darwin"  # macOS accepts a limit and does not enforce it
_SCRIPT = parquet_child.__file__
_MEMORY = 4 << 30  # bytes of address space
_MAX_SILENCE = 60  # seconds; on a busy machine 5 s of processor time take longer


class ReadError(ValueError):
  """A child cannot read on, and says why."""


class ReaderEndedError(ReadError):
  """A child has ended.

  Attributes:
    is_killed: from outside, as by the kernel when memory is short: the file may be intact.
  """

  def __init__(self, text: str, *, is_killed: bool = False) -> None:
    super().__init__(text)
    self.is_killed = is_killed


class ParquetReader:
  """A child process.

  Attributes:
    is_idle: whether all requests were answered.

  Raises:
    OSError: it does not start.
  """

  def __init__(self) -> None:
    self.is_idle = True
    self._socket, other = socket.socketpair()
    self._socket.settimeout(_MAX_SILENCE)
    with other:
      self._process = subprocess.Popen(
        [sys.executable, "-P", _SCRIPT, str(_MEMORY if LIMITS_MEMORY else 0)],
        stdin=other.fileno(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,  # Ctrl-C would end it before the parent, for which that is a bad file
      )
    try:
      self._receive()
    except ReadError as error:
      raise OSError(
        f"cannot start a process that reads parquet: {error}; see what "
        f"{sys.executable} -c 'import pyarrow.parquet' says"
      ) from error

  def ask(
    self, kind: bytes, request: Mapping[str, Any], file: SeekableFile
  ) -> Iterator[tuple[bytes, bytearray]]:
    """Sends a request; yields the answers and serves the file meanwhile.

    Raises:
      ReadError: the child cannot read on.
      OSError: the file cannot be read.
    """
    self.is_idle = False
    self._send(kind, json.dumps(request).encode())
    while True:
      kind, content = self._receive()
      if kind == parquet_child.READ and len(content) == parquet_child.PLACE.size:
        start, size = parquet_child.PLACE.unpack(content)
        file.seek(start)
        self._send(parquet_child.DATA, file.read(min(size, parquet_child.MAX_READ)))
      elif kind == parquet_child.END:
        self.is_idle = True
        return
      elif kind == parquet_child.ERROR:
        self.is_idle = True
        raise ReadError(content.decode(errors="replace"))
      else:
        yield kind, content

  def end(self) -> None:
    """Ends the process."""
    self.is_idle = False
    self._process.kill()
    self._process.wait()
    self._socket.close()

  def is_running(self) -> bool:
    """Returns whether the process has not ended."""
    return self._process.poll() is None

  def _send(self, kind: bytes, content: bytes) -> None:
    try:
      parquet_child.send(self._socket, kind, content)
    except OSError as error:
      raise self._ended(error) from error

  def _receive(self) -> tuple[bytes, bytearray]:
    try:
      return parquet_child.receive(self._socket)
    except (EOFError, OSError, ValueError) as error:
      raise self._ended(error) from error

  def _ended(self, error: Exception) -> ReaderEndedError:
    """Ends the process, if it is running; returns the reason of its failure."""
    if isinstance(error, TimeoutError | ValueError):
      self.end()
      is_silent = isinstance(error, TimeoutError)
      what = f"gave no answer within {_MAX_SILENCE} s" if is_silent else f"sent {error}"
      return ReaderEndedError(f"the reader {what}")
    self._socket.close()
    status = self._process.wait()  # it has ended, or does so without the socket
    self.is_idle = False
    if status == parquet_child.OUT_OF_MEMORY:
      return ReaderEndedError(
        f"out of memory, of which it may use {_MEMORY / 2**30:.3g} GiB; rewrite the file with "
        "smaller row groups, such as row_group_size=100"
      )
    if status == -signal.SIGXCPU:
      return ReaderEndedError(
        f"the reader gave no answer within {parquet_child.SECONDS} s of processor time"
      )
    if status == -signal.SIGKILL:
      text = "the reader ended by signal 9, perhaps for want of memory; use fewer --workers"
      return ReaderEndedError(text, is_killed=True)
    how = f"by signal {-status}" if status < 0 else f"with status {status}"
    return ReaderEndedError(f"the reader ended {how}")


_idle: list[ParquetReader] = []


def take_reader() -> ParquetReader:
  """Returns an idle child, or a new one."""
  while True:
    try:
      reader = _idle.pop()
    except IndexError:  # also when another thread has just taken the last one
      return ParquetReader()
    if reader.is_running():
      return reader
    reader.end()


def release_reader(reader: ParquetReader) -> None:
  """Keeps a child for the next file, unless it is in the middle of an answer."""
  if reader.is_idle:
    _idle.append(reader)
  else:
    reader.end()


@atexit.register
def end_idle_readers() -> None:
  """Ends the children that no file needs."""
  while _idle:
    _idle.pop().end()


# A forked process has no business with the children of the other one.
os.register_at_fork(after_in_child=_idle.clear)
