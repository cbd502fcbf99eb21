"""Number of steps in so many epochs, estimated from a sample: schedules need it in advance."""

import math

from maxtext_ext.input.bucketed import BucketRows
from maxtext_ext.input.config import InputConfig
from maxtext_ext.input.drops import Drop
from maxtext_ext.input.packing import pack, unfit_reason
from maxtext_ext.input.pipeline import training_sample
from maxtext_ext.input.reading import RecordData
from maxtext_ext.input.row_windows import Sample, row_windows
from maxtext_ext.input.utterance import Utterance
from maxtext_ext.text.vocabulary import Vocabulary


def steps_of(epochs: float, config: InputConfig, tokenizer: Vocabulary, *, rows: int) -> int:
  """Estimates the steps of `rows` rows in `epochs` passes over the data, to a few percent.

  Of a mixture an epoch is as many clips as its datasets have together. The sample is the same on
  every host and after every restart, and so is the answer.

  Raises:
    ValueError: no data, or none that can be used.
  """
  datasets, order, sample = training_sample(config, tokenizer)
  if config.layout == "bucketed":
    rows_per_element = _usable(config, sample)
  else:
    rows_per_element = _packed_rows(config, sample)
  # Noise alone stands between the records and is no part of an epoch.
  pairs = list(zip(datasets, order.lengths, order.proportions, strict=True))
  records = sum(length for data, length, _ in pairs if isinstance(data, RecordData))
  share = sum(p for data, _, p in pairs if isinstance(data, RecordData)) / sum(order.proportions)
  return max(1, math.ceil(epochs * records / share * rows_per_element / rows))


def _usable(config: InputConfig, sample: Sample) -> float:
  """Computes the share of the elements that have a row of their own."""
  read = [sample.chain.map(element) for element in sorted(sample.elements)]
  bucket = BucketRows(config=config, with_sound=sample.chain)
  usable = sum(isinstance(each, Utterance) and bucket.unfit(each) is None for each in read)
  if not usable:
    raise ValueError(f"none of {len(sample.elements)} records can be used")
  return usable / len(read)


def _packed_rows(config: InputConfig, sample: Sample) -> float:
  """Computes packed rows per element."""
  windows = row_windows(sample, config)
  budgets = {"max_tokens": config.max_tokens, "windows": windows}
  found = {}
  for element in sorted(sample.elements):  # as they are stored
    read = sample.chain.map(element)
    if isinstance(read, Drop):
      continue
    if not unfit_reason(read.tokens, read.chunks, geometry=config.geometry, **budgets):
      found[element] = read.tokens, read.chunks
  lengths = [found[element] for element in sample.elements if element in found]
  if not lengths:
    raise ValueError(f"none of {len(sample.elements)} records fits windows_per_row={windows}")
  lookahead = config.packing.packing_lookahead
  # A run has no half empty rows at its end, so those of the sample do not count.
  repeated = lengths * -(-4 * lookahead // len(lengths))
  packed = list(pack(repeated, geometry=config.geometry, lookahead=lookahead, **budgets))
  packed = packed[: max(1, len(packed) * 3 // 4)]
  usable = len(lengths) / len(sample.elements)
  return usable * len(packed) / sum(len(row.keys) for row in packed)
