"""Batches for decoding: prompts of one clip per row, in a few static shapes."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import grain
import numpy as np

from maxtext_ext.audio.geometry import Geometry
from maxtext_ext.input.collate import DecodeBatch, decode_shape, make_decode_batch
from maxtext_ext.input.config import InputConfig
from maxtext_ext.input.drops import Drop, DropCounter
from maxtext_ext.input.mixture import SequentialOrder
from maxtext_ext.input.reading import (
  ClosingIterator,
  ReadElement,
  SilentData,
  check_hosts,
  open_data,
)
from maxtext_ext.input.transforms import BuildUtterance, Chain, DecodeRecord, FilterClip
from maxtext_ext.input.utterance import Utterance, require_planned
from maxtext_ext.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class _Planned:
  """Planned batch of this host."""

  shape: tuple[int, int]  # windows, text slots
  records: tuple[int, ...]


def batches_of(
  utterances: Sequence[Utterance], *, pad_id: int, windows: int, devices: int
) -> Iterator[DecodeBatch]:
  """Makes batches of clips in memory, each of clips of one shape (`decode_shape`).

  Args:
    utterances: of one process; a batch has them in this order.
    pad_id: token of empty slots.
    windows: of sound in a batch, for each device; a longer clip still gets its device. So long
      clips come in smaller batches.
    devices: a batch has as many rows, or 2, 4, 8, ... times as many: few shapes, few programs.
  """
  by_shape: dict[tuple[int, int], list[Utterance]] = defaultdict(list)
  for utterance in utterances:
    by_shape[decode_shape(utterance)].append(utterance)
  for shape, clips in by_shape.items():
    most = max(1, windows // shape[0]) * devices
    for start in range(0, len(clips), most):
      part = clips[start : start + most]
      rows = devices
      while rows < len(part):
        rows *= 2
      yield make_decode_batch(part, pad_id=pad_id, rows=rows, shape=shape)


@dataclass(frozen=True)
class _Made:
  """Batch, with those of its records that turned out bad when their audio was read."""

  batch: DecodeBatch
  drops: tuple[Drop, ...]


class DecodeIterator(ClosingIterator, Iterator[DecodeBatch]):
  """Batches of a split, prepared ahead by threads; `len` is their number.

  Raises ValueError where more than `max_bad_fraction` of the records turn out bad.

  Args:
    batches: of _Made.
    counts: state of the drop counter when the batches were planned.
  """

  def __init__(
    self, batches: grain.MapDataset, config: InputConfig, counts: dict[str, Any]
  ) -> None:
    ahead = grain.ReadOptions(
      num_threads=min(1, config.prefetch_batches), prefetch_buffer_size=config.prefetch_batches
    )
    self._length = len(batches)
    super().__init__(iter(batches.to_iter_dataset(ahead)))
    self._counter = DropCounter(config.filters.max_bad_fraction)
    self._counter.set_state(counts)

  @property
  def dropped(self) -> dict[str, int]:
    """Counts records that cannot be decoded, by reason: of the plan, and of the batches so far."""
    return dict(self._counter.dropped)

  def __len__(self) -> int:
    return self._length

  def __next__(self) -> DecodeBatch:
    made = next(self._iterator)
    for drop in made.drops:
      self._counter.drop(drop)
    return made.batch


@dataclass(frozen=True)
class _MakeBatch(grain.transforms.Map):
  """_Planned -> _Made."""

  utterances: grain.MapDataset
  rows: int
  pad_id: int
  audio_dtype: str
  geometry: Geometry

  def map(self, planned: _Planned) -> _Made:
    read = [self.utterances[i] for i in planned.records]
    clips = [each for each in read if not isinstance(each, Drop)]
    for clip in clips:
      require_planned(clip.sample_id, decode_shape(clip), planned.shape)
    batch = make_decode_batch(
      clips,
      geometry=self.geometry,
      pad_id=self.pad_id,
      rows=self.rows,
      shape=planned.shape,
      audio_dtype=self.audio_dtype,
    )
    return _Made(batch, tuple(each for each in read if isinstance(each, Drop)))


@dataclass(frozen=True, kw_only=True)
class DecodeSplit:
  """Clips of a split by the shape of their batches; iterates over the batches of this host.

  Attributes:
    config: of the input; `rows` of a batch on this host.
    utterances: all records of the split.
    clips: shape of a batch (windows, text slots) -> numbers of the records that go into such ones.
    counts: state of the drop counter, of the records that cannot be decoded.
  """

  config: InputConfig
  utterances: grain.MapDataset
  clips: dict[tuple[int, int], list[int]]
  counts: dict[str, Any]
  pad_id: int
  host_index: int
  host_count: int

  def with_rows(self, rows: int) -> "DecodeSplit":
    """Returns the same clips in batches of so many rows."""
    return replace(self, config=replace(self.config, rows=rows))

  def __len__(self) -> int:
    return len(self._plan())

  def __iter__(self) -> DecodeIterator:
    config = self.config
    make = _MakeBatch(
      self.utterances, config.rows, self.pad_id, config.packing.audio_dtype, config.geometry
    )
    batches = grain.MapDataset.source(self._plan()).map(make)
    return DecodeIterator(batches, config, self.counts)

  def _plan(self) -> list[_Planned]:
    rows, planned = self.config.rows, []
    for shape, indices in sorted(self.clips.items()):
      for start in range(0, len(indices), rows * self.host_count):
        first = start + self.host_index * rows
        planned.append(_Planned(shape, tuple(indices[first : first + rows])))
    return planned


def decode_split(
  config: InputConfig,
  tokenizer: Vocabulary,
  split: str | None = None,
  *,
  host_index: int = 0,
  host_count: int = 1,
  most: int | None = None,
  filtered: bool = False,
) -> DecodeSplit:
  """Plans the readable clips of a split, as prompts without targets.

  A clip's shape follows from its own length (`decode_shape`), batches are made of clips of one
  shape, so few programs are compiled and no clip is padded to another. All hosts give the same
  shapes in the same order: each plans the whole split by its stored lengths, and reads only its own
  clips. Empty rows fill the last batch of a shape.

  Args:
    most: number of records, always the same random ones of the split; None: all.
    filtered: apply the filters of the configuration.

  Raises:
    ValueError: no data, or more of it than `max_bad_fraction` cannot be read.
  """
  check_hosts(host_index, host_count)
  config = config if split is None else config.for_split(split)
  data = open_data(config)
  silent = SilentData(data=data, scan=True, visible=host_index == 0)
  filters = (FilterClip(filters=config.filters),) if filtered else ()
  build = BuildUtterance.from_config(config, tokenizer).without_target()
  planned = Chain((ReadElement(datasets=(silent,)), DecodeRecord(), *filters, build.silent()))
  with_sound = Chain((ReadElement(datasets=(data,)), DecodeRecord(), *filters, build))
  order = SequentialOrder(len(data))
  chosen: Sequence[int] = range(len(data))
  if most is not None and most < len(data):
    chosen = sorted(np.random.default_rng(0).permutation(len(data))[:most].tolist())
  clips: dict[tuple[int, int], list[int]] = defaultdict(list)
  counter = DropCounter(config.filters.max_bad_fraction)
  for index in chosen:
    utterance = planned.map(order[index])
    counter.count()
    if isinstance(utterance, Drop):
      counter.drop(utterance)
    else:
      clips[decode_shape(utterance)].append(index)
  if not clips:
    raise ValueError(
      f"{data.where}: none of {len(chosen)} records can be decoded: {dict(counter.dropped)}"
    )
  return DecodeSplit(
    config=config,
    utterances=grain.MapDataset.source(order).map(with_sound),
    clips=dict(clips),
    counts=counter.get_state(),
    pad_id=tokenizer.pad_id,
    host_index=host_index,
    host_count=host_count,
  )


def decode_iterator(
  config: InputConfig,
  tokenizer: Vocabulary,
  split: str | None = None,
  *,
  host_index: int = 0,
  host_count: int = 1,
) -> DecodeIterator:
  """Iterates once over all readable clips of a split, without filters (`decode_split`).

  Raises:
    ValueError: no data, or more of it than `max_bad_fraction` cannot be read.
  """
  clips = decode_split(config, tokenizer, split, host_index=host_index, host_count=host_count)
  return iter(clips)
