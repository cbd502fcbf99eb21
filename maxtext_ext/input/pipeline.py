"""The input of training, evaluation and decoding: records -> utterances -> rows -> batches."""

from collections.abc import Iterator
from typing import Any

import grain
import numpy as np

from maxtext_ext.input.batch import Arrays, DecodeBatch, Fill, fill, make_decode_batch
from maxtext_ext.input.config import InputConfig
from maxtext_ext.input.decoding import DecodeIterator, decode_iterator
from maxtext_ext.input.owned import Owner
from maxtext_ext.input.packed import PackedBatches, PackPlan
from maxtext_ext.input.reading import ReadUtterance, check_hosts, open_records, row_windows
from maxtext_ext.input.spec_augment import SpecAugment
from maxtext_ext.text.tokenizer import Tokenizer

__all__ = [
  "BatchIterator",
  "DecodeBatch",
  "DecodeIterator",
  "Fill",
  "InputConfig",
  "SpecAugment",
  "decode_iterator",
  "eval_iterator",
  "fill",
  "make_decode_batch",
  "train_iterator",
]


class BatchIterator(Owner, Iterator[Arrays]):
  """Packed batches, made ahead by a thread; the position is that of the last batch given out."""

  def __init__(self, batches: PackedBatches, windows: int, prefetch: int) -> None:
    ahead = grain.experimental.ThreadPrefetchIterDataset(batches, prefetch_buffer_size=prefetch)
    super().__init__(iter(ahead))
    self.windows_per_row = windows

  def __next__(self) -> Arrays:
    return next(self._iterator)

  def get_state(self) -> dict[str, Any]:
    """Position behind the last batch, for JSON: positions of records, a few kilobytes."""
    return self._iterator.get_state()

  def set_state(self, state: dict[str, Any]) -> None:
    """Continues behind the batch at which the state was taken, bit for bit.

    Raises:
      ValueError: data, packing or number of hosts are not those of the state.
    """
    self._iterator.set_state(state)

  @property
  def dropped(self) -> dict[str, int]:
    """Records left out so far, by reason; a record counts again in every epoch."""
    return dict(self.get_state()["dropped"])


def train_iterator(
  config: InputConfig,
  tokenizer: Tokenizer,
  *,
  host_index: int = 0,
  host_count: int = 1,
  steps: int,
) -> BatchIterator:
  """Training batches without end, reshuffled each epoch.

  Every record is used once an epoch, by one of the hosts: of the shuffled order, host h takes the
  places h, h + hosts, ... Where the number of records is no multiple of the hosts, the first ones
  have one more and reach their next epoch that much later; all go on without end, so none waits for
  another.

  Args:
    config: the split and how it is packed.
    tokenizer: the model's.
    host_index: of this host.
    host_count: number of hosts.
    steps: length of the run, for the curriculum.

  Raises:
    ValueError: no data, or none that can be used.
  """
  check_hosts(host_index, host_count)
  source = open_records(config)
  if len(source) < host_count:
    raise ValueError(
      f"{config.data_dir}: {len(source)} records of split '{config.split}' for {host_count} hosts; "
      "every host needs one"
    )
  windows = row_windows(source, config, tokenizer)
  order_seed = int(np.random.SeedSequence(config.seed).generate_state(1)[0])
  mine = grain.MapDataset.source(source).shuffle(seed=order_seed)[host_index::host_count]
  stream = mine.map(ReadUtterance(tokenizer=tokenizer, config=config)).repeat()
  plan = PackPlan(
    config=config,
    windows=windows,
    pad_id=tokenizer.pad_id,
    epoch_length=len(mine),
    steps=steps,
    identity=(("records", len(source)), ("host", host_index), ("hosts", host_count)),
  )
  return BatchIterator(PackedBatches(stream, plan), windows, config.prefetch_batches)


def eval_iterator(
  config: InputConfig,
  tokenizer: Tokenizer,
  split: str | None = None,
  *,
  host_index: int = 0,
  host_count: int = 1,
) -> BatchIterator:
  """One pass over a split in the order of its shards, packed, without SpecAugment and curriculum.

  Every host reads the whole split and keeps its share of the rows: so the rows are the same for any
  number of hosts, and all hosts give equally many batches. The last one is filled up with empty
  rows.

  Raises:
    ValueError: no data, or none that can be used.
  """
  check_hosts(host_index, host_count)
  config = config if split is None else config.for_split(split)
  source = open_records(config)
  windows = row_windows(source, config, tokenizer)
  stream = grain.MapDataset.source(source).map(ReadUtterance(tokenizer=tokenizer, config=config))
  plan = PackPlan(
    config=config,
    windows=windows,
    pad_id=tokenizer.pad_id,
    epoch_length=len(source),
    host_index=host_index,
    host_count=host_count,
    identity=(("records", len(source)), ("host", host_index), ("hosts", host_count)),
  )
  return BatchIterator(PackedBatches(stream, plan), windows, config.prefetch_batches)
