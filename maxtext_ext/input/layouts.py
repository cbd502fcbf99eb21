"""Layouts of training batches by name, the LAYOUT of a model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from maxtext_ext.input.batch_spec import BatchSpec, packed_spec
from maxtext_ext.input.bucketed import bucketed_fill, largest_spec
from maxtext_ext.input.collate import Fill, fill
from maxtext_ext.input.config import InputConfig


@dataclass(frozen=True, kw_only=True)
class Layout:
  """Arrays of a batch, and measurement of its padding.

  Attributes:
    batch_spec: (config, rows) -> arrays of a batch; where there are several shapes, of the largest.
      The only definition of them: batches are allocated from it, and plans are made by it.
    fill: batch -> shares of its places that are used.
  """

  batch_spec: Callable[[InputConfig, int], BatchSpec]
  fill: Callable[[Mapping[str, np.ndarray]], Fill]


def _packed(config: InputConfig, rows: int) -> BatchSpec:
  windows, dtype = config.packing.windows_per_row, config.packing.audio_dtype
  return packed_spec(rows, config.max_tokens, windows, dtype, config.geometry)


LAYOUTS: dict[str, Layout] = {
  "packed": Layout(batch_spec=_packed, fill=fill),
  "bucketed": Layout(batch_spec=largest_spec, fill=bucketed_fill),
}
