"""Number of steps in so many epochs, estimated from a sample: schedules need it in advance."""

import math

from maxtext_ext.input.config import InputConfig
from maxtext_ext.input.layouts import LAYOUTS
from maxtext_ext.input.pipeline import training_sample
from maxtext_ext.input.reading import RecordData
from maxtext_ext.text.vocabulary import Vocabulary


def steps_of(epochs: float, config: InputConfig, tokenizer: Vocabulary, *, rows: int) -> int:
  """Estimates the steps of `rows` rows in `epochs` passes over the data, to a few percent.

  Of a mixture an epoch is as many clips as its datasets have together. The sample is the same on
  every host and after every restart, and so is the answer.

  Raises:
    ValueError: no data, or none that can be used.
  """
  datasets, order, sample = training_sample(config, tokenizer)
  rows_per_element = LAYOUTS[config.layout].rows_per_element(config, sample)
  # Noise alone stands between the records and is no part of an epoch.
  pairs = list(zip(datasets, order.lengths, order.proportions, strict=True))
  records = sum(length for data, length, _ in pairs if isinstance(data, RecordData))
  share = sum(p for data, _, p in pairs if isinstance(data, RecordData)) / sum(order.proportions)
  return max(1, math.ceil(epochs * records / share * rows_per_element / rows))
