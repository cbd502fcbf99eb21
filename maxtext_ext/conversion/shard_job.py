"""Shard job: converts one input shard to its output shards, in any process and any order."""

import base64
import contextlib
import dataclasses
import hashlib
import json
import os
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from maxtext_ext.conversion.selector import Selected, Selector, Skipped
from maxtext_ext.files import storage
from maxtext_ext.records.lengths import LengthsBuilder, write_lengths
from maxtext_ext.records.manifest import WrittenShard
from maxtext_ext.records.quarantine import Quarantine
from maxtext_ext.records.schema import AudioFormat, Record, RecordError, encode_example
from maxtext_ext.records.writer import ShardWriter
from maxtext_ext.sources.entry import Good, InputShard
from maxtext_ext.sources.named_files import Versions, noting

AUDIO_MODES = ("keep", "pcm16", "flac")

# What `finish` has to know of a written record to find the ids that occur in two shards.
ID_DTYPE = np.dtype(
  [
    ("high", "<u8"),  # 128 bits of a hash of the id: two ids never share them by chance
    ("low", "<u8"),
    ("position", "<i8"),  # in its input file
    ("file", "<u4"),  # index into ShardResult.files
    ("split", "<u2"),  # index into ShardJob.splits
  ]
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardJob:
  """Work of one call of `run_shard`; small, and can be pickled.

  Attributes:
    index: its place among the jobs of the conversion.
    shard: where the records come from.
    splits: names of the conversion's splits.
    outputs: path of the output shard of each split.
    audio: how samples are stored.
    selector: chooses records; None: all, into the only split.
    state: path, without suffix, of the files that this job leaves for a later conversion.
    fingerprint: of its inputs and outputs; a result with another fingerprint is ignored.
  """

  index: int
  shard: InputShard
  splits: tuple[str, ...]
  outputs: tuple[str, ...]
  audio: str
  selector: Selector | None
  state: str
  fingerprint: str = ""

  @property
  def result_path(self) -> str:
    """File of the ShardResult: the last thing that a job writes."""
    return self.state + ".json"

  @property
  def quarantine_path(self) -> str:
    """File of this shard's bad records."""
    return self.state + ".quarantine.jsonl"

  @property
  def ids_path(self) -> str:
    """File of the written ids and their fallbacks, see `read_ids`."""
    return self.state + ".ids.json"

  @property
  def left_paths(self) -> tuple[str, ...]:
    """Paths of all these files."""
    return self.result_path, self.quarantine_path, self.ids_path


@dataclasses.dataclass(kw_only=True)
class ShardStatus:
  """Progress of a job; one object, updated in place.

  Attributes:
    done: share of the input shard read, 0 to 1.
    read: records read.
    samples: audio samples written, over all splits.
    bad: records quarantined.
    reasons: the first few reasons for that.
  """

  done: float = 0.0
  read: int = 0
  samples: int = 0
  bad: int = 0
  reasons: list[str] = dataclasses.field(default_factory=list)


ProgressCallback = Callable[
  [ShardStatus], None
]  # called after each record; may raise to stop the job


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ShardResult:
  """Result of one job: read = sum of records written + quarantined + sum of left_out.

  Attributes:
    index: of the job.
    read: records found in the input shard.
    quarantined: how many are in the job's quarantine file.
    left_out: how many the selector left out, by its reason.
    reasons: the first few reasons for quarantine.
    shards: the output shard of each split.
    files: the input files that a record came from.
    ids: [records written] of ID_DTYPE, in order.
    fingerprint: of the job.
    named: the sound files that its records name, and the version of each that was read.
    reduced: whether `finish` removed records from the shards, which a job that runs again may have
      to restore.
  """

  index: int
  read: int
  quarantined: int
  left_out: dict[str, int]
  reasons: tuple[str, ...]
  shards: tuple[WrittenShard, ...]
  files: tuple[str, ...]
  ids: np.ndarray
  fingerprint: str = ""
  named: Versions = dataclasses.field(default_factory=dict)
  reduced: bool = False

  def to_json(self) -> bytes:
    """The inverse of `from_json`."""
    fields = dataclasses.asdict(self) | {"ids": base64.b64encode(self.ids.tobytes()).decode()}
    return json.dumps(fields).encode()

  @classmethod
  def from_json(cls, data: bytes) -> "ShardResult":
    """Reads what `to_json` wrote."""
    fields: dict[str, Any] = json.loads(data)
    fields["shards"] = tuple(WrittenShard(**shard) for shard in fields["shards"])
    fields["ids"] = np.frombuffer(base64.b64decode(fields["ids"]), ID_DTYPE)
    for name in ("reasons", "files"):
      fields[name] = tuple(fields[name])
    return cls(**fields)


def run_shard(job: ShardJob, watch: ProgressCallback | None = None) -> ShardResult:
  """Converts one input shard, unless it is already done.

  Ids that occur twice within the shard are found here, those in two shards by `finish`. The result
  is stored last, so a killed job restarts from its beginning, with the same bytes.

  Raises:
    ValueError: the selector names a split that the conversion lacks.
    OSError: reading or writing fails.
  """
  if result := stored_result(job):
    return result
  run = _ShardRun(job)
  with contextlib.ExitStack() as stack:
    named = stack.enter_context(noting())
    for writer in run.writers:
      stack.enter_context(writer)
    stack.enter_context(run.quarantine)
    for entry in job.shard.entries():
      run.take(entry)
      if watch:
        watch(run.status)
  return run.finish(named)


def stored_result(job: ShardJob) -> ShardResult | None:
  """Reads the job's result in an interrupted conversion; None if it was not finished."""
  result = read_result(job)
  if result is None or result.reduced or not all(map(storage.is_file, job.outputs)):
    return None
  return result


def read_result(job: ShardJob) -> ShardResult | None:
  """Reads the result stored for such a job, whether its shards still exist or not."""
  if not storage.is_file(job.result_path):
    return None
  try:
    result = ShardResult.from_json(storage.read_bytes(job.result_path))
  except (ValueError, KeyError, TypeError):  # of another version of this program
    return None
  return result if result.fingerprint == job.fingerprint else None


def read_ids(job: ShardJob) -> tuple[list[str], list[str]]:
  """Reads the ids that a job has written, in ShardResult.ids' order, and their fallbacks.

  An id falls back to another one where the source has none and several records would share it;
  empty: it does not.
  """
  content = json.loads(storage.read_bytes(job.ids_path))
  return content["ids"], content["fallbacks"]


def encode_as(record: Record, audio: str) -> bytes:
  """Serializes a record in a mode of AUDIO_MODES."""
  modes: dict[str, AudioFormat] = {"keep": "float32", "pcm16": "pcm16", "flac": "flac"}
  return encode_example(record, audio=modes[audio])


def id_digest(sample_id: str) -> tuple[int, int]:
  """Computes 128 bits of a hash, as in ID_DTYPE."""
  return struct.unpack("<QQ", hashlib.blake2b(sample_id.encode(), digest_size=16).digest())


class _ShardRun:
  """State of one call of `run_shard`."""

  def __init__(self, job: ShardJob) -> None:
    self._job = job
    self.writers = [ShardWriter(path) for path in job.outputs]
    self._samples = [0] * len(job.splits)
    self._lengths = [LengthsBuilder() for _ in job.splits]
    self._left_out: dict[str, int] = {}
    self._files: dict[str, int] = {}
    self._ids: dict[str, tuple[int, int, int]] = {}  # position, file and split by id
    self._fallbacks: list[str] = []  # of each id
    self.quarantine = Quarantine(job.quarantine_path, job.splits)
    self.status = ShardStatus(reasons=self.quarantine.reasons)

  def take(self, entry: Any) -> None:
    """Writes, quarantines or leaves out one record."""
    self.status.read += 1
    self.status.done = entry.done
    file = self._files.setdefault(entry.file, len(self._files))
    if isinstance(entry, Good):
      try:
        self._write(entry, file)
        return
      except RecordError as error:
        sample_id, reason = entry.record.sample_id, str(error)
    else:
      sample_id, reason = entry.sample_id, entry.reason
    self.quarantine.add(sample_id, entry.file, entry.position, reason)
    self.status.bad += 1

  def _write(self, entry: Good, file: int) -> None:
    selected = self._select(entry.record)
    if isinstance(selected, Skipped):
      self._left_out[selected.reason] = self._left_out.get(selected.reason, 0) + 1
      return
    record, split = selected.record, self._split_index(selected.split)
    # Before the look for duplicates, which may find the same only within a shard as over them all.
    data = self._encode(record, entry.serialized if record is entry.record else None)
    fallback = entry.fallback_id
    if fallback and record.sample_id in self._ids:
      record, fallback = dataclasses.replace(record, sample_id=fallback), ""
      data = self._encode(record, None)
    if first := self._ids.get(record.sample_id):
      path = list(self._files)[first[1]]
      raise RecordError(duplicate_reason(record.sample_id, path, first[0]))
    self._ids[record.sample_id] = (entry.position, file, split)
    self._fallbacks.append(fallback)
    self.writers[split].write(data)
    self._samples[split] += len(record.audio)
    self._lengths[split].add(record)
    self.status.samples += len(record.audio)

  def _select(self, record: Record) -> Selected | Skipped:
    if self._job.selector is None:
      return Selected(record=record, split=self._job.splits[0])
    return self._job.selector(record)

  def _split_index(self, split: str) -> int:
    if split not in self._job.splits:
      raise ValueError(
        f"the selector chose split '{split}', expected one of {list(self._job.splits)}; "
        "name it among the conversion's splits"
      )
    return self._job.splits.index(split)

  def _encode(self, record: Record, serialized: bytes | None) -> bytes:
    if self._job.audio == "keep" and serialized:
      return serialized
    return encode_as(record, self._job.audio)

  def finish(self, named: Versions) -> ShardResult:
    """Stores the lengths and the state for a resumed conversion; the result last."""
    rows = [(*id_digest(sample_id), *place) for sample_id, place in self._ids.items()]
    shards = zip(self._job.outputs, self.writers, self._samples, strict=True)
    result = ShardResult(
      index=self._job.index,
      read=self.status.read,
      quarantined=self.quarantine.count,
      left_out=dict(sorted(self._left_out.items())),
      reasons=tuple(self.quarantine.reasons),
      shards=tuple(
        WrittenShard(
          name=os.path.basename(path),
          records=writer.records,
          samples=samples,
          bytes=writer.bytes,
          crc32c=writer.crc32c,
        )
        for path, writer, samples in shards
      ),
      files=tuple(self._files),
      ids=np.array(rows, ID_DTYPE),
      fingerprint=self._job.fingerprint,
      named=named,
    )
    for path, writer, lengths in zip(self._job.outputs, self.writers, self._lengths, strict=True):
      write_lengths(path, lengths.build(writer.bytes))
    ids = {"ids": list(self._ids), "fallbacks": self._fallbacks}
    storage.write_bytes(self._job.ids_path, json.dumps(ids).encode())
    storage.write_bytes(self._job.result_path, result.to_json())
    return result


def duplicate_reason(sample_id: str, file: str, position: int) -> str:
  """Returns the reason for leaving out the second record of an id."""
  return f"duplicate id: '{sample_id}' is at {file}:{position} already"
