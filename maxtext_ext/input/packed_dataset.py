"""Packed batches as a grain dataset with an exact, small position."""

import dataclasses
from typing import Any

import grain

from maxtext_ext.input.collate import Arrays, pack_batch
from maxtext_ext.input.config import InputConfig
from maxtext_ext.input.drops import Drop, DropCounter
from maxtext_ext.input.packing import Row, RowPacker, unfit_reason
from maxtext_ext.input.position import Position
from maxtext_ext.input.reading import ReadElement, RecordData, read_options
from maxtext_ext.input.sharding import HostShard
from maxtext_ext.input.spec_augment import chunk_masks, record_seed
from maxtext_ext.input.utterance import Utterance


@dataclasses.dataclass(frozen=True, kw_only=True)
class PackPlan:
  """How elements become the batches of one host.

  Attributes:
    config: the run's input.
    read: what an element is.
    share: the elements that this host reads, from the start.
    windows: W.
    pad_id: token of empty slots.
    host_index, host_count: which host this is. In evaluation every host reads all elements and
      keeps one of every `host_count` rows, so each makes as many batches; the rows of the last one
      may be empty.
    steps: length of the run, of which the curriculum's stages are fractions; None: evaluation,
      without curriculum and SpecAugment.
    identity: figures that must not have changed when a position is restored.
  """

  config: InputConfig
  read: ReadElement
  share: HostShard
  windows: int
  pad_id: int
  host_index: int
  host_count: int
  steps: int | None
  identity: dict[str, int]

  @property
  def records(self) -> int:
    """Records of an epoch of all datasets."""
    return sum(self.read.order.lengths)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PackedBatch:
  """A host's batch, and whose sound is in it."""

  arrays: Arrays
  records: tuple[str, ...]  # ids, row by row


class PackedBatches(grain.IterDataset[PackedBatch]):
  """Batches of packed rows of a host's elements."""

  def __init__(self, plan: PackPlan) -> None:
    super().__init__()
    self._plan = plan

  def __iter__(self) -> "PackedBatchesIterator":
    return PackedBatchesIterator(self._plan)


class PackedBatchesIterator(grain.DatasetIterator[PackedBatch]):
  """Iterator of PackedBatches.

  Its state holds numbers of elements, not audio; those that wait in the look-ahead buffer are read
  again when the state is set.
  """

  def __init__(self, plan: PackPlan) -> None:
    super().__init__()
    self._plan = plan
    self._step = 0
    self._tally = DropCounter(plan.config.max_bad_fraction)
    self._start(plan.share)

  def _start(self, share: HostShard) -> None:
    """Reads a share from its beginning into an empty buffer."""
    elements = grain.MapDataset.source(share).map(self._plan.read)
    self._share = share
    self._reader = iter(elements.to_iter_dataset(read_options(self._plan.config)))
    self._taken = 0  # elements of the share that the reader has given
    self._passed_over = 0  # elements in a row that did not enter the buffer
    self._waiting: dict[int, Utterance] = {}
    self._packer = RowPacker(
      max_tokens=self._plan.config.max_tokens,
      windows=self._plan.windows,
      lookahead=self._plan.config.lookahead,
    )

  def __next__(self) -> PackedBatch:
    plan = self._plan
    max_words = None if plan.steps is None else plan.config.max_words(self._step, plan.steps)
    hosts, mine = (plan.host_count, plan.host_index) if plan.steps is None else (1, 0)
    rows: list[Row] = []
    utterances: dict[int, Utterance] = {}
    for number in range(plan.config.rows * hosts):
      self._fill_buffer(max_words)
      if not len(self._packer):
        if number == 0:
          raise StopIteration
        break
      row = self._packer.pop()
      taken = {key: self._waiting.pop(key) for key in row.keys}
      if number % hosts == mine:
        rows.append(row)
        utterances |= taken
    self._step += 1
    arrays = pack_batch(
      rows,
      utterances,
      batch_rows=plan.config.rows,
      max_tokens=plan.config.max_tokens,
      windows=plan.windows,
      pad_id=plan.pad_id,
      audio_dtype=plan.config.audio_dtype,
      masks=self._masks(utterances),
    )
    records = tuple(utterance.sample_id for utterance in utterances.values())
    return PackedBatch(arrays=arrays, records=records)

  def _fill_buffer(self, max_words: int | None) -> None:
    while not self._packer.full:
      try:
        read = next(self._reader)
      except StopIteration:
        return
      element, self._taken = self._share[self._taken], self._taken + 1
      self._tally.count()
      if self._admits(read, max_words):
        self._wait(element, read)
        if read.words:  # noise alone tells nothing about the data
          self._passed_over = 0
      else:
        self._passed_over += 1
        self._check_progress(max_words)

  def _admits(self, read: Utterance | Drop, max_words: int | None) -> bool:
    if isinstance(read, Drop):
      self._tally.drop(read)
      return False
    if max_words is not None and read.words > max_words:
      return False
    config = self._plan.config
    reason = unfit_reason(
      read.tokens, read.chunks, max_tokens=config.max_tokens, windows=self._plan.windows
    )
    if reason:
      self._tally.drop(Drop("fits no row", f"{read.sample_id}: {reason}"))
    return not reason

  def _wait(self, element: int, utterance: Utterance) -> None:
    self._waiting[element] = utterance
    self._packer.add(element, tokens=utterance.tokens, chunks=utterance.chunks)

  def _check_progress(self, max_words: int | None) -> None:
    """Without this, a stream that repeats and has nothing to use would be read for ever."""
    # From the first record of an epoch to the last of the next there are all but two epochs.
    if self._plan.steps is None or self._passed_over <= 2 * self._plan.records:
      return
    where = "; ".join(d.where for d in self._plan.read.datasets if isinstance(d, RecordData))
    limit = "" if max_words is None else f" with at most {max_words} words (curriculum)"
    raise ValueError(
      f"{where}: a whole epoch ({self._plan.records} records) had no utterance to use{limit}; "
      f"dropped so far: {dict(self._tally.dropped)}"
    )

  def _masks(self, utterances: dict[int, Utterance]) -> dict[int, Any] | None:
    config, order = self._plan.config, self._plan.read.order
    if self._plan.steps is None or not config.spec_augment.on:
      return None
    return {
      element: chunk_masks(
        config.spec_augment,
        utterance.frames,
        record_seed(config.seed, order[element].epoch, utterance.sample_id),
      )
      for element, utterance in utterances.items()
    }

  def _identity(self) -> dict[str, int]:
    config = self._plan.config
    return {
      **self._plan.identity,
      "windows_per_row": self._plan.windows,
      "max_tokens": config.max_tokens,
      "lookahead": config.lookahead,
      "seed": config.seed,
    }

  def get_state(self) -> dict[str, Any]:
    """The position, as JSON can hold it."""
    left = self._share.after(self._taken)
    return Position(
      host=self._plan.host_index,
      hosts=self._plan.host_count,
      step=self._step,
      first=left.first,
      next=left.next,
      waiting=tuple(self._packer.keys),
      tally=self._tally.get_state(),
      identity=self._identity(),
    ).to_json()

  def set_state(self, state: dict[str, Any]) -> None:
    """Continues at a position of this host.

    Raises:
      ValueError: the data or the packing is not that of the position, or it is another host's.
    """
    position, plan = Position.from_json(state), self._plan
    if (position.host, position.hosts) != (plan.host_index, plan.host_count):
      raise ValueError(
        f"the position is of host {position.host} of {position.hosts}, this is host "
        f"{plan.host_index} of {plan.host_count}; give the positions of all hosts to `resume`"
      )
    position.require_same(self._identity())
    self._reader.close()
    self._start(dataclasses.replace(plan.share, first=position.first, next=position.next))
    self._step = position.step
    self._tally.set_state(position.tally)
    for element in position.waiting:
      read = plan.read.map(element)
      # What waits has passed the filters and the curriculum of its step; the run may have changed
      # its filters since, and then it is dropped and counted like any other.
      if self._admits(read, max_words=None):
        self._wait(element, read)

  def close(self) -> None:
    """Stops reading."""
    self._reader.close()
    super().close()
