"""Scoring of ivrit.ai's Hebrew evaluations, as of November 2025 (ivrit-ai/asr-training)."""

import csv
import io
import os
from collections.abc import Sequence
from typing import Any, ClassVar

from etils import epath

from maxtext_ext.evaluate.alignment import Edits, count_edits
from maxtext_ext.evaluate.boards.protocol import Board, Figures, Protocol, by_set, file_name
from maxtext_ext.evaluate.hypotheses import read_hypotheses
from maxtext_ext.evaluate.hypothesis import FIELDS, Hypothesis, number
from maxtext_ext.evaluate.wer import Scores, Texts
from maxtext_ext.files.storage import atomic_open

_TIME = "transcription_time"
_LEAST_SECONDS = 5.0  # of clips whose time counts
_METADATA = "metadata_"


class Ivrit(Protocol):
  """Its normaliser, jiwer's WER and WIL of each set, and the time of an audio second.

  Its files are CSV, one for each set: raw and normalised texts, and the counts of each clip.
  """

  languages: ClassVar[frozenset[str]] = frozenset({"Hebrew"})

  def read(self, path: str | os.PathLike[str]) -> list[Hypothesis]:
    """Reads CSV files, a file's name that of its set, or lines of JSON."""
    place = epath.Path(path)
    files = sorted(place.glob("*.csv")) if place.is_dir() else [place]
    if files and files[0].suffix == ".csv" and files[0].is_file():
      return [item for file in files for item in _read_csv(file)]
    return read_hypotheses(path)

  def normalizer_of(self, hypothesis: Hypothesis) -> str:
    """Hebrew, for every line."""
    return "hebrew_ivrit"

  def board(self, hypotheses: Sequence[Hypothesis], scores: Scores) -> Board:
    """WER and WIL of each set, as fractions, and seconds of work per audio second."""
    sets: dict[str, Figures] = {}
    for name, items in by_set(hypotheses).items():
      words = scores.by_dataset[name].words
      counts = Edits(words.hits, words.substitutions, words.deletions, words.insertions)
      sets[name] = {"WER": words.rate, "WIL": _information_lost(counts), **_times(items)}
    return Board(sets=sets, average={})

  def write(
    self, hypotheses: Sequence[Hypothesis], folder: str | os.PathLike[str], model: str
  ) -> list[str]:
    """Writes {dataset}.csv."""
    paths = []
    for name, items in by_set(hypotheses).items():
      rows = [
        _row(place, item, texts, model)
        for place, (item, texts) in enumerate(zip(items, self.texts(items), strict=True))
      ]
      columns = dict.fromkeys(column for row in rows for column in row)
      metadata = [column for column in columns if column.startswith(_METADATA)]
      ordered = [*(c for c in columns if c not in (*metadata, *_LAST)), *metadata, *_LAST]
      path = epath.Path(folder) / f"{file_name(name)}.csv"
      with atomic_open(path) as file:
        writer = csv.DictWriter(file, ordered, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
      paths.append(os.fspath(path))
    return paths


_LAST = ("model", "dataset", "dataset_split", "engine")


def _row(place: int, item: Hypothesis, texts: Texts, model: str) -> dict[str, Any]:
  counts = count_edits(texts.reference.split(), texts.hypothesis.split())
  said = counts.hits + counts.substitutions + counts.deletions
  edits = counts.substitutions + counts.deletions + counts.insertions
  metadata = {
    name if name.startswith(_METADATA) else f"{_METADATA}{name}": value
    for name, value in item.extra.items()
    if name != _TIME
  }
  return {
    "id": place,
    "reference_text": item.reference,
    "predicted_text": item.hypothesis,
    "norm_reference_text": texts.reference,
    "norm_predicted_text": texts.hypothesis,
    "wer": edits / said if said else float(edits > 0),  # jiwer: 1 for words where none are said
    "wil": _information_lost(counts),
    "substitutions": counts.substitutions,
    "deletions": counts.deletions,
    "insertions": counts.insertions,
    "hits": counts.hits,
    "audio_duration": item.duration,
    _TIME: number(item, _TIME),
    **metadata,
    "model": model,
    "dataset": item.dataset,
    "dataset_split": "",
    "engine": "",
  }


def _information_lost(counts: Edits) -> float:
  said = counts.hits + counts.substitutions + counts.deletions
  heard = counts.hits + counts.substitutions + counts.insertions
  if not said:
    return float(heard > 0)
  return 1 - (counts.hits / said) * (counts.hits / heard) if heard else 1.0


def _times(items: Sequence[Hypothesis]) -> Figures:
  """Computes mean, median, 90% and 99% of seconds of work per audio second, of long clips."""
  ratios = sorted(
    time / item.duration
    for item in items
    if item.duration >= _LEAST_SECONDS and (time := number(item, _TIME))
  )
  if not ratios:
    return {}
  count, middle = len(ratios), len(ratios) // 2
  return {
    "mean time": sum(ratios) / count,
    "median time": ratios[middle] if count % 2 else (ratios[middle - 1] + ratios[middle]) / 2,
    "p90 time": ratios[int(0.9 * count)],
    "p99 time": ratios[int(0.99 * count)],
  }


def _read_csv(file: epath.Path) -> list[Hypothesis]:
  try:
    rows = list(csv.DictReader(io.StringIO(file.read_text("utf-8"), newline="")))
  except (UnicodeDecodeError, csv.Error) as error:
    raise ValueError(f"{file}: no CSV file in UTF-8: {error}") from error
  return [_parse(row, f"{file}:{line}", file.stem) for line, row in enumerate(rows, 2)]


def _parse(row: dict[str, str], place: str, dataset: str) -> Hypothesis:
  missing = [name for name in ("reference_text", "predicted_text") if row.get(name) is None]
  if missing:
    raise ValueError(
      f"{place}: no column {missing[0]}; expected a CSV file of ivrit.ai's evaluation"
    )
  try:
    duration = float(row.get("audio_duration") or 0.0)
    time = float(row[_TIME]) if row.get(_TIME) else None
  except ValueError as error:
    raise ValueError(f"{place}: {error} in audio_duration or {_TIME}") from error
  metadata = {
    _without_prefix(name): value
    for name, value in row.items()
    if name is not None and name.startswith(_METADATA) and value
  }
  try:
    return Hypothesis(
      id=row.get("id") or place,
      dataset=dataset,
      language="Hebrew",
      duration=duration,
      reference=row["reference_text"],
      hypothesis=row["predicted_text"],
      extra=metadata | ({} if time is None else {_TIME: time}),
    )
  except ValueError as error:
    raise ValueError(f"{place}: {error}") from error


def _without_prefix(column: str) -> str:
  name = column.removeprefix(_METADATA)
  return column if name in FIELDS else name
