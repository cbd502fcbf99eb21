"""Layouts of batches, by the name that a model gives as its LAYOUT."""

import abc
import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import grain
import numpy as np

from maxtext_ext.input.batch_spec import BatchSpec, packed_spec
from maxtext_ext.input.bucketed import (
  BucketRows,
  CollateClips,
  bucketed_fill,
  largest_spec,
  rows_per_element,
)
from maxtext_ext.input.buckets import Buckets
from maxtext_ext.input.collate import CollateRows, Fill, fill
from maxtext_ext.input.config import InputConfig
from maxtext_ext.input.packed_dataset import PackRows
from maxtext_ext.input.reading import Elements
from maxtext_ext.input.row_windows import Sample, packed_rows, row_windows
from maxtext_ext.input.sharding import HostShard
from maxtext_ext.input.transforms import Chain
from maxtext_ext.text.vocabulary import Vocabulary

Grouping = PackRows | BucketRows
Transforms = tuple[grain.transforms.Map | Grouping, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
  """Elements that are read, before they are put into batches.

  Attributes:
    elements: in training those of this host, in evaluation all of the split.
    utterances: transforms from an element to its utterance.
    sample: elements that rows are planned from, and the chain that reads them without sound.
  """

  config: InputConfig
  tokenizer: Vocabulary
  elements: Elements
  utterances: Transforms
  sample: Sample


class Layout(abc.ABC):
  """Form of batches, and how utterances become them.

  Attributes:
    plans_every_batch: batches are planned from the lengths of all clips, so these must be there.
  """

  plans_every_batch: ClassVar[bool] = False

  @abc.abstractmethod
  def batch_spec(self, config: InputConfig, rows: int) -> BatchSpec:
    """Describes the arrays of a batch; where there are several shapes, of the largest.

    The only definition of them: batches are allocated from it, and plans are made by it.
    """

  @abc.abstractmethod
  def fill(self, batch: Mapping[str, np.ndarray]) -> Fill:
    """Computes the shares of used slots in a batch."""

  @abc.abstractmethod
  def rows_per_element(self, config: InputConfig, sample: Sample) -> float:
    """Estimates how many rows an element of the order takes.

    Raises:
      ValueError: none of the sample can be used.
    """

  @abc.abstractmethod
  def train(self, reading: Reading, steps: int) -> tuple[Elements, Transforms]:
    """Completes the chain of training.

    Args:
      steps: length of the run.

    Returns:
      what this host reads, and the transforms from an element to a batch.
    """

  @abc.abstractmethod
  def evaluate(self, reading: Reading) -> Transforms:
    """Completes the chain of one pass over a split, which every host plans from the lengths."""


class PackedLayout(Layout):
  """Rows of several utterances: text slots, and windows of chunks that clips share."""

  def batch_spec(self, config: InputConfig, rows: int) -> BatchSpec:
    """Describes packed rows with the configured number of windows."""
    windows, dtype = config.packing.windows_per_row, config.packing.audio_dtype
    return packed_spec(
      rows, config.max_tokens, windows, dtype, config.geometry, encoding=config.encoding
    )

  def fill(self, batch: Mapping[str, np.ndarray]) -> Fill:
    """Computes the shares of text slots and chunks that are used."""
    return fill(batch)

  def rows_per_element(self, config: InputConfig, sample: Sample) -> float:
    """Packs the sample."""
    return packed_rows(config, sample)

  def train(self, reading: Reading, steps: int) -> tuple[Elements, Transforms]:
    """Packs the utterances of this host as they come."""
    config = reading.config
    windows = row_windows(reading.sample, config)
    return reading.elements, (
      *reading.utterances,
      PackRows(config=config, windows=windows, steps=steps),
      CollateRows.from_config(config, windows, reading.tokenizer),
    )

  def evaluate(self, reading: Reading) -> Transforms:
    """Packs the whole split by its lengths, and reads the sound of this host's rows."""
    config = reading.config
    windows = row_windows(reading.sample, config)
    return (
      *reading.sample.chain.transforms,
      PackRows(
        config=config,
        windows=windows,
        keep_index=reading.elements.host_index,
        keep_count=reading.elements.host_count,
        with_sound=Chain(reading.utterances),
      ),
      CollateRows.from_config(config, windows, reading.tokenizer),
    )


class BucketedLayout(Layout):
  """Rows of one clip each, in batches of clips of about one length."""

  plans_every_batch: ClassVar[bool] = True

  def batch_spec(self, config: InputConfig, rows: int) -> BatchSpec:
    """Describes a batch of the longest clips."""
    return largest_spec(config, rows)

  def fill(self, batch: Mapping[str, np.ndarray]) -> Fill:
    """Computes the shares of targets and chunks that are used."""
    return bucketed_fill(batch)

  def rows_per_element(self, config: InputConfig, sample: Sample) -> float:
    """Puts the sample into buckets, as each clip has a row of its own."""
    return rows_per_element(config, sample)

  def train(self, reading: Reading, steps: int) -> tuple[Elements, Transforms]:
    """Puts clips into buckets; every host plans the batches of all, by the lengths."""
    everything = dataclasses.replace(reading.elements, shard=HostShard.of_host(0, 1))
    return everything, self.evaluate(reading)

  def evaluate(self, reading: Reading) -> Transforms:
    """Puts the clips of the split into buckets."""
    config = reading.config
    buckets = Buckets.of_sample(config, reading.sample)
    return (
      *reading.sample.chain.transforms,
      BucketRows(config=config, buckets=buckets, with_sound=Chain(reading.utterances)),
      CollateClips.from_config(config, reading.tokenizer),
    )


LAYOUTS: dict[str, Layout] = {"packed": PackedLayout(), "bucketed": BucketedLayout()}
