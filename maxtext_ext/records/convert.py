"""Any source to ArrayRecord shards, with every record accounted for."""

import dataclasses
import os
import re
from collections.abc import Callable

from maxtext_ext.records import paths
from maxtext_ext.records.quarantine import Quarantine
from maxtext_ext.records.schema import RecordError, encode_example
from maxtext_ext.records.sources import jsonl, tfrecord
from maxtext_ext.records.sources.entry import Bad, Good, InputShard
from maxtext_ext.records.sources.options import RECORDS_PER_SHARD, SourceOptions
from maxtext_ext.records.writer import ShardWriter

Progress = Callable[[float, int], None]  # share of the source done (0 to 1), records read

AUDIO_MODES = ("keep", "pcm16")
SOURCES = {"tfrecord": tfrecord.open_shards, "jsonl": jsonl.open_shards}
QUARANTINE_NAME = "quarantine.jsonl"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvertSummary:
  """What a conversion did: read = written + quarantined.

  Attributes:
    read: records found in the source.
    written: of these, how many are in the shards.
    quarantined: of these, how many are in quarantine.jsonl.
    seconds: audio written, in seconds.
    shards: paths of the output, in order.
    reasons: the first few reasons for quarantine, with file and position.
  """

  read: int
  written: int
  quarantined: int
  seconds: float
  shards: tuple[str, ...]
  reasons: tuple[str, ...] = ()


def convert(
  source: str,
  out: str,
  source_format: str,
  split: str = "train",
  audio: str = "keep",
  *,
  records_per_shard: int = RECORDS_PER_SHARD,
  progress: Progress | None = None,
) -> ConvertSummary:
  """Converts one split to {out}/{split}-00000-of-0000N.array_record and {out}/quarantine.jsonl.

  Each TFRecord file becomes one shard; JSONL files are cut after `records_per_shard` lines.
  Recordings at another rate are resampled, channels averaged. Shards and the quarantine file take
  their names when they are complete.

  Args:
    source: a file, a folder or a glob.
    out: folder to write to.
    source_format: a key of SOURCES.
    split: the first part of the shard names.
    audio: "keep" copies TFRecord records at 16 kHz byte for byte and writes all others as float32;
      "pcm16" writes 16-bit samples. A record written anew keeps only the features of the schema.
    records_per_shard: lines of a JSONL shard.
    progress: called with the share done and the number read after each record.

  Raises:
    ValueError: an argument is wrong, nothing is found, or `out` holds another conversion.
  """
  if source_format not in SOURCES:
    raise ValueError(f"source format is '{source_format}', expected one of {sorted(SOURCES)}")
  if audio not in AUDIO_MODES:
    raise ValueError(f"audio is '{audio}', expected one of {list(AUDIO_MODES)}")
  if not re.fullmatch(r"\w+([.-]\w+)*", split):
    raise ValueError(f"split is '{split}', expected a name like 'train': it goes into file names")
  inputs = SOURCES[source_format](source, SourceOptions(records_per_shard=records_per_shard))
  names = [paths.shard_name(split, index, len(inputs)) for index in range(len(inputs))]
  outputs = [os.path.join(out, name) for name in names]
  _refuse_other_shards(out, split, len(inputs))
  with Quarantine(os.path.join(out, QUARANTINE_NAME), split) as quarantine:
    run = _Conversion(audio, quarantine, len(inputs), progress)
    for index, (shard, path) in enumerate(zip(inputs, outputs, strict=True)):
      run.convert_shard(index, shard, path)
  assert run.read == run.written + quarantine.count
  return ConvertSummary(
    read=run.read,
    written=run.written,
    quarantined=quarantine.count,
    seconds=run.seconds,
    shards=tuple(outputs),
    reasons=tuple(quarantine.reasons),
  )


class _Conversion:
  """The counts of one conversion and the ids that it has seen."""

  def __init__(
    self, audio: str, quarantine: Quarantine, shards: int, progress: Progress | None
  ) -> None:
    self._audio = audio
    self._quarantine = quarantine
    self._shards = shards
    self._progress = progress
    self._first_places: dict[str, tuple[str, int]] = {}  # file and position by id
    self.read = self.written = 0
    self.seconds = 0.0

  def convert_shard(self, index: int, shard: InputShard, path: str) -> None:
    with ShardWriter(path) as writer:
      for entry in shard.entries():
        self.read += 1
        if isinstance(entry, Bad):
          self._quarantine.add(entry.sample_id, entry.file, entry.position, entry.reason)
        else:
          self._write(entry, writer)
        if self._progress:
          self._progress((index + entry.done) / self._shards, self.read)

  def _write(self, entry: Good, writer: ShardWriter) -> None:
    sample_id = entry.record.sample_id
    try:
      if first := self._first_places.get(sample_id):
        raise RecordError(f"duplicate id: '{sample_id}' is at {first[0]}:{first[1]} already")
      if self._audio == "pcm16":
        data = encode_example(entry.record, audio="pcm16")
      else:
        data = entry.serialized or encode_example(entry.record)
    except RecordError as error:
      self._quarantine.add(sample_id, entry.file, entry.position, str(error))
      return
    writer.write(data)
    self._first_places[sample_id] = (entry.file, entry.position)
    self.written += 1
    self.seconds += entry.record.seconds


def _refuse_other_shards(out: str, split: str, count: int) -> None:
  """Shards of two conversions in one folder would be read as one data set."""
  for path in paths.list_shards(out):
    name = paths.parse_shard_name(path)
    if name and name[0] == split and name[2] != count:
      raise ValueError(
        f"{path} is from another conversion, of {name[2]} shards where this one makes {count}; "
        f"remove the old shards of '{split}' or choose another folder"
      )
