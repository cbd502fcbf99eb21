"""Packing of utterances into the rows of batches, with an exact, small position."""

import contextlib
import dataclasses
from collections.abc import Sequence
from typing import Any, TypeGuard

import grain

from maxtext_ext.input.collate import PackedRows
from maxtext_ext.input.config import InputConfig
from maxtext_ext.input.drops import Drop, DropCounter
from maxtext_ext.input.packing import Row, RowPacker, unfit_reason
from maxtext_ext.input.position import Position, for_host
from maxtext_ext.input.reading import Elements, read_options
from maxtext_ext.input.sharding import HostShard
from maxtext_ext.input.transforms import Chain
from maxtext_ext.input.utterance import Utterance, require_planned


@dataclasses.dataclass(frozen=True, kw_only=True)
class PackRows:
  """Utterances -> PackedRows, as many rows as a batch has.

  Clips of (60 tokens, 3 chunks), (60, 3), (40, 5), with two rows of 100 tokens and 1 window ->
  PackedRows(rows=[Row(keys=(0, 2), ...), Row(keys=(1,), ...)], utterances={0: ..., 2: ..., 1: ...})

  Drops are counted, and so are utterances that fit no row.

  Attributes:
    config: rows of a batch, their text slots, how far to look ahead, and the curriculum.
    windows: W of a row.
    steps: length of the run, of which the curriculum's stages are fractions; None: no curriculum,
      and an end.
    keep_index, keep_count: of every `keep_count` rows, the `keep_index`-th is kept. In evaluation,
      where every host packs all elements, this divides the rows among the hosts, each with equally
      many batches; rows of the last one may be missing.
    with_sound: reads the audio of utterances in kept rows, if rows are packed by stored lengths;
      None: utterances already have their audio.
  """

  config: InputConfig
  windows: int
  steps: int | None = None
  keep_index: int = 0
  keep_count: int = 1
  with_sound: Chain | None = None

  def dataset(self, elements: Elements, chain: Chain) -> grain.IterDataset[PackedRows]:
    """Returns the packed rows of elements that go through a chain."""
    return _PackedDataset(self, elements, chain)

  def position_of(self, positions: Sequence[Position], host: int, hosts: int) -> Position:
    """Returns the position of a host, from those of all hosts before, see `position.for_host`."""
    return for_host(positions, host, hosts)

  def max_words(self, step: int) -> int | None:
    """Returns the most words of a text in the batch of a step; None: any number."""
    return None if self.steps is None else self.config.curriculum.max_words(step, self.steps)


class _PackedDataset(grain.IterDataset[PackedRows]):
  def __init__(self, pack: PackRows, elements: Elements, chain: Chain) -> None:
    super().__init__()
    self._arguments = pack, elements, chain

  def __iter__(self) -> "_PackedIterator":
    return _PackedIterator(*self._arguments)


class _PackedIterator(grain.DatasetIterator[PackedRows]):
  """Iterator of packed rows.

  Its state holds places in the order, not audio; utterances in the look-ahead buffer are read again
  when the state is set.
  """

  def __init__(self, pack: PackRows, elements: Elements, chain: Chain) -> None:
    super().__init__()
    self._pack = pack
    self._elements = elements
    self._chain = chain
    self._step = 0
    self._counter = DropCounter(pack.config.filters.max_bad_fraction)
    self._start(elements.shard)

  def _start(self, shard: HostShard) -> None:
    """Reads a shard from its beginning into an empty buffer."""
    utterances = grain.MapDataset.source(shard).map(self._read)
    self._shard = shard
    self._reader = iter(utterances.to_iter_dataset(read_options(self._pack.config)))
    self._taken = 0  # elements of the shard that the reader has given
    self._passed_over = 0  # elements in a row that did not enter the buffer
    self._waiting: dict[int, Utterance] = {}
    self._packer = RowPacker(
      geometry=self._pack.config.geometry,
      max_tokens=self._pack.config.max_tokens,
      windows=self._pack.windows,
      lookahead=self._pack.config.packing.packing_lookahead,
    )

  def _read(self, place: int) -> Utterance | Drop:
    return self._chain.map(self._elements.order[place])

  def __next__(self) -> PackedRows:
    pack, max_words = self._pack, self._pack.max_words(self._step)
    rows: list[Row] = []
    utterances: dict[int, Utterance] = {}
    for number in range(pack.config.rows * pack.keep_count):
      self._fill_buffer(max_words)
      if not len(self._packer):
        if number == 0:
          raise StopIteration
        break
      row = self._packer.pop()
      taken = {place: self._waiting.pop(place) for place in row.keys}
      if number % pack.keep_count == pack.keep_index:
        rows.append(row)
        utterances |= taken
    self._step += 1
    if pack.with_sound is None:
      return PackedRows(rows=tuple(rows), utterances=utterances)
    utterances = self._read_sound(pack.with_sound, utterances)
    return PackedRows(rows=tuple(row.only(utterances) for row in rows), utterances=utterances)

  def _read_sound(self, chain: Chain, planned: dict[int, Utterance]) -> dict[int, Utterance]:
    """Reads the utterances that were packed by their lengths; drops those that turn out bad."""
    if not planned:
      return {}
    places = grain.MapDataset.source(list(planned))
    read = places.map(lambda place: chain.map(self._elements.order[place]))
    result = {}
    with contextlib.closing(iter(read.to_iter_dataset(read_options(self._pack.config)))) as reader:
      for (place, expected), utterance in zip(planned.items(), reader, strict=True):
        if isinstance(utterance, Drop):
          self._counter.drop(utterance)
        else:
          sizes = ((each.tokens, each.chunks) for each in (utterance, expected))
          require_planned(utterance.sample_id, *sizes)
          result[place] = utterance
    return result

  def _fill_buffer(self, max_words: int | None) -> None:
    while not self._packer.full:
      try:
        read = next(self._reader)
      except StopIteration:
        return
      place, self._taken = self._shard[self._taken], self._taken + 1
      self._counter.count()
      if self._admits(read, max_words):
        self._wait(place, read)
        if read.words:  # noise alone tells nothing about the data
          self._passed_over = 0
      else:
        self._passed_over += 1
        self._check_progress(max_words)

  def _admits(self, read: Utterance | Drop, max_words: int | None) -> TypeGuard[Utterance]:
    if isinstance(read, Drop):
      self._counter.drop(read)
      return False
    if max_words is not None and read.words > max_words:
      return False
    config = self._pack.config
    reason = unfit_reason(
      read.tokens,
      read.chunks,
      geometry=config.geometry,
      max_tokens=config.max_tokens,
      windows=self._pack.windows,
    )
    if reason:
      self._counter.drop(Drop("fits no row", f"{read.sample_id}: {reason}"))
    return not reason

  def _wait(self, place: int, utterance: Utterance) -> None:
    self._waiting[place] = utterance
    self._packer.add(place, tokens=utterance.tokens, chunks=utterance.chunks)

  def _check_progress(self, max_words: int | None) -> None:
    """Stops an endless stream without any usable record."""
    elements = self._elements
    # From the first record of an epoch to the last of the next there are all but two epochs.
    if self._pack.steps is None or self._passed_over <= 2 * elements.records:
      return
    limit = "" if max_words is None else f" with at most {max_words} words (curriculum)"
    raise ValueError(
      f"{elements.where}: a whole epoch ({elements.records} records) had no utterance to use"
      f"{limit}; dropped so far: {dict(self._counter.dropped)}"
    )

  def _identity(self) -> dict[str, int]:
    config = self._pack.config
    return {
      **self._elements.identity,
      "windows_per_row": self._pack.windows,
      "max_tokens": config.max_tokens,
      "lookahead": config.packing.packing_lookahead,
      "seed": config.seed,
    }

  def get_state(self) -> dict[str, Any]:
    """Returns the position as JSON values."""
    left = self._shard.after(self._taken)
    return Position(
      host=self._elements.host_index,
      hosts=self._elements.host_count,
      step=self._step,
      first=left.first,
      next=left.next,
      waiting=tuple(self._packer.keys),
      tally=self._counter.get_state(),
      identity=self._identity(),
    ).to_json()

  def set_state(self, state: dict[str, Any]) -> None:
    """Continues at a position of this host.

    Raises:
      ValueError: the data or the packing is not that of the position, or it is another host's.
    """
    position, elements = Position.from_json(state), self._elements
    position.require_host(elements.host_index, elements.host_count)
    position.require_same(self._identity())
    self._reader.close()
    self._start(dataclasses.replace(elements.shard, first=position.first, next=position.next))
    self._step = position.step
    self._counter.set_state(position.tally)
    for place in position.waiting:
      read = self._read(place)
      # What waits has passed the filters and the curriculum of its step; the run may have changed
      # its filters since, and then it is dropped and counted like any other.
      if self._admits(read, max_words=None):
        self._wait(place, read)

  def close(self) -> None:
    """Stops reading."""
    self._reader.close()
    super().close()
