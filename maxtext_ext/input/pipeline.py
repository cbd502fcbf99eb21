"""Input of training, evaluation and decoding: records -> utterances -> rows -> batches."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import grain
import numpy as np

from maxtext_ext.input.collate import (
  Arrays,
  Batch,
  DecodeBatch,
  Fill,
  fill,
  make_decode_batch,
)
from maxtext_ext.input.config import InputConfig
from maxtext_ext.input.curriculum import Curriculum
from maxtext_ext.input.datasets import Datasets, NamedData
from maxtext_ext.input.decoding import (
  DecodeIterator,
  DecodeSplit,
  decode_split,
)
from maxtext_ext.input.drops import Drop
from maxtext_ext.input.filters import Filters
from maxtext_ext.input.host_augment import HostAugment, NoiseOnly, SpecAugment
from maxtext_ext.input.layouts import LAYOUTS, Grouping, Reading, Transforms
from maxtext_ext.input.mixture import MixtureOrder, SequentialOrder
from maxtext_ext.input.packing_config import Packing
from maxtext_ext.input.position import Position
from maxtext_ext.input.reading import (
  ClosingIterator,
  Dataset,
  Elements,
  EncodedData,
  NoiseData,
  ReadElement,
  RecordData,
  SilentData,
  check_hosts,
  open_data,
  open_training_data,
)
from maxtext_ext.input.row_windows import SAMPLED, SCANNED, Sample
from maxtext_ext.input.sharding import HostShard
from maxtext_ext.input.transforms import (
  BuildUtterance,
  Chain,
  DecodeRecord,
  DrawMasks,
  FilterClip,
  MakeNoise,
  PerturbClip,
  PerturbLength,
)
from maxtext_ext.records.encoded import Encoding
from maxtext_ext.text.prompt_keys import PromptKeys
from maxtext_ext.text.vocabulary import Vocabulary

__all__ = [
  "BatchIterator",
  "Curriculum",
  "Datasets",
  "DecodeBatch",
  "DecodeIterator",
  "DecodeSplit",
  "Fill",
  "Filters",
  "HostAugment",
  "InputConfig",
  "NamedData",
  "NoiseOnly",
  "Packing",
  "PromptKeys",
  "SpecAugment",
  "decode_split",
  "eval_iterator",
  "fill",
  "make_decode_batch",
  "train_iterator",
  "training_sample",
]


class BatchIterator(ClosingIterator, Iterator[Arrays]):
  """Batch iterator, prepared ahead by a thread; its position is that of the last batch returned.

  Attributes:
    records: ids of the records in the last returned batch, row by row.
    unaligned: clips of any host that were left out since the batch before, as they have too few
      frames for their targets.
    waited: seconds of waiting for the last batch.

  Args:
    elements: what is read.
    transforms: from an element to a batch; one of them puts utterances together.
    prefetch: batches prepared ahead; 0: each on demand.
  """

  def __init__(self, elements: Elements, transforms: Transforms, prefetch: int) -> None:
    self._grouping = transforms[_find_grouping(transforms)]
    ahead = grain.experimental.ThreadPrefetchIterDataset(
      _batches(elements, transforms), prefetch_buffer_size=prefetch
    )
    super().__init__(iter(ahead))
    self._elements = elements
    self.records: tuple[str, ...] = ()
    self.unaligned: tuple[Drop, ...] = ()
    self.waited = 0.0

  def __next__(self) -> Arrays:
    asked = time.monotonic()
    batch = next(self._iterator)
    self.waited = time.monotonic() - asked
    self.records, self.unaligned = batch.records, batch.unaligned
    return batch.arrays

  def get_state(self) -> dict[str, Any]:
    """Returns the position after the last batch as JSON values, a few kilobytes of places."""
    return self._iterator.get_state()

  def set_state(self, state: dict[str, Any]) -> None:
    """Continues behind the batch at which this host's state was taken, bit for bit.

    Raises:
      ValueError: data, packing, host or number of hosts are not those of the state.
    """
    self._iterator.set_state(state)

  def resume(self, states: Sequence[dict[str, Any]]) -> None:
    """Continues a training run from the states of all its hosts, in their order.

    With the same number of hosts, every batch is the one that would have followed. With another
    number, the new hosts divide what the old ones had left: over the whole run every record is
    still used once an epoch, in other batches. Rows are no part of a position: a run on other hosts
    keeps its global batch when `rows` times the hosts stays as it was, and has another batch
    otherwise.

    Raises:
      ValueError: data or packing are not those of the states, or a state is missing.
    """
    positions = [Position.from_json(state) for state in states]
    host, hosts = self._elements.host_index, self._elements.host_count
    position = self._grouping.position_of(positions, host, hosts)
    self.set_state(position.to_json())

  @property
  def dropped(self) -> dict[str, int]:
    """Counts records left out so far, by reason; a record counts again in every epoch."""
    return dict(self.get_state()["tally"]["dropped"])

  def metrics(self) -> dict[str, float]:
    """Returns scalars of this host: epochs read of each dataset, records dropped, and why.

    Over all hosts the epochs are the same to within a little, the dropped records add up.
    """
    state = self.get_state()
    dropped = state["tally"]["dropped"]
    scalars = {"input/dropped": float(sum(dropped.values()))}
    for reason, count in dropped.items():
      scalars[f"input/dropped_{reason.replace(': ', '_').replace(' ', '_')}"] = float(count)
    for name, epochs in self._elements.epochs(state["next"]).items():
      scalars[f"input/epoch_{name}".removesuffix("_")] = epochs
    return scalars


def _batches(elements: Elements, transforms: Transforms) -> grain.IterDataset[Batch]:
  """Applies transforms: those before the grouping to an element, those behind it to a batch."""
  at = _find_grouping(transforms)
  dataset = transforms[at].dataset(elements, Chain(tuple(transforms[:at])))
  for transform in transforms[at + 1 :]:
    dataset = dataset.map(transform)
  return dataset


def _find_grouping(transforms: Transforms) -> int:
  (at,) = (i for i, transform in enumerate(transforms) if isinstance(transform, Grouping))
  return at


def train_iterator(
  config: InputConfig,
  tokenizer: Vocabulary,
  *,
  host_index: int = 0,
  host_count: int = 1,
  steps: int,
) -> BatchIterator:
  """Iterates endlessly over training batches, mixed and reshuffled each epoch.

  Every record is used once an epoch of its dataset, by one of the hosts (see
  `mixture.MixtureOrder` and `sharding.HostShard`). The hosts need not be in the same epoch, and
  none waits for another.

  Args:
    config: the data and how it is packed.
    tokenizer: the model's.
    host_index: of this host.
    host_count: number of hosts.
    steps: length of the run, for the curriculum.

  Raises:
    ValueError: no data, or none that can be used.
  """
  check_hosts(host_index, host_count)
  datasets, order, sample = training_sample(config, tokenizer)
  elements = Elements(
    datasets=datasets,
    order=order,
    shard=HostShard.of_host(host_index, host_count),
    host_index=host_index,
    host_count=host_count,
  )
  utterances: Transforms = (
    ReadElement(datasets=datasets),
    DecodeRecord(),
    FilterClip(filters=config.filters),
    PerturbClip(
      perturbation=config.augment.perturbation(config.filters.max_seconds), seed=config.seed
    ),
    MakeNoise.from_config(config),
    BuildUtterance.from_config(config, tokenizer),
    DrawMasks(spec_augment=config.spec_augment, mel_bins=config.mel_bins, seed=config.seed),
  )
  if config.encoding is not None:
    utterances = _encoded_utterances(config, config.encoding, tokenizer, sample)
  reading = Reading(
    config=config, tokenizer=tokenizer, elements=elements, utterances=utterances, sample=sample
  )
  elements, transforms = LAYOUTS[config.layout].train(reading, steps)
  return BatchIterator(elements, transforms, config.prefetch_batches)


def _encoded_utterances(
  config: InputConfig, encoding: Encoding, tokenizer: Vocabulary, sample: Sample
) -> Transforms:
  """Returns the transforms of clips with stored outputs of the encoder in place of their sound."""
  silent = [data for data in sample.datasets if isinstance(data, SilentData)]
  assert len(silent) == len(sample.datasets), "clips of noise have no stored outputs"
  return (
    ReadElement(datasets=tuple(EncodedData.of(data, encoding) for data in silent)),
    DecodeRecord(),
    FilterClip(filters=config.filters),
    BuildUtterance.from_config(config, tokenizer).silent(),
  )


def training_sample(
  config: InputConfig, tokenizer: Vocabulary
) -> tuple[tuple[Dataset, ...], MixtureOrder, Sample]:
  """Returns the elements of a run in order, and the sample that its rows are planned from.

  Raises:
    ValueError: no data.
  """
  records = open_training_data(config)
  # Of more records than that only the sampled ones are read, where lengths are not stored.
  every = LAYOUTS[config.layout].plans_every_batch or config.encoding is not None
  scan = every or sum(map(len, records)) <= SCANNED
  silent = tuple(SilentData(data=data, scan=scan) for data in records)
  noise = (NoiseData(),) if config.noise_only.noise_only_rate else ()
  order = _training_order(config, (*records, *noise))
  chain = Chain(
    (
      ReadElement(datasets=(*silent, *noise)),
      DecodeRecord(),
      FilterClip(filters=config.filters),
      # Batches of clips of one length are planned with the lengths that the clips will have.
      *((PerturbLength.from_config(config),) if every else ()),
      MakeNoise.from_config(config),
      BuildUtterance.from_config(config, tokenizer).silent(),
    )
  )
  elements = tuple(order[place] for place in range(min(SAMPLED, sum(order.lengths))))
  sample = Sample(datasets=(*silent, *noise), chain=chain, elements=elements)
  return (*records, *noise), order, sample


def eval_iterator(
  config: InputConfig,
  tokenizer: Vocabulary,
  split: str | None = None,
  *,
  host_index: int = 0,
  host_count: int = 1,
) -> BatchIterator:
  """Iterates once over a split in shard order, packed, without SpecAugment and curriculum.

  Every host packs the whole split by its stored lengths and reads the clips of its share of the
  rows: so the rows are the same for any number of hosts, and all hosts give equally many batches.
  The last one is padded with empty rows. The audio is not augmented.

  Raises:
    ValueError: no data, or none that can be used.
  """
  check_hosts(host_index, host_count)
  config = config if split is None else config.for_split(split)
  data = open_data(config)
  elements = Elements(
    datasets=(data,),
    order=SequentialOrder(len(data)),
    shard=HostShard((), 0, 1, end=len(data)),
    host_index=host_index,
    host_count=host_count,
  )
  silent = SilentData(data=data, scan=True, visible=host_index == 0)
  silent.load()
  filters, build = FilterClip(filters=config.filters), BuildUtterance.from_config(config, tokenizer)
  planned = (ReadElement(datasets=(silent,)), DecodeRecord(), filters, build.silent())
  utterances = (ReadElement(datasets=(data,)), DecodeRecord(), filters, build)
  drawn = np.random.default_rng(config.seed).permutation(len(data))[:SAMPLED].tolist()
  sampled = tuple(elements.order[place] for place in drawn)
  sample = Sample(datasets=(silent,), chain=Chain(planned), elements=sampled)
  reading = Reading(
    config=config, tokenizer=tokenizer, elements=elements, utterances=utterances, sample=sample
  )
  transforms = LAYOUTS[config.layout].evaluate(reading)
  return BatchIterator(elements, transforms, config.prefetch_batches)


def _training_order(config: InputConfig, datasets: Sequence[Dataset]) -> MixtureOrder:
  lengths = [len(data) for data in datasets]
  records = [len(data) for data in datasets if isinstance(data, RecordData)]
  proportions = config.datasets.proportions(records)
  if rate := config.noise_only.noise_only_rate:
    proportions = *proportions, max(1, round(sum(proportions) * rate / (1 - rate)))
  return MixtureOrder(lengths, proportions, config.seed)
