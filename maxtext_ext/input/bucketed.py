"""Bucketed batches: rows of one clip each, in batches of clips of about one length.

Clips wait in their order until their bucket (see `buckets.py`) has a batch for all hosts. Every
host plans all batches from the stored lengths and reads only the audio of its own rows, so all
hosts have the same shapes at each step.
"""

import contextlib
import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Self

import grain
import numpy as np

from maxtext_ext.input.batch_spec import ArraySpec, BatchSpec, allocate, audio_spec
from maxtext_ext.input.buckets import Buckets, rows_of, windows_of
from maxtext_ext.input.collate import Batch, Fill, audio_seconds, put_chunks, put_sound
from maxtext_ext.input.config import InputConfig
from maxtext_ext.input.drops import Drop, DropCounter
from maxtext_ext.input.position import Position, for_planning_host
from maxtext_ext.input.reading import Elements, read_options
from maxtext_ext.input.row_windows import Sample
from maxtext_ext.input.sharding import HostShard
from maxtext_ext.input.transforms import Chain
from maxtext_ext.input.utterance import Utterance
from maxtext_ext.input.windows import Placement, alone_and_tail
from maxtext_ext.text.vocabulary import Vocabulary

UNALIGNED = "cannot be aligned"  # reason by which such clips are counted


def max_targets(config: InputConfig, windows: int) -> int:
  """Returns N of a bucket: models that align targets with audio tokens need no more than those."""
  return min(config.max_tokens, windows * config.geometry.tokens_per_window)


def bucketed_spec(config: InputConfig, rows: int, windows: int, pad_id: int = 0) -> BatchSpec:
  """Describes a batch of one bucket: audio and [B, N] targets.

  targets: token ids; `pad_id` behind the last.
  targets_segmentation: 1 for each target of the clip, 0 behind the last.
  chunk_mask: SpecAugment's masks, see `spec_augment.chunk_masks`.
  """
  spec = audio_spec(rows, windows, config.packing.audio_dtype, config.geometry)
  targets = (rows, max_targets(config, windows))
  return {
    **spec,
    "targets": ArraySpec(targets, empty=pad_id),
    "targets_segmentation": ArraySpec(targets),
    "chunk_mask": ArraySpec((*spec["chunk_frames"].shape, 4)),
  }


def largest_spec(config: InputConfig, rows: int) -> BatchSpec:
  """Describes a batch of the longest clips that pass the filters."""
  windows = windows_of(config, config.filters.max_seconds)
  rows = rows_of(dataclasses.replace(config, rows=rows), windows)
  return bucketed_spec(config, rows, windows)


def bucketed_fill(batch: Mapping[str, np.ndarray]) -> Fill:
  """Computes shares of used slots and seconds of audio in a batch of this host."""
  return Fill(
    token_fill=float((batch["targets_segmentation"] != 0).mean()),
    chunk_fill=float((batch["chunk_segment"] != 0).mean()),
    audio_seconds=audio_seconds(batch),
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bucketed:
  """Clips of this host's rows of a batch, one a row.

  Attributes:
    windows: of each row.
    unaligned: clips of any host that were left out since the batch before, as they have too few
      frames for their targets.
  """

  windows: int
  utterances: tuple[Utterance, ...]
  unaligned: tuple[Drop, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class BucketRows:
  """Utterances without sound -> Bucketed, with their sound.

  Clips 0 to 3 of 3, 9, 5 and 12 s, with two rows and buckets of 1 and 2 windows of 8 s ->
  Bucketed(windows=1, utterances=(0, 2)), Bucketed(windows=2, utterances=(1, 3))

  Drops are counted, and so are clips with more targets than their row has places, or than the clip
  has frames.

  Attributes:
    config: rows of a batch on this host, and places for targets.
    buckets: lengths of rows.
    with_sound: reads an element's utterance.
  """

  config: InputConfig
  buckets: Buckets
  with_sound: Chain

  def dataset(self, elements: Elements, chain: Chain) -> grain.IterDataset[Bucketed]:
    """Returns the batches of elements that go through a chain."""
    return _BucketedDataset(self, elements, chain)

  def position_of(self, positions: Sequence[Position], host: int, hosts: int) -> Position:
    """Returns the position of a host, from those of all hosts before."""
    return for_planning_host(positions, host, hosts)

  def windows_of(self, clip: Utterance) -> int:
    """Returns the windows of a row of a clip's bucket."""
    return self.buckets.bucket(-(-clip.chunks // clip.geometry.chunks_per_window))

  def unfit(self, clip: Utterance) -> Drop | None:
    """Returns the reason why a clip fits no row, or cannot be aligned; None if there is none."""
    if len(clip.target) <= self.config.max_tokens:
      return unaligned(clip)
    detail = f"{clip.sample_id}: {len(clip.target)} targets, expected at most"
    limit = f"max_target_length={self.config.max_tokens}"
    return Drop("fits no row", f"{detail} {limit}; raise it or filter the clip")


def unaligned(clip: Utterance) -> Drop | None:
  """Returns a Drop for a clip with fewer frames than targets and blanks between equal ones."""
  needed = len(clip.target) + int(np.count_nonzero(clip.target[1:] == clip.target[:-1]))
  if needed <= clip.audio_tokens:
    return None
  detail = f"{clip.sample_id}: {clip.seconds:g} s give {clip.audio_tokens} frames"
  return Drop(UNALIGNED, f"{detail}, and its targets need {needed}", sample_id=clip.sample_id)


class _BucketedDataset(grain.IterDataset[Bucketed]):
  def __init__(self, bucket: BucketRows, elements: Elements, chain: Chain) -> None:
    super().__init__()
    self._arguments = bucket, elements, chain

  def __iter__(self) -> "_BucketedIterator":
    return _BucketedIterator(*self._arguments)


class _BucketedIterator(grain.DatasetIterator[Bucketed]):
  """Iterator of buckets; its state holds the places of the clips that wait, not their sound."""

  def __init__(self, bucket: BucketRows, elements: Elements, chain: Chain) -> None:
    super().__init__()
    self._bucket = bucket
    self._elements = elements
    self._chain = chain
    self._step = 0
    self._counter = DropCounter(bucket.config.filters.max_bad_fraction)
    self._start(elements.shard)

  def _start(self, shard: HostShard) -> None:
    planned = grain.MapDataset.source(shard).map(self._plan)
    self._shard = shard
    self._reader = iter(planned.to_iter_dataset(read_options(self._bucket.config)))
    self._next = shard.next
    self._passed_over = 0  # elements in a row that did not enter a bucket
    self._waiting: dict[int, list[int]] = defaultdict(list)  # places, by windows
    self._unaligned: list[Drop] = []  # since the last batch

  def _plan(self, place: int) -> Utterance | Drop:
    return self._chain.map(self._elements.order[place])

  def __next__(self) -> Bucketed:
    windows, places = self._next_batch()
    self._step += 1
    rows, host = self._bucket.buckets.rows(windows), self._elements.host_index
    mine = places[host * rows : (host + 1) * rows]
    left_out, self._unaligned = tuple(self._unaligned), []
    clips = self._read_sound(mine, windows)
    return Bucketed(windows=windows, utterances=clips, unaligned=left_out)

  def _next_batch(self) -> tuple[int, list[int]]:
    """Returns windows and places of a batch of all hosts."""
    while not (full := [w for w, places in self._waiting.items() if len(places) >= self._size(w)]):
      try:
        planned = next(self._reader)
      except StopIteration:
        full = [w for w, places in self._waiting.items() if places]
        if not full:
          raise
        break
      self._take(self._next, planned)
      self._next += 1
    windows = min(full)
    places, size = self._waiting[windows], self._size(windows)
    self._waiting[windows] = places[size:]
    return windows, places[:size]

  def _size(self, windows: int) -> int:
    """Returns the rows of a batch of all hosts."""
    return self._bucket.buckets.rows(windows) * self._elements.host_count

  def _take(self, place: int, planned: Utterance | Drop) -> None:
    """Puts a planned clip into its bucket, or counts it as dropped if it is this host's."""
    mine = place % self._elements.host_count == self._elements.host_index
    if mine:
      self._counter.count()
    if not isinstance(planned, Drop):
      unfit = self._bucket.unfit(planned)
      if unfit is None:
        self._waiting[self._bucket.windows_of(planned)].append(place)
        self._passed_over = 0
        return
      planned = unfit
      if unfit.reason == UNALIGNED:
        self._unaligned.append(unfit)
    if mine:
      self._counter.drop(planned)
    self._passed_over += 1
    elements = self._elements
    # From the first record of an epoch to the last of the next there are all but two epochs.
    if self._passed_over > 2 * elements.records:
      raise ValueError(
        f"{elements.where}: a whole epoch ({elements.records} records) had no clip to use; "
        f"dropped so far: {dict(self._counter.dropped)}"
      )

  def _read_sound(self, places: list[int], windows: int) -> tuple[Utterance, ...]:
    """Reads the clips of this host; bad ones are dropped and leave a row empty."""
    chain, order = self._bucket.with_sound, self._elements.order
    read = grain.MapDataset.source(places).map(lambda place: chain.map(order[place]))
    clips = []
    with contextlib.closing(
      iter(read.to_iter_dataset(read_options(self._bucket.config)))
    ) as reader:
      for clip in reader:
        if isinstance(clip, Drop):
          self._counter.drop(clip)
          continue
        size = windows * clip.geometry.chunks_per_window
        assert clip.chunks <= size, f"{clip.sample_id}: {clip.chunks} chunks in {windows} windows"
        clips.append(clip)
    return tuple(clips)

  def _identity(self) -> dict[str, int]:
    config = self._bucket.config
    return {**self._elements.identity, "max_tokens": config.max_tokens, "seed": config.seed}

  def get_state(self) -> dict[str, Any]:
    """Returns the position as JSON values."""
    return Position(
      host=self._elements.host_index,
      hosts=self._elements.host_count,
      step=self._step,
      first=(),
      next=self._next,
      waiting=tuple(sorted(place for places in self._waiting.values() for place in places)),
      tally=self._counter.get_state(),
      identity=self._identity(),
    ).to_json()

  def set_state(self, state: dict[str, Any]) -> None:
    """Continues at a position of this host.

    Raises:
      ValueError: the data is not that of the position, or it is another host's.
    """
    position, elements = Position.from_json(state), self._elements
    position.require_host(elements.host_index, elements.host_count)
    position.require_same(self._identity())
    self._reader.close()
    self._start(dataclasses.replace(elements.shard, next=position.next))
    self._step = position.step
    self._counter.set_state(position.tally)
    for place in position.waiting:
      planned = self._plan(place)
      # The run may have changed its filters since.
      if isinstance(planned, Utterance) and self._bucket.unfit(planned) is None:
        self._waiting[self._bucket.windows_of(planned)].append(place)

  def close(self) -> None:
    """Stops reading."""
    self._reader.close()
    super().close()


@dataclasses.dataclass(frozen=True, kw_only=True)
class CollateClips(grain.transforms.Map):
  """Bucketed -> Batch: cuts each clip into the chunks of its row; rows that are missing are empty.

  Two clips of 3 s and 5 s in 1 window -> samples [2, 1, 8, 16240], targets [[5, 9, pad], [3, 2, 7]]
  """

  config: InputConfig
  pad_id: int

  @classmethod
  def from_config(cls, config: InputConfig, tokenizer: Vocabulary) -> Self:
    """Makes the transform of a run."""
    return cls(config=config, pad_id=tokenizer.pad_id)

  def map(self, bucketed: Bucketed) -> Batch:
    """Makes the arrays."""
    config = self.config
    rows = rows_of(config, bucketed.windows)
    arrays = allocate(bucketed_spec(config, rows, bucketed.windows, self.pad_id))
    for row, clip in enumerate(bucketed.utterances):
      alone, tail = alone_and_tail(clip.chunks, config.geometry)
      place = Placement(0, alone, 0) if tail else Placement(0)
      put_sound(arrays, row, 1, clip, place)
      if clip.chunk_mask is not None:
        put_chunks(arrays["chunk_mask"][row], clip.chunk_mask, place, config.geometry)
      arrays["targets"][row, : len(clip.target)] = clip.target
      arrays["targets_segmentation"][row, : len(clip.target)] = np.int32(1)
    records = tuple(clip.sample_id for clip in bucketed.utterances)
    return Batch(arrays=arrays, records=records, unaligned=bucketed.unaligned)


def rows_per_element(config: InputConfig, sample: Sample) -> float:
  """Computes how many of `config.rows` rows an element of a sample takes.

  Raises:
    ValueError: none of the sample can be used.
  """
  buckets = Buckets.of_sample(config, sample)
  group = BucketRows(config=config, buckets=buckets, with_sound=sample.chain)
  read = [sample.chain.map(element) for element in sorted(sample.elements)]
  usable = [each for each in read if isinstance(each, Utterance) and group.unfit(each) is None]
  if not usable:
    raise ValueError(f"none of {len(sample.elements)} records can be used")
  batches = sum(1 / buckets.rows(group.windows_of(clip)) for clip in usable)
  return batches * config.rows / len(read)
