"""Suspicious records by kind of issue, the worst first."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from maxtext_ext.audio.levels import decibels
from maxtext_ext.audio.limits import SAMPLE_RATE
from maxtext_ext.corpus.characters import FLAGS, KINDS, MIXED
from maxtext_ext.corpus.statistics import Survey, rows_by

CLIPPED_SHARE = 1e-3  # of the samples; a recording normalised to full scale touches it once
SILENT_DBFS = -50.0  # RMS; quiet speech has -40
OFFSET = 0.02  # of full scale
SHORT_SECONDS = 0.5
LONG_SECONDS = 30.0  # training's max_seconds, unless it is raised
_FAR_FACTOR = 2.0  # characters a second are far out beyond this factor of the median, and
_FAR_DEVIATIONS = 4.0  # beyond so many robust standard deviations of their logarithm
_MAD_TO_DEVIATION = 1.4826  # of a normal distribution


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Finding:
  """Records with one issue in common.

  Attributes:
    name: short title.
    meaning: what it is, and why it matters.
    rows: [N] indices into the survey's rows, the worst first.
    detail: describes how bad such a row is.
  """

  name: str
  meaning: str
  rows: np.ndarray
  detail: Callable[[int], str]


def find(survey: Survey) -> list[Finding]:
  """Returns the findings of every kind that has records."""
  findings = [*_shared(survey), *_sound(survey), *_lengths(survey), *_rates(survey)]
  findings += [*_texts(survey), _repeated_texts(survey)]
  return [finding for finding in findings if len(finding.rows)]


def _sound(survey: Survey) -> list[Finding]:
  rows = survey.rows
  return [
    Finding(
      name="Clipped",
      meaning=f"over {CLIPPED_SHARE:.1%} of the samples at full scale: recorded or amplified too"
      " loud",
      rows=_worst(rows["clipped"] > CLIPPED_SHARE, rows["clipped"]),
      detail=lambda row: f"{rows['clipped'][row]:.2%} of the samples at full scale",
    ),
    Finding(
      name="Nearly silent",
      meaning=f"RMS below {SILENT_DBFS:g} dBFS: an empty take, or a microphone turned off",
      rows=_worst(rows["rms"] < 10 ** (SILENT_DBFS / 20), -rows["rms"]),
      detail=lambda row: f"RMS {_dbfs(rows['rms'][row])}, peak {_dbfs(rows['peak'][row])}",
    ),
    Finding(
      name="Off centre",
      meaning=f"the samples' mean is over {OFFSET:.0%} of full scale (a DC offset)",
      rows=_worst(np.abs(rows["offset"]) > OFFSET, np.abs(rows["offset"])),
      detail=lambda row: f"mean {rows['offset'][row]:+.1%} of full scale",
    ),
  ]


def _lengths(survey: Survey) -> list[Finding]:
  seconds = survey.rows["samples"] / SAMPLE_RATE

  def detail(row: int) -> str:
    return f"{seconds[row]:.2f} s"

  return [
    Finding(
      name="Very long",
      meaning=f"over {LONG_SECONDS:g} s: training drops these unless max_seconds is raised",
      rows=_worst(seconds > LONG_SECONDS, seconds),
      detail=detail,
    ),
    Finding(
      name="Very short",
      meaning=f"under {SHORT_SECONDS:g} s: often a word cut off",
      rows=_worst(seconds < SHORT_SECONDS, -seconds),
      detail=detail,
    ),
  ]


def _rates(survey: Survey) -> list[Finding]:
  """Finds rates of characters per second far from the median of the language."""
  rows = survey.rows
  rates = rows["characters"] / (rows["samples"] / SAMPLE_RATE)
  logs = np.log(np.maximum(rates, 1e-9))
  distances = np.zeros(len(rows))  # of the logarithm from the median; 0 for what is not far out
  for part in rows_by(survey, "language").values():
    from_median = logs[part] - np.median(logs[part])
    deviation = _MAD_TO_DEVIATION * np.median(np.abs(from_median))
    far = np.abs(from_median) > max(math.log(_FAR_FACTOR), _FAR_DEVIATIONS * deviation)
    distances[part] = np.where(far, from_median, 0.0)

  def detail(row: int) -> str:
    times = math.exp(abs(distances[row]))
    side = "more" if distances[row] > 0 else "less"
    return f"{rates[row]:.1f} characters a second, {times:.1f} times {side} than usual"

  return [
    Finding(
      name="More text than sound",
      meaning="far more characters a second than is usual in the language: cut sound, or the text"
      " of another clip",
      rows=_worst(distances > 0, distances),
      detail=detail,
    ),
    Finding(
      name="More sound than text",
      meaning="far fewer characters a second than is usual in the language: a long silence, or"
      " speech that is not in the text",
      rows=_worst(distances < 0, -distances),
      detail=detail,
    ),
  ]


def _texts(survey: Survey) -> list[Finding]:
  """Finds texts with unusual characters; digits are common, and left to the inventory."""
  meanings = KINDS | {MIXED: "a word of letters from several scripts: a look-alike, or a slip"}
  names = {
    "undefined": "Broken characters",
    "control": "Control characters",
    "invisible": "Invisible characters",
    "space": "Unusual spaces",
    "symbol": "Symbols",
    MIXED: "Mixed scripts",
  }
  flags = survey.rows["flags"]
  return [
    Finding(
      name=name,
      meaning=meanings[kind],
      rows=np.flatnonzero(flags & 1 << FLAGS.index(kind)),
      detail=lambda _: "",
    )
    for kind, name in names.items()
  ]


def _repeated_texts(survey: Survey) -> Finding:
  """Finds repeated texts, the most frequent first, with one record of each."""
  _, first, counts = np.unique(survey.rows["text"], return_index=True, return_counts=True)
  order = np.lexsort((first, -counts))
  order = order[counts[order] > 1]
  count_of = dict(zip(first[order].tolist(), counts[order].tolist(), strict=True))
  return Finding(
    name="Repeated texts",
    meaning=f"{len(order):,} texts stand in {counts[order].sum():,} records; one record of each"
    " is listed. Prompts that many people read are fine; a hallucinating transcriber repeats"
    " itself too",
    rows=first[order],
    detail=lambda row: f"{count_of[row]:,} records with this text",
  )


def _shared(survey: Survey) -> list[Finding]:
  """Finds speakers, texts and sound that training and test data share."""
  rows = survey.rows
  by_split = rows_by(survey, "split")
  names = list(by_split)
  splits = np.empty(len(rows), int)
  for code, part in enumerate(by_split.values()):
    splits[part] = code
  findings = []
  for field, name, meaning in (
    ("sound", "The same sound in two splits", "the very samples: scores on it say nothing"),
    ("id", "The same id in two splits", "a record was converted into both"),
    ("speaker", "The same speaker in two splits", "scores say little about new voices"),
    ("text", "The same text in two splits", "scores flatter a model that learnt it by heart"),
  ):
    known = np.flatnonzero(rows["speaker"] >= 0) if field == "speaker" else np.arange(len(rows))
    values, inverse = np.unique(rows[field][known], return_inverse=True)
    present = np.zeros((len(values), len(names)), bool)
    present[inverse, splits[known]] = True
    shared = present.sum(axis=1) > 1
    # One record of each value, from the smallest split that has it: the one scores come from.
    sizes = np.bincount(splits, minlength=len(names))
    order = known[np.argsort(sizes[splits[known]], kind="stable")]
    _, first = np.unique(rows[field][order], return_index=True)
    findings.append(
      Finding(
        name=name,
        meaning=f"{meaning}; {_overlaps(present, names)}",
        rows=order[first[shared]],
        detail=_splits_detail(rows[field], values, present, names),
      )
    )
  return findings


def _overlaps(present: np.ndarray, names: list[str]) -> str:
  return ", ".join(
    f"{int((present[:, i] & present[:, j]).sum()):,} in {names[i]} and {names[j]}"
    for i in range(len(names))
    for j in range(i + 1, len(names))
    if (present[:, i] & present[:, j]).any()
  )


def _splits_detail(
  column: np.ndarray, values: np.ndarray, present: np.ndarray, names: list[str]
) -> Callable[[int], str]:
  def detail(row: int) -> str:
    where = present[np.searchsorted(values, column[row])]
    return "in " + " and ".join(np.array(names, object)[where])

  return detail


def _worst(found: np.ndarray, badness: np.ndarray) -> np.ndarray:
  """Returns the indices of those found, by falling badness; ties in the order of the rows."""
  indices = np.flatnonzero(found)
  return indices[np.argsort(-badness[indices], kind="stable")]


def _dbfs(amplitude: np.floating) -> str:
  level = decibels(float(amplitude))
  return f"{level:.0f} dBFS" if math.isfinite(level) else "none"
