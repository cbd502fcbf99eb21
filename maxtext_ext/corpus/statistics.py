"""Statistics of records: one row of numbers for each, and counts."""

import dataclasses
import hashlib
import math
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import google_crc32c
import numpy as np

from maxtext_ext.audio.levels import measure
from maxtext_ext.audio.limits import SAMPLE_RATE
from maxtext_ext.corpus.characters import text_flags
from maxtext_ext.records.schema import Record, RecordError

PROBLEMS_KEPT = 10

# 77 bytes a record: 500,000 of them take 39 MB. `shard` and `position` say where it is, `group` and
# `speaker` are indices into the survey's lists (speaker -1: not known), `flags` are text_flags, and
# the last three are digests: equal ones mean the same text, samples or id.
ROW = np.dtype(
  [
    ("shard", "i4"),
    ("position", "i8"),
    ("group", "i4"),
    ("speaker", "i4"),
    ("samples", "i8"),
    ("characters", "i4"),
    ("words", "i4"),
    ("peak", "f4"),
    ("rms", "f4"),
    ("clipped", "f4"),
    ("offset", "f4"),
    ("flags", "u1"),
    ("text", "u8"),
    ("sound", "u8"),
    ("id", "u8"),
  ]
)
_BLOCK = 4096  # rows kept as tuples, which take ten times the room


class Group(NamedTuple):
  """Line of the table of statistics."""

  split: str
  dataset: str
  language: str  # "" when the records do not say


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Survey:
  """Statistics of some records. Surveys of parts add up to the survey of all, see `merge`.

  Attributes:
    rows: [R] of ROW.
    groups: sorted.
    speakers: (dataset, speaker), sorted: a name says nothing outside its corpus.
    characters: by language, how often each occurs.
    unreadable: records that cannot be used, by split.
    problems: reasons for the first PROBLEMS_KEPT of them.
  """

  rows: np.ndarray
  groups: tuple[Group, ...]
  speakers: tuple[tuple[str, str], ...]
  characters: dict[str, Counter[str]]
  unreadable: Counter[str]
  problems: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
  """Figures of some records.

  Attributes:
    records: their number.
    seconds: of audio, in all.
    shortest, median, longest: seconds of one record; NaN without records.
    characters, words: of the texts, in all; spaces count as characters.
    speakers: different ones; None when no record says who speaks.
  """

  records: int
  seconds: float
  shortest: float
  median: float
  longest: float
  characters: int
  words: int
  speakers: int | None

  @property
  def characters_per_second(self) -> float:
    """Over all the audio; NaN without any."""
    return self.characters / self.seconds if self.seconds else math.nan


class Surveyor:
  """Collector of one shard's statistics; `survey` is the result.

  Args:
    shard: index of the shard, for the rows.
    split: that of the shard.
  """

  def __init__(self, shard: int, split: str) -> None:
    self._shard = shard
    self._split = split
    self._tuples: list[tuple[float, ...]] = []
    self._blocks: list[np.ndarray] = []
    self._groups: dict[Group, int] = {}
    self._speakers: dict[tuple[str, str], int] = {}
    self._characters: dict[str, Counter[str]] = {}
    self._unreadable = 0
    self._problems: list[str] = []

  def add(self, record: Record, position: int) -> None:
    """Adds a record.

    Raises:
      RecordError: it has no samples, or NaN or infinite ones; it is not added then.
    """
    if not record.audio.size:
      raise RecordError("audio has 0 samples; leave the record out", record.sample_id)
    levels = measure(record.audio)
    if not math.isfinite(levels.rms):
      raise RecordError(
        "audio has NaN, infinite or absurdly large samples; convert it again from its original",
        record.sample_id,
      )
    language = record.language or ""
    group = Group(self._split, record.dataset_name, language)
    speaker = -1
    if record.speaker:
      name = (record.dataset_name, record.speaker)
      speaker = self._speakers.setdefault(name, len(self._speakers))
    self._tuples.append(
      (
        self._shard,
        position,
        self._groups.setdefault(group, len(self._groups)),
        speaker,
        len(record.audio),
        len(record.text),
        len(record.text.split()),
        levels.peak,
        levels.rms,
        levels.clipped,
        levels.offset,
        text_flags(record.text),
        _digest(" ".join(record.text.split())),
        _sound_digest(record.audio),
        _digest(record.sample_id),
      )
    )
    self._characters.setdefault(language, Counter()).update(record.text)
    if len(self._tuples) == _BLOCK:
      self._pack()

  def reject(self, place: str, reason: str) -> None:
    """Counts a record that cannot be used; `place` is its position, for messages."""
    self._unreadable += 1
    if len(self._problems) < PROBLEMS_KEPT:
      self._problems.append(f"{place}: {reason}")

  def survey(self) -> Survey:
    """Statistics of the records so far."""
    self._pack()
    part = Survey(
      rows=np.concatenate([np.empty(0, ROW), *self._blocks]),
      groups=tuple(self._groups),
      speakers=tuple(self._speakers),
      characters=self._characters,
      unreadable=Counter({self._split: self._unreadable} if self._unreadable else {}),
      problems=tuple(self._problems),
    )
    return merge([part])

  def _pack(self) -> None:
    self._blocks.append(np.array(self._tuples, ROW))
    self._tuples.clear()


def merge(parts: Sequence[Survey]) -> Survey:
  """Merges the surveys of parts, in their order; an empty survey for no parts."""
  groups = sorted({group for part in parts for group in part.groups})
  speakers = sorted({speaker for part in parts for speaker in part.speakers})
  characters: dict[str, Counter[str]] = {}
  unreadable: Counter[str] = Counter()
  blocks = [np.empty(0, ROW)]
  for part in parts:
    rows = part.rows.copy()
    rows["group"] = _translation(part.groups, groups)[rows["group"]]
    rows["speaker"] = _translation(part.speakers, speakers)[rows["speaker"]]
    blocks.append(rows)
    unreadable.update(part.unreadable)
    for language, counts in part.characters.items():
      characters.setdefault(language, Counter()).update(counts)
  return Survey(
    rows=np.concatenate(blocks),
    groups=tuple(groups),
    speakers=tuple(speakers),
    characters=dict(sorted(characters.items())),
    unreadable=unreadable,
    problems=tuple(problem for part in parts for problem in part.problems)[:PROBLEMS_KEPT],
  )


def summarize(rows: np.ndarray) -> Summary:
  """Computes the figures of some rows of a survey, [R] of ROW."""
  seconds = rows["samples"] / SAMPLE_RATE
  known = rows["speaker"][rows["speaker"] >= 0]
  return Summary(
    records=len(rows),
    seconds=float(seconds.sum()),
    shortest=float(seconds.min()) if len(rows) else math.nan,
    median=float(np.median(seconds)) if len(rows) else math.nan,
    longest=float(seconds.max()) if len(rows) else math.nan,
    characters=int(rows["characters"].sum()),
    words=int(rows["words"].sum()),
    speakers=len(np.unique(known)) if len(known) else None,
  )


def by_group(survey: Survey) -> dict[Group, Summary]:
  """Computes the figures of each split, dataset and language."""
  parts = _partition(survey.rows["group"], len(survey.groups))
  return {
    group: summarize(survey.rows[part]) for group, part in zip(survey.groups, parts, strict=True)
  }


def by_field(survey: Survey, field: str) -> dict[str, Summary]:
  """Computes figures by "split", "dataset" or "language", most audio first."""
  summaries = {name: summarize(survey.rows[part]) for name, part in rows_by(survey, field).items()}
  return dict(sorted(summaries.items(), key=lambda item: -item[1].seconds))


def rows_by(survey: Survey, field: str) -> dict[str, np.ndarray]:
  """Groups indices of rows by "split", "dataset" or "language", sorted by its name."""
  names = sorted({getattr(group, field) for group in survey.groups})
  code_of = {name: code for code, name in enumerate(names)}
  codes = np.array([code_of[getattr(group, field)] for group in survey.groups], int)
  parts = _partition(codes[survey.rows["group"]], len(names))
  return dict(zip(names, parts, strict=True))


def _partition(codes: np.ndarray, count: int) -> list[np.ndarray]:
  """Finds the positions of each of the codes 0 to count - 1, in one pass for any count."""
  order = np.argsort(codes, kind="stable")
  ends = np.cumsum(np.bincount(codes, minlength=count)[:count])
  return [order[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=False)]


def _translation(old: Sequence[Hashable], new: Sequence[Hashable]) -> np.ndarray:
  """Returns indices into `new` for those into `old`; -1 stays -1 (it indexes the last)."""
  index_of = {name: index for index, name in enumerate(new)}
  return np.array([*(index_of[name] for name in old), -1])


def _digest(text: str) -> int:
  return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _sound_digest(samples: np.ndarray) -> int:
  """Returns the CRCs of both halves: a full hash would dominate the time of a record."""
  data = samples.tobytes()
  middle = len(data) // 2
  return google_crc32c.value(data[:middle]) << 32 | google_crc32c.value(data[middle:])
