"""Rounds of decoding: prefill rows, read what the last window wrote, start the next one.

The device computes prompts while the host reads. Hosts run the same programs in the same order:
once a round they agree on how many rows are prefilled and how many places a slot has.
"""

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from jax import Array

from maxtext_ext.decode.drafts import draft_arrays
from maxtext_ext.decode.layers import Weights
from maxtext_ext.decode.programs import Programs
from maxtext_ext.decode.reader import Reader
from maxtext_ext.decode.request import Request
from maxtext_ext.decode.shape import round_places
from maxtext_ext.decode.slots import Lane, PackedRow, Writing, pack_rows
from maxtext_ext.decode.state import FREE, Pool, Ready
from maxtext_ext.parallel import largest_of_hosts, local_rows, to_device

_NEVER = 1 << 20


@dataclass
class Counts:
  """Work of an engine on this host so far.

  Attributes:
    windows: times that the host waited for the device.
    steps: steps of all slots.
    slot_steps, tokens: slots in these steps, and those that wrote a token (of each hypothesis).
    places_read, places_used: of the cache in these steps, by all slots and by clips.
    rows, row_tokens, prompt_tokens: prefilled rows, their tokens, and those of prompts and drafts.
    drafted, accepted: tokens of drafts, and those that were accepted.
    moves: times that slots got another number of places.
    timed_slot_steps, timed_seconds: slots in steps beside which nothing else ran, and their time.
  """

  windows: int = 0
  steps: int = 0
  slot_steps: int = 0
  tokens: int = 0
  places_read: int = 0
  places_used: int = 0
  rows: int = 0
  row_tokens: int = 0
  prompt_tokens: int = 0
  drafted: int = 0
  accepted: int = 0
  moves: int = 0
  timed_slot_steps: int = 0
  timed_seconds: float = 0.0

  @property
  def token_seconds(self) -> float | None:
    """Time of a step, divided by its slots; None: it was not measured."""
    return self.timed_seconds / self.timed_slot_steps if self.timed_slot_steps else None

  def since(self, before: "Counts") -> "Counts":
    """Returns the work since an earlier count."""
    return Counts(**{f.name: getattr(self, f.name) - getattr(before, f.name) for f in fields(self)})


class Session:
  """Decoding of clips of one size, until none is left.

  Args:
    scope: makes the scope in which programs are called.
    weights: as the engine prepared them.
    reader: of the clips.
    size: of those that are decoded.
    make: a new clip's record.
    counts: to which its work is added.
    pad_id: token of empty places.
    each_round: as `Engine.run` takes it.
    arrays: slots, all of them free, and ready queue of an earlier session; None: new ones.
  """

  def __init__(
    self,
    programs: Programs,
    scope: Callable[[], AbstractContextManager[None]],
    weights: Weights,
    reader: Reader,
    size: int,
    *,
    make: Callable[[Request], Writing],
    counts: Counts,
    pad_id: int,
    each_round: Callable[[], None] | None,
    arrays: tuple[Pool, Ready] | None,
  ) -> None:
    self._programs, self._scope, self._weights = programs, scope, weights
    self._reader, self._size, self._each_round = reader, size, each_round
    self._counts, self._pad_id = counts, pad_id
    self._shape, self._placement = programs.shape, programs.division.by_lane
    lanes = programs.division.local_lanes
    self._lanes = [Lane(self._shape, make) for _ in range(lanes)]
    self._arrays = arrays
    self._verified: list[tuple[list[PackedRow], Array, Array]] = []  # since a window was started
    self._pending: Any = None  # results of the window that was started last, and of these rows
    self._started: float | None = None  # when it was, if the device does nothing else
    self._compiled: int | None = None  # places of the slots in it

  def run(self) -> Iterator[tuple[Writing, int]]:
    """Decodes; yields clips that have ended, and why."""
    while True:
      if self._each_round is not None:
        self._each_round()
      self._take_clips()
      busy = any(lane.busy for lane in self._lanes)
      rows, places, busy, drafts = largest_of_hosts(
        np.array(
          [
            max(lane.rows_wanted() for lane in self._lanes),
            max(lane.places for lane in self._lanes),
            busy,
            any(lane.has_drafts for lane in self._lanes),
          ]
        )
      ).tolist()
      if not busy:
        return
      with self._scope():
        self._make_room(places)
        for _ in range(rows):
          self._prefill(verify=bool(drafts))
      yield from self._read()
      with self._scope():
        self._start_window(more=bool(rows))

  @property
  def arrays(self) -> tuple[Pool, Ready] | None:
    """Returns slots and ready queue, for another session."""
    return self._arrays

  def _take_clips(self) -> None:
    """Gives waiting clips to the lanes in turn."""
    open_lanes = [lane for lane in self._lanes if lane.has_room]
    while open_lanes:
      for lane in sorted(open_lanes, key=lambda lane: lane.waiting):
        clip = self._reader.take(self._size)
        if clip is None:
          return
        lane.add(clip)
      open_lanes = [lane for lane in self._lanes if lane.has_room]

  def _prefill(self, *, verify: bool) -> None:
    rows = [lane.next_row() for lane in self._lanes]
    arrays = pack_rows(rows, self._shape, self._pad_id)
    pool, ready = self._pool_and_ready
    self._started = None
    lengths = [row.lengths for row in rows]
    if verify:
      arrays |= draft_arrays(lengths, row_tokens=self._shape.row_tokens, clips=self._shape.clips)
      batch = to_device(arrays, self._placement)
      ready, *found = self._programs.verify(self._weights, ready, batch)
      self._verified.append((rows, *found))
    else:
      ready = self._programs.prefill(self._weights, ready, to_device(arrays, self._placement))
    self._arrays = pool, ready
    counts = self._counts
    counts.rows += len(rows)
    counts.row_tokens += len(rows) * self._shape.row_tokens
    counts.prompt_tokens += sum(map(sum, itertools.chain(*lengths)))
    counts.drafted += sum(draft for _, draft in itertools.chain(*lengths))

  @property
  def _pool_and_ready(self) -> tuple[Pool, Ready]:
    assert self._arrays is not None, "there is room"
    return self._arrays

  def _make_room(self, needed: int) -> None:
    """Gives the slots the places that are needed."""
    places = round_places(needed)
    if self._arrays is None:
      self._arrays = self._programs.empty_pool(places), self._programs.empty_ready()
    pool, ready = self._arrays
    if places > pool.places:
      self._arrays = self._programs.grow(pool, places), ready
      self._counts.moves += 1
      self._started = None

  def _start_window(self, *, more: bool) -> None:
    tables = [lane.entries() for lane in self._lanes]
    entries = {key: np.concatenate([table[key] for table in tables]) for key in tables[0]}
    limits = np.concatenate([lane.limits() for lane in self._lanes])
    pool, ready = self._pool_and_ready
    limits = np.minimum(limits, pool.places)
    entries["limit"] = np.minimum(entries["limit"], pool.places)
    slots = self._shape.lanes * self._shape.slots
    early = max(1, slots // 8) if more else _NEVER
    arrays = to_device({**entries, "limits": limits}, self._placement)
    limit_B = arrays.pop("limits")
    # A window that may be compiled now, or that waits for prompts or clips, is not timed.
    is_alone = not more and self._reader.ended and pool.places == self._compiled
    self._started = time.perf_counter() if is_alone else None
    self._compiled = pool.places
    pool, *written = self._programs.window(
      self._weights, pool, ready, arrays, limit_B, np.int32(early)
    )
    self._arrays = pool, ready
    self._pending, self._verified = (self._verified, *written), []

  def _read(self) -> Iterator[tuple[Writing, int]]:
    """Reads what the last window wrote."""
    if self._pending is None:
      return
    verified, written, taken, work = self._pending
    self._pending = None
    for row, accepted, log_prob in verified:
      self._accept(row, local_rows(accepted), local_rows(log_prob))
    *chosen, ticket, end = (local_rows(x) for x in written)
    taken = local_rows(taken).tolist()
    self._count(ticket, int(work["steps"]), int(work["read"]))
    for number, lane in enumerate(self._lanes):
      lane.drop_taken(taken[number])
      for slot in range(self._shape.slots):
        row = number * self._shape.slots + slot
        for step in np.flatnonzero(ticket[row] != FREE).tolist():
          of_step = [array[row, step] for array in chosen]
          yield from self._credit(lane, slot, int(ticket[row, step]), of_step, end[row, step])

  def _accept(
    self, rows: list[PackedRow], accepted_RG: np.ndarray, log_prob_RL: np.ndarray
  ) -> None:
    """Adds accepted tokens of drafts to their clips."""
    for lane, row, *found in zip(self._lanes, rows, accepted_RG, log_prob_RL, strict=True):
      lane.accept(row, *found)
      self._counts.accepted += int(found[0][: len(row.tickets)].sum())

  def _credit(
    self, lane: Lane, slot: int, ticket: int, of_step: list[Any], end: Any
  ) -> Iterator[tuple[Writing, int]]:
    """Adds what a step wrote to its clip; yields the clip if it was the last."""
    clip = lane.writing[ticket]
    clip.add(*of_step)
    lane.slots[slot] = -1 if end else ticket
    if end:
      yield lane.writing.pop(ticket), int(end)
    elif clip.stalled:
      clip.extend()

  def _count(self, ticket: np.ndarray, steps: int, read: int) -> None:
    counts = self._counts
    written = ticket != FREE
    counts.windows += 1
    counts.steps += steps
    counts.slot_steps += steps * len(ticket)
    if self._started is not None:
      counts.timed_slot_steps += steps * len(ticket)
      counts.timed_seconds += time.perf_counter() - self._started
    counts.tokens += int(written.sum())
    counts.places_read += read * len(self._lanes) // self._shape.lanes
    for lane, rows in zip(self._lanes, np.split(ticket, len(self._lanes)), strict=True):
      tickets, times = np.unique(rows[rows != FREE], return_counts=True)
      for number, count in zip(tickets.tolist(), times.tolist(), strict=True):
        clip = lane.writing[number]
        first = clip.places + clip.width
        counts.places_used += count * first + clip.width * count * (count - 1) // 2
