"""Packed batches as a grain dataset with an exact, small position."""

import logging
from collections import Counter
from dataclasses import dataclass
from typing import Any

import grain

from maxtext_ext.input.batch import Arrays, pack_batch
from maxtext_ext.input.config import InputConfig
from maxtext_ext.input.packing import Row, RowPacker, unfit_reason
from maxtext_ext.input.reading import Dropped, read_options
from maxtext_ext.input.spec_augment import chunk_masks, record_seed
from maxtext_ext.input.utterance import Utterance

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PackPlan:
  """How a stream of utterances becomes the batches of one host.

  Attributes:
    config: the run's input.
    windows: W.
    pad_id: token of empty slots.
    epoch_length: positions of one pass over the stream.
    steps: length of the run, of which the curriculum's stages are fractions; None: evaluation,
      without curriculum and SpecAugment.
    host_index, host_count: of every `host_count` rows of the stream this host keeps one (1: it
      keeps all). Every host makes as many batches; the rows of the last one may be empty.
    identity: figures that must not have changed when a position is restored.
  """

  config: InputConfig
  windows: int
  pad_id: int
  epoch_length: int
  steps: int | None = None
  host_index: int = 0
  host_count: int = 1
  identity: tuple[tuple[str, int], ...] = ()


class PackedBatches(grain.IterDataset[Arrays]):
  """Batches of packed rows from a stream of Utterance, and Dropped for what is left out."""

  def __init__(self, stream: grain.MapDataset, plan: PackPlan) -> None:
    super().__init__()
    self._stream = stream
    self._plan = plan

  def __iter__(self) -> "PackedBatchesIterator":
    return PackedBatchesIterator(self._stream, self._plan)


class PackedBatchesIterator(grain.DatasetIterator[Arrays]):
  """Iterator of PackedBatches.

  Its state holds positions, not audio: the next position of the stream, and those of the utterances
  that wait in the look-ahead buffer, which are read again when the state is set.
  """

  def __init__(self, stream: grain.MapDataset, plan: PackPlan) -> None:
    self._reader = iter(stream.to_iter_dataset(read_options(plan.config)))
    super().__init__(self._reader)
    self._stream = stream
    self._plan = plan
    self._reset()

  def _reset(self) -> None:
    self._step = 0
    self._position = 0  # of the next utterance that the reader gives
    self._dropped: Counter[str] = Counter()
    self._passed_over = 0  # utterances in a row that did not enter the buffer
    self._waiting: dict[int, Utterance] = {}
    self._packer = RowPacker(
      max_tokens=self._plan.config.max_tokens,
      windows=self._plan.windows,
      lookahead=self._plan.config.lookahead,
    )

  def __next__(self) -> Arrays:
    plan = self._plan
    max_words = None if plan.steps is None else plan.config.max_words(self._step, plan.steps)
    rows: list[Row] = []
    utterances: dict[int, Utterance] = {}
    for number in range(plan.config.rows * plan.host_count):
      self._fill_buffer(max_words)
      if not len(self._packer):
        if number == 0:
          raise StopIteration
        break
      row = self._packer.pop()
      taken = {key: self._waiting.pop(key) for key in row.keys}
      if number % plan.host_count == plan.host_index:
        rows.append(row)
        utterances |= taken
    self._step += 1
    return pack_batch(
      rows,
      utterances,
      batch_rows=plan.config.rows,
      max_tokens=plan.config.max_tokens,
      windows=plan.windows,
      pad_id=plan.pad_id,
      audio_dtype=plan.config.audio_dtype,
      masks=self._masks(utterances),
    )

  def _fill_buffer(self, max_words: int | None) -> None:
    while not self._packer.full:
      try:
        read = next(self._reader)
      except StopIteration:
        return
      position, self._position = self._position, self._position + 1
      if self._admits(read, max_words):
        self._wait(position, read)
        self._passed_over = 0
      else:
        self._passed_over += 1
        self._check_progress(max_words)

  def _admits(self, read: Utterance | Dropped, max_words: int | None) -> bool:
    if isinstance(read, Dropped):
      self._drop(read)
      return False
    if max_words is not None and read.words > max_words:
      return False
    config = self._plan.config
    reason = unfit_reason(
      read.tokens, read.chunks, max_tokens=config.max_tokens, windows=self._plan.windows
    )
    if reason:
      self._drop(Dropped("fits no row", f"{read.sample_id}: {reason}"))
    return not reason

  def _wait(self, position: int, utterance: Utterance) -> None:
    self._waiting[position] = utterance
    self._packer.add(position, tokens=utterance.tokens, chunks=utterance.chunks)

  def _drop(self, dropped: Dropped) -> None:
    if not self._dropped[dropped.reason]:
      _log.warning(
        "dropped (%s): %s; more of these are only counted", dropped.reason, dropped.detail
      )
    self._dropped[dropped.reason] += 1

  def _check_progress(self, max_words: int | None) -> None:
    """Without this, a stream that repeats and has nothing to use would be read for ever."""
    if self._plan.steps is None or self._passed_over <= self._plan.epoch_length:
      return
    config = self._plan.config
    limit = "" if max_words is None else f" with at most {max_words} words (curriculum)"
    raise ValueError(
      f"{config.data_dir}: a whole epoch ({self._plan.epoch_length} records of '{config.split}') "
      f"had no utterance to use{limit}; dropped so far: {dict(self._dropped)}"
    )

  def _masks(self, utterances: dict[int, Utterance]) -> dict[int, Any] | None:
    config = self._plan.config
    if self._plan.steps is None or not config.spec_augment.on:
      return None
    return {
      position: chunk_masks(
        config.spec_augment,
        utterance.frames,
        record_seed(config.seed, position // self._plan.epoch_length, utterance.sample_id),
      )
      for position, utterance in utterances.items()
    }

  def _identity(self) -> dict[str, int]:
    config = self._plan.config
    return {
      **dict(self._plan.identity),
      "windows_per_row": self._plan.windows,
      "max_tokens": config.max_tokens,
      "lookahead": config.lookahead,
      "seed": config.seed,
    }

  def get_state(self) -> dict[str, Any]:
    """The position, as JSON can hold it."""
    return {
      "step": self._step,
      "epoch": self._position // self._plan.epoch_length,
      "position": self._position,
      "waiting": self._packer.keys,
      "dropped": dict(self._dropped),
      "passed_over": self._passed_over,
      "identity": self._identity(),
    }

  def set_state(self, state: dict[str, Any]) -> None:
    """Continues at a position.

    Raises:
      ValueError: the data or the packing is not that of the position.
    """
    now, then = self._identity(), state["identity"]
    changed = [
      f"{name} {then.get(name)} -> {now.get(name)}"
      for name in sorted(now.keys() | then.keys())
      if now.get(name) != then.get(name)
    ]
    if changed:
      raise ValueError(
        f"the input position of the checkpoint is of other data or packing ({', '.join(changed)}); "
        "restore the old values, or start a new run from the checkpoint's weights"
      )
    self._reset()
    self._step = state["step"]
    self._position = state["position"]
    self._dropped = Counter(state["dropped"])
    self._passed_over = state["passed_over"]
    self._reader.set_state({"next_index": self._position})
    for position in state["waiting"]:
      self._wait(position, self._stream[position])
