"""Scoring of the Open ASR Leaderboard, as of August 2026 (huggingface/open_asr_leaderboard)."""

import difflib
import logging
import os
import re
from collections.abc import Sequence
from typing import ClassVar

from etils import epath

from maxtext_ext.evaluate.boards.protocol import (
  Board,
  Figures,
  Protocol,
  by_set,
  file_name,
  write_lines,
)
from maxtext_ext.evaluate.hypothesis import Hypothesis, number
from maxtext_ext.evaluate.wer import Scores, Texts
from maxtext_ext.text.normalize import get_normalizer
from maxtext_ext.text.normalize.open_asr import LANGUAGES

_ENGLISH = "english_open_asr"
# Sets of other languages are called so.
_LANGUAGE_OF_SET = re.compile(rf"(?:fleurs|mcv|mls)_({'|'.join(LANGUAGES)})(?:_|$)")
_PARENT, _INDEX = "parent_id", "chunk_index"
_IGNORED = "ignore time segment in scoring"

_log = logging.getLogger(__name__)


class OpenAsr(Protocol):
  """Normaliser of the language, merged compounds, rates in percent with two digits."""

  languages: ClassVar[frozenset[str]] = frozenset({"English", *LANGUAGES.values()})
  alignment: ClassVar[str] = "compounds"

  def prepare(self, hypotheses: Sequence[Hypothesis]) -> list[Hypothesis]:
    """Joins the chunks of a session, whose reference is that of the session."""
    prepared = []
    for items in by_set(hypotheses).values():
      prepared += _join_chunks(items) if _PARENT in items[0].extra else items
    return prepared

  def normalizer_of(self, hypothesis: Hypothesis) -> str:
    """English, unless the set's name or the language is one of the five others."""
    match = _LANGUAGE_OF_SET.search(hypothesis.dataset)
    language = LANGUAGES[match[1]] if match else hypothesis.language
    return (
      f"{language.lower()}_open_asr" if language and language in LANGUAGES.values() else _ENGLISH
    )

  def texts(self, hypotheses: Sequence[Hypothesis]) -> list[Texts]:
    """Normalises, and in other languages than English joins words as the other side has them."""
    return [
      pair if self.normalizer_of(item) == _ENGLISH else join_words(pair)
      for item, pair in zip(hypotheses, super().texts(hypotheses), strict=True)
    ]

  def board(self, hypotheses: Sequence[Hypothesis], scores: Scores) -> Board:
    """WER of each set, in percent; RTFx where every line gives its `time` (seconds)."""
    sets: dict[str, Figures] = {}
    totals = []
    for name, items in by_set(hypotheses).items():
      rate = scores.by_dataset[name].words.rate
      total = _times(items)
      totals.append(total)
      speed = None if total is None else round(total[0] / total[1], 4)
      sets[name] = {"WER": round(100 * rate, 2), "RTFx": speed}
    rates = [figures["WER"] for figures in sets.values()]
    speed = None
    if timed := [total for total in totals if total is not None]:
      speed = round(sum(audio for audio, _ in timed) / sum(time for _, time in timed), 2)
    mean = round(sum(rate for rate in rates if rate is not None) / len(rates), 2)
    return Board(sets=sets, average={"WER": mean, "RTFx": speed})

  def write(
    self, hypotheses: Sequence[Hypothesis], folder: str | os.PathLike[str], model: str
  ) -> list[str]:
    """Writes MODEL_{id}_DATASET_{path}_{name}_{split}.jsonl; a dataset is path, name and split.

    The board leaves out clips without words in their reference.
    """
    paths = []
    for name, items in by_set(hypotheses).items():
      kept = [item for item in items if self._counts(item)]
      file = f"MODEL_{file_name(model)}_DATASET_{file_name(name)}.jsonl"
      paths.append(write_lines(epath.Path(folder) / file, map(_line, kept)))
    return paths

  def _counts(self, hypothesis: Hypothesis) -> bool:
    reference = get_normalizer(self.normalizer_of(hypothesis))(hypothesis.said)
    return reference not in ("", _IGNORED)


def join_words(texts: Texts) -> Texts:
  """Writes as one word what differs between two texts only by spaces.

  >>> join_words(Texts("das haus tür schloss", "das haustür schloss"))
  Texts(reference='das haustür schloss', hypothesis='das haustür schloss')
  """
  said, heard = texts.reference.split(), texts.hypothesis.split()
  joined: tuple[list[str], list[str]] = [], []
  for _, *bounds in difflib.SequenceMatcher(None, said, heard).get_opcodes():
    parts = said[bounds[0] : bounds[1]], heard[bounds[2] : bounds[3]]
    same = "".join(parts[0]) == "".join(parts[1])
    for side, part in zip(joined, parts, strict=True):
      side += ["".join(part)] if same and parts[0] != parts[1] else part
  return Texts(*map(" ".join, joined))


def _join_chunks(chunks: Sequence[Hypothesis]) -> list[Hypothesis]:
  sessions: dict[str, list[Hypothesis]] = {}
  for chunk in chunks:
    sessions.setdefault(str(chunk.extra.get(_PARENT)), []).append(chunk)
  return [_join_session(name, items) for name, items in sorted(sessions.items())]


def _join_session(name: str, chunks: list[Hypothesis]) -> Hypothesis:
  chunks = sorted(chunks, key=lambda chunk: number(chunk, _INDEX) or 0)
  if [chunk.extra.get(_INDEX) for chunk in chunks] != list(range(len(chunks))):
    _log.warning("session %s: %s is not 0, 1, 2, ...; chunks may be missing", name, _INDEX)
  total = _times(chunks)
  return Hypothesis(
    id=name,
    dataset=chunks[0].dataset,
    language=chunks[0].language,
    duration=sum(chunk.duration for chunk in chunks),
    reference=chunks[0].reference,
    hypothesis=" ".join(filter(None, (chunk.hypothesis.strip() for chunk in chunks))),
    complete=all(chunk.complete for chunk in chunks),
    extra={"session": name, "time": None if total is None else total[1]},
  )


def _times(items: Sequence[Hypothesis]) -> tuple[float, float] | None:
  """Sums audio and time, in seconds; None where a clip has none of them."""
  times = [number(item, "time") for item in items]
  if not all(times) or not all(item.duration for item in items):
    return None
  return sum(item.duration for item in items), sum(time or 0.0 for time in times)


def _line(item: Hypothesis) -> dict[str, object]:
  return {
    "audio_filepath": item.extra.get("audio_filepath") or item.id,
    "duration": item.duration,
    "time": number(item, "time"),
    "text": item.reference,
    "pred_text": item.hypothesis,
    **{key: item.extra[key] for key in (_PARENT, _INDEX) if key in item.extra},
  }
