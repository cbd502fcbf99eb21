"""Clips of a split for decoding: utterances with prompts and no targets."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import grain
import numpy as np

from maxtext_ext.input.config import InputConfig
from maxtext_ext.input.drops import Drop, DropCounter
from maxtext_ext.input.mixture import SequentialOrder
from maxtext_ext.input.reading import (
  ClosingIterator,
  ReadElement,
  SilentData,
  check_hosts,
  open_data,
  read_options,
)
from maxtext_ext.input.transforms import BuildUtterance, Chain, DecodeRecord, FilterClip
from maxtext_ext.input.utterance import Utterance, require_planned
from maxtext_ext.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class _Planned:
  """A record, and its prompt tokens and chunks by its stored lengths."""

  record: int
  size: tuple[int, int]


class DecodeIterator(ClosingIterator, Iterator[Utterance]):
  """Clips of a split, read ahead by threads; `len` is their number by their stored lengths.

  Raises ValueError where more than `max_bad_fraction` of the records turn out bad.

  Args:
    clips: of Utterance or Drop.
    counts: state of the drop counter when the clips were planned.
  """

  def __init__(self, clips: grain.MapDataset, config: InputConfig, counts: dict[str, Any]) -> None:
    self._length = len(clips)
    super().__init__(iter(clips.to_iter_dataset(read_options(config))))
    self._counter = DropCounter(config.filters.max_bad_fraction)
    self._counter.set_state(counts)

  @property
  def dropped(self) -> dict[str, int]:
    """Counts records that cannot be decoded, by reason: of the plan, and of the clips so far."""
    return dict(self._counter.dropped)

  def __len__(self) -> int:
    return self._length

  def __next__(self) -> Utterance:
    while isinstance(read := next(self._iterator), Drop):
      self._counter.drop(read)
    return read


@dataclass(frozen=True)
class _ReadPlanned(grain.transforms.Map):
  """_Planned -> Utterance, or a Drop where its audio turns out bad."""

  utterances: grain.MapDataset

  def map(self, planned: _Planned) -> Utterance | Drop:
    read = self.utterances[planned.record]
    if not isinstance(read, Drop):
      require_planned(read.sample_id, _size(read), planned.size)
    return read


def _size(utterance: Utterance) -> tuple[int, int]:
  return len(utterance.prompt), utterance.chunks


@dataclass(frozen=True, kw_only=True)
class DecodeSplit:
  """Clips of a split that can be decoded; iterates over those of this host.

  Attributes:
    config: of the input.
    utterances: all records of the split.
    clips: those that are decoded, in the order of reading.
    counts: state of the drop counter, of the records that cannot be decoded.
  """

  config: InputConfig
  utterances: grain.MapDataset
  clips: tuple[_Planned, ...]
  counts: dict[str, Any]
  host_index: int
  host_count: int

  def __len__(self) -> int:
    return len(self._own)

  def __iter__(self) -> DecodeIterator:
    clips = grain.MapDataset.source(self._own).map(_ReadPlanned(self.utterances))
    return DecodeIterator(clips, self.config, self.counts)

  @property
  def _own(self) -> tuple[_Planned, ...]:
    return self.clips[self.host_index :: self.host_count]


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

  The longest come first, by their windows of audio rounded up to 1, 2, 4, ..., and otherwise in
  the order of the split: then clips that are decoded together are of about one length, and the last
  ones are short. Each host plans the whole split by its stored lengths, and reads every
  `host_count`-th clip.

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
  clips: list[_Planned] = []
  counter = DropCounter(config.filters.max_bad_fraction)
  for index in chosen:
    utterance = planned.map(order[index])
    counter.count()
    if isinstance(utterance, Drop):
      counter.drop(utterance)
    else:
      clips.append(_Planned(index, _size(utterance)))
  if not clips:
    raise ValueError(
      f"{data.where}: none of {len(chosen)} records can be decoded: {dict(counter.dropped)}"
    )
  window = config.geometry.chunks_per_window

  def windows(clip: _Planned) -> int:
    return (-(-clip.size[1] // window) - 1).bit_length()

  return DecodeSplit(
    config=config,
    utterances=grain.MapDataset.source(order).map(with_sound),
    clips=tuple(sorted(clips, key=windows, reverse=True)),
    counts=counter.get_state(),
    host_index=host_index,
    host_count=host_count,
  )
