"""Reading: shards -> records -> utterances."""

import dataclasses
import weakref
from typing import Any

import grain

from maxtext_ext.audio.io import is_finite
from maxtext_ext.audio.perturb import Perturbation, noise_clip, perturb
from maxtext_ext.input.config import InputConfig
from maxtext_ext.input.drops import Drop
from maxtext_ext.input.mixture import MixtureOrder, SequentialOrder
from maxtext_ext.input.spec_augment import record_seed
from maxtext_ext.input.utterance import Utterance, build_utterance
from maxtext_ext.records.manifest import list_shards, parse_shard_name
from maxtext_ext.records.reader import RecordSource, find_shards
from maxtext_ext.records.schema import Record, RecordError, decode_example
from maxtext_ext.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReadUtterance(grain.transforms.Map):
  """bytes -> Utterance, or Drop where the record cannot be used.

  Attributes:
    tokenizer: the model's.
    config: filters, and how the prompt is written.
    any_record: the filters are not asked.
    perturbation: of the sound; the filters see the clip as it is stored.
  """

  tokenizer: Tokenizer
  config: InputConfig
  any_record: bool = False
  perturbation: Perturbation | None = None

  def map(self, data: bytes) -> Utterance | Drop:
    """Decodes and checks one record, and builds its prompt and target."""
    return self.read(data, epoch=0)

  def read(self, data: bytes, *, epoch: int) -> Utterance | Drop:
    """As `map`; the perturbation is another one in every epoch."""
    try:
      record = decode_example(data, copy=False)
    except RecordError as error:
      return Drop("unreadable", f"{error.sample_id or 'a record'}: {error}", bad=True)
    if not self.any_record and (rejected := self.config.filters.reject(record)):
      return rejected
    # Samples that are no numbers are refused below.
    if self.perturbation is not None and len(record.audio) and is_finite(record.audio):
      seed = record_seed(self.config.seed, epoch, record.sample_id)
      audio = perturb(record.as_float32(), self.perturbation, seed)
      record = dataclasses.replace(record, audio=audio)
    try:
      return _build(record, self.tokenizer, self.config)
    except ValueError as error:
      return Drop("unusable", f"{record.sample_id}: {error}", bad=True)


def _build(record: Record, tokenizer: Tokenizer, config: InputConfig) -> Utterance:
  return build_utterance(
    record,
    tokenizer,
    audio_dtype=config.audio_dtype,
    language_in_prompt=config.language_in_prompt,
    context=config.context,
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordData:
  """The records of a dataset.

  Attributes:
    name: by which it is counted; empty where there is only one.
    where: its folders and split, for messages.
    source: the stored records.
    read: what becomes of them.
  """

  name: str
  where: str
  source: RecordSource
  read: ReadUtterance

  def __len__(self) -> int:
    return len(self.source)

  def utterance(self, record: int, epoch: int) -> Utterance | Drop:
    """What a record becomes in an epoch."""
    read = self.read.read(self.source[record], epoch=epoch)
    if isinstance(read, Drop) and self.name:
      return dataclasses.replace(read, reason=f"{self.name}: {read.reason}")
    return read


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoiseData:
  """Noise with an empty text: one record, which is another clip in every epoch."""

  noises: tuple[str, ...]
  tokenizer: Tokenizer
  config: InputConfig
  name: str = "noise-only"

  def __len__(self) -> int:
    return 1

  def utterance(self, record: int, epoch: int) -> Utterance:
    """The clip of an epoch."""
    sample_id = f"{self.name}-{epoch}"
    seed = record_seed(self.config.seed, epoch, sample_id)
    audio = noise_clip(self.noises, self.config.noise_only.seconds, seed)
    noise = Record(sample_id=sample_id, audio=audio, text="", dataset_name=self.name)
    return _build(noise, self.tokenizer, self.config)


Dataset = RecordData | NoiseData


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReadElement(grain.transforms.Map):
  """The number of an element of the order -> Utterance or Drop."""

  order: MixtureOrder | SequentialOrder
  datasets: tuple[Dataset, ...]

  def map(self, place: int) -> Utterance | Drop:
    """Reads the element."""
    element = self.order[place]
    return self.datasets[element.dataset].utterance(element.record, element.epoch)


def open_data(config: InputConfig, read: ReadUtterance) -> RecordData:
  """All records of the split: of `data_dir`, or else of the folders of the mixture, in turn.

  Of a mixture, folders count that have the split: not every corpus was published with one.

  Raises:
    ValueError: there are no shards, or no records in them.
  """
  folders = list(dict.fromkeys(data.data_dir for data in config.mixture.data))
  if config.data_dir or not folders:
    folders = [config.data_dir]
  else:
    folders = [
      folder for folder in folders if not _has_others_only(folder, config.split)
    ] or folders
  return _open("", folders, config.split, read)


def _has_others_only(folder: str, split: str) -> bool:
  """Whether there are shards of other splits, but none of this one."""
  found = {name[0] for path in list_shards(folder) if (name := parse_shard_name(path))}
  return bool(found) and split not in found


def open_training_data(config: InputConfig, read: ReadUtterance) -> tuple[RecordData, ...]:
  """The datasets of the mixture; without a mixture, the one of `data_dir`.

  Raises:
    ValueError: as `open_data`.
  """
  if not config.mixture.data:
    return (open_data(config, read),)
  return tuple(
    _open(data.name, [data.data_dir], data.split or config.split, read)
    for data in config.mixture.data
  )


def _open(name: str, folders: list[str], split: str, read: ReadUtterance) -> RecordData:
  source = RecordSource([shard for folder in folders for shard in find_shards(folder, split)])
  where = f"{', '.join(folders)}, split '{split}'"
  if not len(source):
    raise ValueError(f"{where}: no records; convert the data again")
  return RecordData(name=name, where=where, source=source, read=read)


def check_hosts(host_index: int, host_count: int) -> None:
  """Raises ValueError unless 0 <= host_index < host_count."""
  if not 0 <= host_index < host_count:
    raise ValueError(f"host_index={host_index} of host_count={host_count}")


def read_options(config: InputConfig) -> grain.ReadOptions:
  """Threads and look-ahead of reading."""
  return grain.ReadOptions(
    num_threads=config.read_threads, prefetch_buffer_size=8 * config.read_threads
  )


class ClosingIterator:
  """Closes the grain iterator that it reads from, in time.

  Grain's iterators stop their threads in `__del__`, which at the end of a program runs after the
  modules it needs are gone; so they are closed and let go of before.
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
