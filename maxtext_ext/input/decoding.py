"""Batches for decoding: prompts of one clip a row, in a few static shapes."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import grain

from maxtext_ext.input.batch import DecodeBatch, decode_shape, make_decode_batch
from maxtext_ext.input.config import InputConfig
from maxtext_ext.input.dropped import Dropped, Tally
from maxtext_ext.input.owned import Owner
from maxtext_ext.input.reading import ReadUtterance, check_hosts, open_data, read_options
from maxtext_ext.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class _Planned:
  """One batch of this host."""

  shape: tuple[int, int]  # windows, text slots
  records: tuple[int, ...]


class DecodeIterator(Owner, Iterator[DecodeBatch]):
  """The batches of a split, made ahead by threads; `len` is their number.

  Attributes:
    dropped: records that cannot be decoded, by reason.
  """

  def __init__(
    self, batches: grain.MapDataset, config: InputConfig, dropped: dict[str, int]
  ) -> None:
    ahead = grain.ReadOptions(
      num_threads=min(1, config.prefetch_batches), prefetch_buffer_size=config.prefetch_batches
    )
    self._length = len(batches)
    super().__init__(iter(batches.to_iter_dataset(ahead)))
    self.dropped = dropped

  def __len__(self) -> int:
    return self._length

  def __next__(self) -> DecodeBatch:
    return next(self._iterator)


@dataclass(frozen=True)
class _MakeBatch(grain.transforms.Map):
  """_Planned -> DecodeBatch."""

  utterances: grain.MapDataset
  rows: int
  pad_id: int
  audio_dtype: str

  def map(self, planned: _Planned) -> DecodeBatch:
    return make_decode_batch(
      [self.utterances[i] for i in planned.records],
      pad_id=self.pad_id,
      rows=self.rows,
      shape=planned.shape,
      audio_dtype=self.audio_dtype,
    )


def decode_iterator(
  config: InputConfig,
  tokenizer: Tokenizer,
  split: str | None = None,
  *,
  host_index: int = 0,
  host_count: int = 1,
) -> DecodeIterator:
  """Every clip of a split that can be read, whatever the filters say, as prompts without targets.

  A clip's shape follows from its own length (`decode_shape`), batches are made of clips of one
  shape, so few programs are compiled and no clip is padded to another. All hosts give the same
  shapes in the same order: each reads the lengths of the whole split first, then its own clips.
  Empty rows fill the last batch of a shape.

  Raises:
    ValueError: no data, or more of it than `max_bad_fraction` cannot be read.
  """
  check_hosts(host_index, host_count)
  config = config if split is None else config.for_split(split)
  data = open_data(config, ReadUtterance(tokenizer=tokenizer, config=config, any_record=True))
  utterances = grain.MapDataset.source(data.source).map(data.read)
  clips: dict[tuple[int, int], list[int]] = defaultdict(list)
  tally = Tally(config.max_bad_fraction)
  lengths = utterances.to_iter_dataset(read_options(config))
  for index, utterance in enumerate(lengths):
    tally.count()
    if isinstance(utterance, Dropped):
      tally.drop(utterance)
    else:
      clips[decode_shape(utterance)].append(index)
  planned = []
  for shape, indices in sorted(clips.items()):
    for start in range(0, len(indices), config.rows * host_count):
      first = start + host_index * config.rows
      planned.append(_Planned(shape, tuple(indices[first : first + config.rows])))
  if not planned:
    raise ValueError(
      f"{data.where}: none of {len(data)} records can be decoded: {dict(tally.dropped)}"
    )
  make = _MakeBatch(utterances, config.rows, tokenizer.pad_id, config.audio_dtype)
  return DecodeIterator(grain.MapDataset.source(planned).map(make), config, dict(tally.dropped))
