"""Decoding of output shards: feeds clips to an engine, and creates each shard when it is complete.

Clips of several shards are with the engine at the same time, and answers may come in any order.
"""

import contextlib
import dataclasses
import itertools
import threading
from collections.abc import Callable, Generator, Iterable, Iterator

from maxtext_ext.decode.division import Division
from maxtext_ext.decode.folder import OutputFolder
from maxtext_ext.decode.parts import Part, join_lines
from maxtext_ext.decode.read_ahead import read_ahead
from maxtext_ext.evaluate.hypothesis import ERROR, Hypothesis
from maxtext_ext.evaluate.hypothesis_line import format_line
from maxtext_ext.input.drops import Drop, DropCounter
from maxtext_ext.input.utterance import Utterance

# Parts of a clip by its place in the source; of one that cannot be read its line, with the reason.
ReadClip = Callable[[int], Generator[Part | Hypothesis, None, None]]
# Clips -> a line for each, in any order: what an engine does.
Transcribe = Callable[[Iterator[Utterance]], Iterator[Hypothesis]]


@dataclasses.dataclass(kw_only=True)
class Tally:
  """Counts of what a process has decoded.

  Attributes:
    clips: including those that could not be read.
    seconds: of audio.
    cut: transcripts that a limit cut.
    failed: clips that could not be read.
    first_failure: id and reason of the first of them.
    taken: clips of shards that another job had finished when this one came to them.
  """

  clips: int = 0
  seconds: float = 0.0
  cut: int = 0
  failed: int = 0
  first_failure: str = ""
  taken: int = 0

  def add(self, line: Hypothesis) -> None:
    """Counts a line."""
    self.clips += 1
    self.seconds += line.duration
    self.cut += line.is_cut
    if reason := line.extra.get(ERROR):
      self.failed += 1
      self.first_failure = self.first_failure or f"{line.id}: {reason}"

  def merge(self, other: "Tally") -> None:
    """Adds the counts of another process."""
    for name in ("clips", "seconds", "cut", "failed", "taken"):
      setattr(self, name, getattr(self, name) + getattr(other, name))
    self.first_failure = self.first_failure or other.first_failure

  def note(self) -> str:
    """Describes it for a line of progress."""
    counts = {"cut": self.cut, "failed": self.failed}
    parts = [f"{self.clips} clips", f"{self.seconds:.0f} s of audio"]
    return ", ".join(parts + [f"{count} {name}" for name, count in counts.items() if count])


def decode_shards(
  folder: OutputFolder,
  division: Division,
  shards: Iterable[int],
  read: ReadClip,
  transcribe: Transcribe,
  *,
  threads: int,
  failures: DropCounter,
  has_reference: Callable[[int], bool] = lambda place: True,
  report: Callable[[Tally], None] = lambda tally: None,
) -> Tally:
  """Decodes shards that are not there yet, in their order.

  Args:
    folder: that this job has joined.
    division: of the clips.
    shards: to decode; those that another job has begun come last, and those that it finishes
      meanwhile are left out.
    read: called by several threads.
    transcribe: the engine.
    threads: that read clips ahead.
    failures: counter of clips that cannot be read, which limits them.
    has_reference: whether the text of a clip is known, by its place in the source.
    report: called after each clip.

  Raises:
    ValueError: two clips have the same dataset and id, or too many cannot be read.
    OSError: clips or the folder cannot be reached.
  """
  collector = _Collector(folder, has_reference, report)

  def is_left(shard: int) -> bool:
    if not folder.is_finished(shard):
      return True
    collector.tally.taken += len(division.places(shard))
    return False

  put_off: list[int] = []  # shards that others have begun

  def clips() -> Iterator[Utterance]:
    yield from clips_of(shards, folder.claim)
    yield from clips_of(put_off, lambda shard: True)

  def clips_of(shards: Iterable[int], begin: Callable[[int], bool]) -> Iterator[Utterance]:
    items = (
      (shard, place) for shard in shards if is_left(shard) for place in division.places(shard)
    )
    ahead = read_ahead(items, lambda item: read(item[1]), threads, _seconds)
    with contextlib.closing(ahead):
      for shard, group in itertools.groupby(ahead, lambda pair: pair[0][0]):
        if not is_left(shard):  # another job has finished it since it was read
          continue
        if not begin(shard):
          put_off.append(shard)
          continue
        collector.begin(shard, len(division.places(shard)))
        for (_, place), part in group:
          if isinstance(part, Hypothesis):
            failures.count()
            failures.drop(Drop("unreadable", f"{part.id}: {part.extra[ERROR]}", bad=True))
            collector.fail(shard, place, part)
            continue
          if part.last:
            failures.count()
          collector.expect(shard, place, part)
          if part.utterance is not None:
            yield part.utterance

  for line in transcribe(clips()):
    collector.take(line)
  collector.require_complete()
  folder.remove_claims()
  return collector.tally


def _seconds(part: Part | Hypothesis) -> float:
  """Returns the seconds of sound that a part holds in memory."""
  return part.held_seconds if isinstance(part, Part) else 0.0


@dataclasses.dataclass
class _Open:
  """Clip that is being decoded.

  Attributes:
    parts: so far.
    lines: of the parts; None: silence, or not answered yet.
    waiting: parts that are with the engine.
    ended: no other part follows.
    failed: the line of a clip that turned out bad behind its first parts.
  """

  parts: list[Part] = dataclasses.field(default_factory=list)
  lines: list[Hypothesis | None] = dataclasses.field(default_factory=list)
  waiting: int = 0
  ended: bool = False
  failed: Hypothesis | None = None

  def line(self) -> Hypothesis | None:
    """Returns the line of the clip; None: something of it is still missing."""
    if self.waiting or not self.ended:
      return None
    return self.failed or join_lines(self.parts, self.lines)


class _Collector:
  """Collector of the lines of shards that are being decoded; may be used by several threads."""

  def __init__(
    self,
    folder: OutputFolder,
    has_reference: Callable[[int], bool],
    report: Callable[[Tally], None],
  ) -> None:
    self.tally = Tally()
    self._folder, self._has_reference, self._report = folder, has_reference, report
    self._lines: dict[int, dict[int, Hypothesis]] = {}  # shard -> place -> line
    self._sizes: dict[int, int] = {}
    self._open: dict[tuple[int, int], _Open] = {}  # by shard and place
    # Shard, place and number of the part, by what the engine calls each part that it has.
    self._asked: dict[tuple[str, str], tuple[int, int, int]] = {}
    self._lock = threading.Lock()

  def begin(self, shard: int, size: int) -> None:
    """Expects so many lines of a shard."""
    with self._lock:
      self._lines[shard], self._sizes[shard] = {}, size

  def expect(self, shard: int, place: int, part: Part) -> None:
    """Adds the next part of a clip, and expects a line from the engine unless it is silence."""
    with self._lock:
      clip = self._open.setdefault((shard, place), _Open())
      if part.utterance is not None:
        key = (part.utterance.dataset_name, part.utterance.sample_id)
        if key in self._asked:
          raise ValueError(
            f"id {part.fields.sample_id!r} of dataset {part.fields.dataset_name!r} occurs twice;"
            " remove one, or name the datasets apart"
          )
        self._asked[key] = shard, place, len(clip.parts)
        clip.waiting += 1
      clip.parts.append(part)
      clip.lines.append(None)
      clip.ended = part.last
    self._finish(shard, place)

  def fail(self, shard: int, place: int, line: Hypothesis) -> None:
    """Ends a clip that cannot be used, with its line."""
    with self._lock:
      clip = self._open.setdefault((shard, place), _Open())
      clip.failed, clip.ended = line, True
    self._finish(shard, place)

  def take(self, line: Hypothesis) -> None:
    """Adds a line of the engine."""
    with self._lock:
      shard, place, number = self._asked.pop((line.dataset, line.id))
      clip = self._open[shard, place]
      clip.lines[number] = line
      clip.waiting -= 1
    self._finish(shard, place)

  def _finish(self, shard: int, place: int) -> None:
    """Adds the line of a clip that has ended; creates the shard when it has all."""
    with self._lock:
      line = self._open[shard, place].line()
      if line is None:
        return
      del self._open[shard, place]
      lines = self._lines[shard]
      known = self._has_reference(place)
      lines[place] = line if known else dataclasses.replace(line, reference=None)
      self.tally.add(line)
      complete = len(lines) == self._sizes[shard]
      if complete:
        del self._lines[shard], self._sizes[shard]
    if complete:
      ordered = (format_line(lines[place]) for place in sorted(lines))
      self._folder.finish(shard, "".join(f"{text}\n" for text in ordered).encode())
    self._report(self.tally)

  def require_complete(self) -> None:
    """Checks that the engine has answered all clips."""
    assert not self._open, f"no answer for {len(self._open)} clips"
    assert not self._lines
