"""TFRecord files in the project's record schema, compressed or not; all checksums are verified.

A file is a sequence of: length (uint64), masked CRC32C of the length, data, masked CRC32C of the
data. Source: tensorflow/core/lib/io/record_writer.h.
"""

import dataclasses
import io
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import google_crc32c

from maxtext_ext.audio.io import check_samples, resample
from maxtext_ext.audio.limits import SAMPLE_RATE, AudioError
from maxtext_ext.files import storage
from maxtext_ext.files.compressed import DAMAGE, decompress, is_damage, skip
from maxtext_ext.records.schema import Record, RecordError, parse_example
from maxtext_ext.sources.entry import Bad, Good
from maxtext_ext.sources.options import SourceOptions
from maxtext_ext.sources.sharding import group_files
from maxtext_ext.text.normalize.invisible import is_blank

OPTIONS = frozenset(("shards", "language", "dataset_name"))
FILE_PATTERNS = ("*.tfrecord*",)  # also train.tfrecord-00000-of-00055
# A record is held in memory whole, some three times over: this is 35 minutes of float samples.
MAX_RECORD_BYTES = 1 << 27
_HEADER = struct.Struct("<QI")  # length, its checksum
_CHECKSUM = struct.Struct("<I")


def masked_crc32c(data: bytes) -> int:
  """CRC32C as TFRecord stores it: rotated and offset, so that data with checksums checks well."""
  crc = google_crc32c.value(data)
  return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFF_FFFF


def write_tfrecord(path: str, records: Iterable[bytes]) -> None:
  """Writes a TFRecord file atomically."""
  with storage.atomic_write(path) as temporary, open(temporary, "wb") as file:
    for data in records:
      length = struct.pack("<Q", len(data))
      file.write(length + _CHECKSUM.pack(masked_crc32c(length)))
      file.write(data)
      file.write(_CHECKSUM.pack(masked_crc32c(data)))


def read_tfrecord(
  path: str, on_error: Callable[[int, str], None] | None = None
) -> Iterator[tuple[int, bytes]]:
  """Reads the whole records of a TFRecord file.

  A record whose data fails its checksum is left out. Where a length fails, or the file ends inside
  a record, nothing behind it can be found: the rest of the file counts as one bad record.

  Args:
    path: the file, compressed or not.
    on_error: called with position and reason of each bad record.

  Yields:
    Position (records from 0, bad ones counted too) and data.

  Raises:
    RecordError: a record is bad and there is no `on_error`.
  """
  for position, _, item in scan(path):
    if isinstance(item, bytes):
      yield position, item
    elif on_error:
      on_error(position, item)
    else:
      raise RecordError(f"{path}:{position}: {item}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TFRecordShard:
  """Neighbouring TFRecord files, which become one output shard.

  Attributes:
    paths: the files.
    language, dataset_name: of records that do not say theirs.
  """

  paths: tuple[str, ...]
  language: str | None = None
  dataset_name: str = ""

  def entries(self) -> Iterator[Good | Bad]:
    """Reads, checks and, where it has to, resamples the files' records."""
    for number, path in enumerate(self.paths):
      for position, done, item in scan(path):
        place = {"file": path, "position": position, "done": (number + done) / len(self.paths)}
        yield self._read(item, place) if isinstance(item, bytes) else _unread(item, place)

  def _read(self, data: bytes, place: dict[str, Any]) -> Good | Bad:
    try:
      stored = parse_example(data)
    except RecordError as error:
      return Bad(**place, sample_id=error.sample_id, reason=str(error))
    record = stored.record
    if is_blank(record.text):
      return Bad(**place, sample_id=record.sample_id, reason="text is missing or empty")
    try:
      check_samples(record.audio)
      if stored.sample_rate != SAMPLE_RATE:
        audio = resample(record.as_float32(), stored.sample_rate)
        check_samples(audio)
        record = dataclasses.replace(record, audio=audio)
    except AudioError as error:
      return Bad(**place, sample_id=record.sample_id, reason=str(error))
    record = self._with_defaults(record)
    return Good(**place, record=record, serialized=data if record is stored.record else None)

  def _with_defaults(self, record: Record) -> Record:
    """Adds defaults; returns the same object if there are none, so its bytes can be copied."""
    missing = {
      name: getattr(self, name)
      for name in ("language", "dataset_name")
      if getattr(self, name) and not getattr(record, name)
    }
    return dataclasses.replace(record, **missing) if missing else record


def open_files(files: list[str], options: SourceOptions) -> list[TFRecordShard]:
  """One shard for each file, or `options.shards` of several files.

  Raises:
    ValueError: fewer files than `options.shards`: they cannot be cut.
  """
  return [
    TFRecordShard(paths=paths, language=options.language, dataset_name=options.dataset_name)
    for paths in group_files(files, options.shards)
  ]


def _unread(reason: str, place: dict[str, Any]) -> Bad:
  return Bad(**place, sample_id="", reason=reason)


def scan(path: str) -> Iterator[tuple[int, float, bytes | str]]:
  """Yields position, share of the file read, and the data of a record or why it is bad."""
  size = max(1, storage.size_of(path))
  position = offset = 0
  with storage.open_read(path) as file:
    plain = cast(io.BufferedIOBase, file)
    stream = decompress(plain)
    # In a compressed file the amount of missing data is unknown.
    total = size if stream is plain else None
    try:
      while header := stream.read(_HEADER.size):
        rest = _describe_rest(total, offset)
        if len(header) < _HEADER.size:
          yield position, 1.0, f"file is cut inside the length of a record; {rest}"
          return
        length, checksum = _HEADER.unpack(header)
        if masked_crc32c(header[:8]) != checksum:
          yield position, 1.0, f"length of a record fails its CRC32C; {rest}"
          return
        end = offset + _HEADER.size + length + _CHECKSUM.size
        if length > MAX_RECORD_BYTES:
          is_cut = not _skip(stream, length + _CHECKSUM.size, total, offset + _HEADER.size)
          reason = f"record has {length} bytes, expected at most {MAX_RECORD_BYTES}: cut its audio"
        else:
          data, stored = stream.read(length), stream.read(_CHECKSUM.size)
          is_cut = len(stored) < _CHECKSUM.size
          reason = f"data of a record ({length} bytes) fails its CRC32C"
        if is_cut:
          yield position, 1.0, f"file is cut inside a record of {length} bytes; {rest}"
          return
        done = min(1.0, file.tell() / size)
        if length <= MAX_RECORD_BYTES and masked_crc32c(data) == _CHECKSUM.unpack(stored)[0]:
          yield position, done, data
        else:
          yield position, done, reason
        position, offset = position + 1, end
    except (*DAMAGE, OSError) as error:
      if not is_damage(error):
        raise
      yield position, 1.0, f"file is cut or damaged ({error}); {_describe_rest(total, offset)}"


def _describe_rest(total: int | None, offset: int) -> str:
  if total is None:
    return f"what follows byte {offset} of its content is left out"
  return f"the remaining {total - offset} bytes from byte {offset} on are left out"


def _skip(stream: io.BufferedIOBase, count: int, total: int | None, offset: int) -> bool:
  """Skips so many bytes; returns whether there are as many."""
  if total is not None:
    stream.seek(min(total, offset + count))
    return offset + count <= total
  skip(stream, count - 1)
  return len(stream.read(1)) == 1
