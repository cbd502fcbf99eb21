"""Datasets, and reading the elements of an order from them."""

import dataclasses
import functools
import weakref
from collections.abc import Sequence
from typing import Any, Self

import grain

from maxtext_ext.input.config import InputConfig
from maxtext_ext.input.mixture import Element, MixtureOrder, SequentialOrder
from maxtext_ext.input.sharding import HostShard
from maxtext_ext.input.transforms import NOISE_ONLY, Clip, NoiseTurn, Serialized
from maxtext_ext.records.encoded import EncodedSource, Encoding
from maxtext_ext.records.lengths import LENGTHS_SUFFIX
from maxtext_ext.records.manifest import list_shards, parse_shard_name
from maxtext_ext.records.reader import RecordSource, find_shards
from maxtext_ext.records.split_lengths import SplitLengths, find_lengths, find_or_scan_lengths


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordData:
  """Records of a dataset.

  Attributes:
    name: of the dataset in counts; empty where there is only one.
    where: its folders and split, for messages.
    source: the stored records.
  """

  name: str
  where: str
  source: RecordSource

  def __len__(self) -> int:
    return len(self.source)

  def read(self, record: int, epoch: int) -> Serialized:
    """Reads a record."""
    return Serialized(data=self.source[record], dataset=self.name, epoch=epoch)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SilentData:
  """Records of a dataset with silence as audio, by their stored lengths.

  Rows, steps and shapes are planned from them. Records that cannot be read come as they are stored,
  so that they are dropped for the same reason.

  Attributes:
    data: the dataset.
    scan: compute missing lengths; otherwise records without them are read in full.
    visible: whether to show the progress of that.
  """

  data: RecordData
  scan: bool
  visible: bool = True

  def __len__(self) -> int:
    return len(self.data)

  @functools.cached_property
  def lengths(self) -> SplitLengths | None:
    """Lengths of all records; None where they are not stored."""
    shards = self.data.source.shards
    if not self.scan:
      lengths = find_lengths(shards)
    else:
      lengths = find_or_scan_lengths(shards, visible=self.visible)
    if lengths is not None and len(lengths) != len(self):
      raise ValueError(
        f"{self.data.where}: {len(self)} records, but lengths of {len(lengths)}; remove "
        f"*{LENGTHS_SUFFIX} beside the shards, which are made again"
      )
    return lengths

  def load(self) -> None:
    """Reads the lengths now, before several threads ask for them.

    Raises:
      ValueError: they are of other records.
    """
    _ = self.lengths

  def read(self, record: int, epoch: int) -> Clip | Serialized:
    """Gives a record without its sound."""
    clip = None if self.lengths is None else self.lengths[record]
    if clip is None:
      return self.data.read(record, epoch)
    return Clip(record=clip, dataset=self.data.name, epoch=epoch)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncodedData:
  """Records of a dataset with the stored outputs of a frozen encoder in place of their sound.

  Attributes:
    silent: the records without sound.
    source: the outputs.
  """

  silent: SilentData
  source: EncodedSource

  @classmethod
  def of(cls, silent: SilentData, encoding: Encoding) -> Self:
    """Opens the outputs of the dataset's shards."""
    silent.load()
    return cls(silent=silent, source=EncodedSource(silent.data.source.shards, encoding))

  def __len__(self) -> int:
    return len(self.silent)

  def read(self, record: int, epoch: int) -> Clip | Serialized:
    """Gives a record with its outputs; one that cannot be read comes as it is stored."""
    clip = self.silent.read(record, epoch)
    if isinstance(clip, Serialized):
      return clip
    return dataclasses.replace(clip, encoded=self.source[record])


@dataclasses.dataclass(frozen=True)
class NoiseData:
  """Noise as a dataset of one record, which is another clip in every epoch."""

  name: str = NOISE_ONLY

  def __len__(self) -> int:
    return 1

  def read(self, record: int, epoch: int) -> NoiseTurn:
    """The place of an epoch's clip, which `MakeNoise` fills."""
    return NoiseTurn(epoch=epoch)


Dataset = RecordData | NoiseData
Silent = SilentData | NoiseData  # of which rows are planned


@dataclasses.dataclass(frozen=True, kw_only=True)
class FindElement(grain.transforms.Map):
  """Place in the order -> Element: 1050 -> Element(dataset=1, epoch=0, record=17)."""

  order: MixtureOrder | SequentialOrder

  def map(self, place: int) -> Element:
    """Looks up a place."""
    return self.order[place]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReadElement(grain.transforms.Map):
  """Element -> Serialized, NoiseTurn, or Clip where its data is silent.

  Element(dataset=0, epoch=2, record=17) -> Serialized(data=b"...", epoch=2)
  """

  datasets: tuple[Dataset, ...] | tuple[Silent, ...] | tuple[EncodedData, ...]

  def map(self, element: Element) -> Serialized | NoiseTurn | Clip:
    """Reads an element."""
    return self.datasets[element.dataset].read(element.record, element.epoch)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Elements:
  """Elements that a host reads, in order.

  Attributes:
    datasets: where they are.
    order: of all elements.
    shard: places in the order that are this host's.
    host_index, host_count: of this host.
  """

  datasets: tuple[Dataset, ...]
  order: MixtureOrder | SequentialOrder
  shard: HostShard
  host_index: int
  host_count: int

  @property
  def records(self) -> int:
    """Records of an epoch of all datasets."""
    return sum(self.order.lengths)

  @property
  def where(self) -> str:
    """Folders and splits of the datasets, for messages."""
    return describe_places(self.datasets)

  @property
  def identity(self) -> dict[str, int]:
    """Returns what distinguishes orders of elements, beside the seed."""
    identity = {f"records {data.name}".rstrip(): len(data) for data in self.datasets}
    if isinstance(self.order, MixtureOrder) and len(self.datasets) > 1:
      shares = zip(self.datasets, self.order.proportions, strict=True)
      identity |= {f"share {data.name}".rstrip(): share for data, share in shares}
    return identity

  def epochs(self, place: int) -> dict[str, float]:
    """Returns how often each dataset of records was read before a place, by its name."""
    return {
      data.name: epochs
      for data, epochs in zip(self.datasets, self.order.epochs(place), strict=True)
      if isinstance(data, RecordData)
    }


def describe_places(datasets: Sequence[Dataset]) -> str:
  """Describes folders and splits of datasets, for messages."""
  return "; ".join(data.where for data in datasets if isinstance(data, RecordData))


def open_data(config: InputConfig) -> RecordData:
  """Opens all records of the split: of `data_dir`, or of the mixture's folders in order.

  Folders of a mixture without the split are skipped: not every corpus was published with one.

  Raises:
    ValueError: there are no shards, or no records in them.
  """
  folders = list(dict.fromkeys(data.data_dir for data in config.datasets.mixture))
  if config.datasets.data_dir or not folders:
    folders = [config.datasets.data_dir]
  else:
    folders = [
      folder for folder in folders if not _has_others_only(folder, config.split)
    ] or folders
  return _open("", folders, config.split)


def _has_others_only(folder: str, split: str) -> bool:
  """Returns whether there are only shards of other splits."""
  found = {name[0] for path in list_shards(folder) if (name := parse_shard_name(path))}
  return bool(found) and split not in found


def open_training_data(config: InputConfig) -> tuple[RecordData, ...]:
  """Opens the datasets of the mixture; without a mixture, the one of `data_dir`.

  Raises:
    ValueError: as `open_data`.
  """
  if not config.datasets.mixture:
    return (open_data(config),)
  return tuple(
    _open(data.name, [data.data_dir], data.split or config.split)
    for data in config.datasets.mixture
  )


def _open(name: str, folders: list[str], split: str) -> RecordData:
  source = RecordSource([shard for folder in folders for shard in find_shards(folder, split)])
  where = f"{', '.join(folders)}, split '{split}'"
  if not len(source):
    raise ValueError(f"{where}: no records; convert the data again")
  return RecordData(name=name, where=where, source=source)


def check_hosts(host_index: int, host_count: int) -> None:
  """Raises ValueError unless 0 <= host_index < host_count."""
  if not 0 <= host_index < host_count:
    raise ValueError(f"host_index={host_index} of host_count={host_count}")


def read_options(config: InputConfig) -> grain.ReadOptions:
  """Returns threads and look-ahead of reading."""
  return grain.ReadOptions(
    num_threads=config.read_threads, prefetch_buffer_size=8 * config.read_threads
  )


class ClosingIterator:
  """Iterator that closes its grain iterator before the interpreter exits.

  Grain's iterators stop their threads in `__del__`, which at the end of a program runs after the
  modules it needs are gone; so they are closed and released before.
  """

  def __init__(self, iterator: Any) -> None:
    self._held = [iterator]
    self._close = weakref.finalize(self, _close, self._held)

  @property
  def _iterator(self) -> Any:
    if not self._held:
      raise ValueError("the iterator is closed")
    return self._held[0]

  def close(self) -> None:
    """Stops the threads; nothing more can be read."""
    self._close()


def _close(held: list[Any]) -> None:
  while held:
    held.pop().close()
