"""Bookkeeping of a lane: clips that wait for a row, rows of prompts, and clips in slots."""

import dataclasses
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from maxtext_ext.decode.attention import query_blocks
from maxtext_ext.decode.controls import Controls, budget
from maxtext_ext.decode.drafts import with_draft
from maxtext_ext.decode.request import Request
from maxtext_ext.decode.shape import MIN_PROMPT, Shape
from maxtext_ext.input.collate import Arrays, ClipInfo
from maxtext_ext.input.packing import RowPacker
from maxtext_ext.input.prompts import pack_prompts
from maxtext_ext.input.utterance import Utterance

_LOOKAHEAD = 32  # clips among which those of a row are chosen
_MOST_TICKETS = 1 << 30


@dataclasses.dataclass
class Writing:
  """A clip that is being decoded.

  Attributes:
    prompt: its prompt tokens.
    controls: that it has.
    limit: places that it may use before it has to be given more.
    draft: what the text may begin with; a row may hold less of it.
    tokens, log_probs: written so far.
    accepted: tokens of them that the draft gave.
  """

  clip: ClipInfo
  prompt: int
  controls: Controls
  limit: int
  draft: tuple[int, ...] = ()
  tokens: list[int] = dataclasses.field(default_factory=list)
  log_probs: list[float] = dataclasses.field(default_factory=list)
  accepted: int = 0

  def add(self, *of_step: Any) -> None:
    """Adds what a step wrote: a token and its log-probability."""
    token, log_prob = of_step
    self.tokens.append(int(token))
    self.log_probs.append(float(log_prob))

  def text(self) -> tuple[list[int], list[float]]:
    """Returns the tokens, with an eos that ended them, and their log-probabilities."""
    return self.tokens, self.log_probs

  @property
  def steps(self) -> int:
    """Steps in which it has written."""
    return len(self.tokens)

  @property
  def width(self) -> int:
    """Places that a step takes."""
    return 1

  @property
  def places(self) -> int:
    """Places of its slot that it uses."""
    return self.prompt + self.width * self.steps

  @property
  def stalled(self) -> bool:
    """Returns whether it needs more places for its next step."""
    return self.places + self.width > self.limit

  def extend(self) -> None:
    """Raises the limit by a half, up to the longest text."""
    more = max(self.limit // 2, self.width)
    self.limit = min(self.prompt + self.width * self.controls.most, self.limit + more)

  def accept(self, log_probs: Sequence[float]) -> None:
    """Adds the first tokens of the draft, of which these are the log-probabilities."""
    self.accepted = len(log_probs)
    self.tokens += self.draft[: self.accepted]
    self.log_probs += log_probs


def expected_places(
  utterance: Utterance, *, tokens_per_second: float, max_new_tokens: int, width: int = 1
) -> int:
  """Places for a clip's prompt and a text of the usual length for its duration.

  Args:
    width: places of a token.
  """
  tokens = budget(tokens_per_second, utterance.seconds)
  return len(utterance.prompt) + width * min(max_new_tokens, tokens)


@dataclasses.dataclass(frozen=True)
class _Entry:
  """A prefilled clip: its ticket, row and place in the ready queue."""

  ticket: int
  row: int
  first: int
  hidden: int


class PackedRow(NamedTuple):
  """A row of a lane.

  Attributes:
    row: where it is stored; the place behind all rows where it has no clips.
    clips: prompts, each with its draft.
    tickets: of the clips.
    lengths: prompt and draft tokens of each.
  """

  row: int
  clips: list[Utterance]
  tickets: tuple[int, ...]
  lengths: list[tuple[int, int]]


class Lane:
  """Clips of one device.

  Args:
    make: a new clip's record.
  """

  def __init__(self, shape: Shape, make: Callable[[Request], Writing]) -> None:
    self._shape, self._make = shape, make
    geometry = dataclasses.replace(shape.geometry, tails_share_windows=False)
    self._packer = RowPacker(
      geometry=geometry,
      max_tokens=shape.row_tokens,
      windows=shape.windows,
      lookahead=_LOOKAHEAD,
    )
    self._waiting: dict[int, tuple[Utterance, Writing]] = {}
    self._entries: deque[_Entry] = deque()
    self._in_rows = [0] * shape.rows  # entries that hold each row
    self._next = 0
    self.writing: dict[int, Writing] = {}
    self.slots: list[int] = [-1] * shape.slots  # ticket of each

  @property
  def has_room(self) -> bool:
    """Returns whether it takes another clip to wait for a row."""
    return not self._packer.full

  @property
  def waiting(self) -> int:
    """Clips that wait for a row."""
    return len(self._waiting)

  @property
  def busy(self) -> bool:
    """Returns whether there is anything to do."""
    return bool(self._waiting or self.writing)

  @property
  def places(self) -> int:
    """Places of a slot that its clips need."""
    limits = [clip.limit for clip in self.writing.values()]
    limits += [clip.limit for _, clip in self._waiting.values()]
    return max(limits, default=0)

  @property
  def has_drafts(self) -> bool:
    """Returns whether a clip that waits for a row has a draft."""
    return any(clip.draft for _, clip in self._waiting.values())

  def add(self, request: Request) -> None:
    """Adds a clip whose prompt fits a row; its draft is cut to fit too."""
    clip = self._make(request)
    clip.draft = clip.draft[: self._shape.row_tokens - clip.prompt]
    utterance = with_draft(request.utterance, clip.draft)
    ticket, self._next = self._next, (self._next + 1) % _MOST_TICKETS
    self._waiting[ticket] = utterance, clip
    tokens = max(MIN_PROMPT, len(utterance.prompt))
    self._packer.add(ticket, tokens=tokens, chunks=utterance.chunks)

  def rows_wanted(self) -> int:
    """Rows to prefill now: for about as many clips as there are slots, as far as rows are free."""
    if not self._waiting:
      return 0
    mean = sum(len(clip.prompt) for clip, _ in self._waiting.values()) / len(self._waiting)
    wanted = math.ceil(self._shape.slots * mean / self._shape.row_tokens)
    return min(wanted, self._in_rows.count(0))

  def next_row(self) -> PackedRow:
    """Takes a row's clips from those that wait."""
    if not self._waiting or 0 not in self._in_rows:
      return PackedRow(self._shape.rows, [], (), [])
    row = self._in_rows.index(0)
    packed = PackedRow(row, [], self._packer.pop().keys, [])
    first = row * self._shape.row_tokens
    for number, ticket in enumerate(packed.tickets):
      utterance, clip = self._waiting.pop(ticket)
      packed.clips.append(utterance)
      packed.lengths.append((clip.prompt, len(clip.draft)))
      self._entries.append(_Entry(ticket, row, first, row * self._shape.clips + number))
      self.writing[ticket] = clip
      first += len(utterance.prompt)
    self._in_rows[row] = len(packed.tickets)
    return packed

  def entries(self) -> Arrays:
    """Arrays of the clips that wait for a slot, as `Programs.window` takes them, of one lane."""
    size = self._shape.entries
    names = ("first", "hidden", "length", "left", "limit", "ticket")
    table: Arrays = {name: np.zeros((1, size), np.int32) for name in names}
    table |= {name: np.zeros((1, size), np.float32) for name in ("temperature", "penalty")}
    table["seed"] = np.zeros((1, size, 2), np.uint32)
    for i, entry in enumerate(self._entries):
      clip = self.writing[entry.ticket]
      own = clip.controls
      values = (entry.first, entry.hidden, clip.prompt, own.most, clip.limit, entry.ticket)
      for name, value in zip(names, values, strict=True):
        table[name][0, i] = value
      table["temperature"][0, i] = own.temperature
      table["penalty"][0, i] = own.repetition_penalty
      table["seed"][0, i] = divmod(own.seed, 2**32)
    table["count"] = np.array([len(self._entries)], np.int32)
    return table

  def limits(self) -> np.ndarray:
    """int32 [slots]: places that the clip of each slot may use; 0: as before."""
    clips = [self.writing.get(ticket) for ticket in self.slots]
    return np.array([clip.limit if clip else 0 for clip in clips], np.int32)

  def accept(self, row: PackedRow, accepted_G: np.ndarray, log_prob_L: np.ndarray) -> None:
    """Gives the clips of a row what was accepted of their drafts."""
    place = 0
    for ticket, (prompt, draft), accepted in zip(
      row.tickets, row.lengths, accepted_G.tolist(), strict=False
    ):
      first = place + prompt
      self.writing[ticket].accept(log_prob_L[first : first + accepted].tolist())
      place += prompt + draft

  def drop_taken(self, count: int) -> None:
    """Removes the first entries, which have got slots."""
    for _ in range(count):
      self._in_rows[self._entries.popleft().row] -= 1


def pack_rows(rows: Sequence[PackedRow], shape: Shape, pad_id: int) -> Arrays:
  """Makes the arrays of `Programs.prefill` for the next row of each lane of this host."""
  clips = [row.clips for row in rows]
  arrays = pack_prompts(
    clips,
    max_tokens=shape.row_tokens,
    windows=shape.windows,
    clips=shape.clips,
    pad_id=pad_id,
    audio_dtype=shape.audio_dtype,
    geometry=shape.geometry,
  )
  arrays["row"] = np.array([row.row for row in rows], np.int32)
  arrays["query_blocks"] = np.zeros((len(rows), 3, shape.query_blocks), np.int32)
  arrays["query_block_count"] = np.zeros(len(rows), np.int32)
  for number, row in enumerate(clips):
    ends = np.cumsum([len(clip.prompt) for clip in row]).tolist()
    starts = [0, *ends[:-1]]
    blocks = query_blocks(list(zip(starts, ends, strict=False)), shape.query_block)
    arrays["query_block_count"][number] = len(blocks)
    for i, block in enumerate(blocks):
      arrays["query_blocks"][number, :, i] = block
  return arrays
