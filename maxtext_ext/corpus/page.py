"""Page of `data inspect`: one self-contained HTML file, with the sound inside it."""

import math
import pathlib
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from maxtext_ext.audio.limits import SAMPLE_RATE
from maxtext_ext.corpus.characters import KINDS, home_scripts, inventory, script_of, visible
from maxtext_ext.corpus.examples import MAX_PLAYER_BYTES, MAX_PLAYER_SECONDS, ClipMaker
from maxtext_ext.corpus.issues import Finding
from maxtext_ext.corpus.statistics import Survey, by_field, by_group, summarize
from maxtext_ext.files.storage import atomic_open
from maxtext_ext.pages.chart import WAVE_WIDTH, Histogram, histogram
from maxtext_ext.pages.render import direction, render
from maxtext_ext.records.quarantine import Reason
from maxtext_ext.records.schema import Record

SAMPLE_CLIPS = 12  # chosen at random
CLIPS_OF_A_FINDING = 5
_SEED = 0
_FLOOR_DBFS = -100.0  # where digital silence is drawn
_CHARACTERS_SHOWN = 1000
_UNUSUAL_SHOWN = 100
_LETTERS_SHOWN = 120  # of a language
_REASONS_SHOWN = 12


def write_page(
  path: str,
  title: str,
  survey: Survey,
  findings: Sequence[Finding],
  read_rows: Callable[[Sequence[int]], Iterable[Record]],
  *,
  reasons: Sequence[Reason] = (),
  sample: int | None = None,
) -> None:
  """Writes the page atomically.

  Args:
    path: of the page.
    title: name of the data set.
    survey: at least one record.
    findings: in the order to show them.
    read_rows: gives the records of rows of the survey, in their order.
    reasons: of the quarantine.
    sample: how many records were requested, None for all.
  """
  chosen = _choose(len(survey.rows))
  shown = [finding.rows[:CLIPS_OF_A_FINDING].tolist() for finding in findings]
  wanted = list(dict.fromkeys([*chosen, *(row for part in shown for row in part)]))
  maker = ClipMaker(survey, dict(zip(wanted, read_rows(wanted), strict=True)))
  clips = [maker.make(row, "") for row in chosen]
  cases = [
    (finding, [maker.make(row, finding.detail(row)) for row in part])
    for finding, part in zip(findings, shown, strict=True)
  ]
  characters = inventory(survey.characters)
  page = render(
    pathlib.Path(__file__).with_name("page.html.jinja"),
    filters={
      "direction": direction,
      "visible": visible,
      "dbfs": lambda level: f"{level:.1f} dBFS" if math.isfinite(level) else "silence",
    },
    title=visible(title),
    total=summarize(survey.rows),
    unreadable=survey.unreadable,
    problems=survey.problems,
    groups=by_group(survey),
    splits=by_field(survey, "split"),
    shares={field: by_field(survey, field) for field in ("language", "dataset")},
    pictures=_pictures(survey.rows),
    clips=clips,
    cases=cases,
    kinds=KINDS,
    alphabets=_alphabets(survey),
    unusual=[line for line in characters if line.kind][:_UNUSUAL_SHOWN],
    characters=sorted(characters, key=lambda line: -line.count)[:_CHARACTERS_SHOWN],
    distinct=len(characters),
    occurrences=sum(line.count for line in characters),
    reasons=reasons[:_REASONS_SHOWN],
    reasons_left_out=len(reasons[_REASONS_SHOWN:]),
    quarantined=sum(reason.count for reason in reasons),
    sample=sample,
    wave_width=WAVE_WIDTH,
    player_megabytes=MAX_PLAYER_BYTES / 2**20,
    player_seconds=MAX_PLAYER_SECONDS,
  )
  with atomic_open(path) as file:
    file.write(page)


def _choose(count: int) -> list[int]:
  chosen = np.random.default_rng(_SEED).choice(count, min(count, SAMPLE_CLIPS), replace=False)
  return sorted(chosen.tolist())


def _pictures(rows: np.ndarray) -> list[tuple[str, str, Histogram | None]]:
  """Returns (title, unit, picture) of each figure that has one number per record."""
  seconds = rows["samples"] / SAMPLE_RATE
  with np.errstate(divide="ignore"):
    levels = {name: 20 * np.log10(rows[name].astype(float)) for name in ("rms", "peak")}
  return [
    ("Length", "seconds", histogram(seconds)),
    ("Characters a second", "characters a second", histogram(rows["characters"] / seconds)),
    ("Loudness", "RMS in dBFS", histogram(np.maximum(levels["rms"], _FLOOR_DBFS))),
    ("Peak", "peak in dBFS", histogram(np.maximum(levels["peak"], _FLOOR_DBFS))),
  ]


def _alphabets(survey: Survey) -> list[tuple[str, list[tuple[str, bool]], int]]:
  """Returns (language, letters with whether their script is usual for it, letters left out)."""
  alphabets = []
  for language, counts in survey.characters.items():
    home = home_scripts(counts)
    by_count = [character for character, _ in counts.most_common() if script_of(character)]
    shown = [(letter, script_of(letter) in home) for letter in sorted(by_count[:_LETTERS_SHOWN])]
    alphabets.append((language, shown, len(by_count) - len(shown)))
  return alphabets
