"""Scoring of the Open Universal Arabic ASR Leaderboard, as of July 2026.

https://github.com/Natural-Language-Processing-Elm/open_universal_arabic_asr_leaderboard
"""

import os
from collections.abc import Sequence
from typing import ClassVar

from etils import epath

from maxtext_ext.evaluate.boards.protocol import Board, Protocol, by_set, file_name, write_lines
from maxtext_ext.evaluate.hypotheses import name_by_file, read_hypotheses
from maxtext_ext.evaluate.hypothesis import Hypothesis
from maxtext_ext.evaluate.wer import Scores


class ElmArabic(Protocol):
  """Its normaliser, WER and CER of all edits over all units, and their means over the sets."""

  languages: ClassVar[frozenset[str]] = frozenset({"Arabic"})

  def read(self, path: str | os.PathLike[str]) -> list[Hypothesis]:
    """Reads hypotheses; a manifest's name is that of its set."""
    return read_hypotheses(path, dataset_of=name_by_file)

  def normalizer_of(self, hypothesis: Hypothesis) -> str:
    """Arabic, for every line."""
    return "arabic"

  def board(self, hypotheses: Sequence[Hypothesis], scores: Scores) -> Board:
    """WER and CER of each set, as fractions."""
    sets = {
      name: {
        "WER": scores.by_dataset[name].words.rate,
        "CER": scores.by_dataset[name].characters.rate,
      }
      for name in by_set(hypotheses)
    }
    average: dict[str, float | None] = {
      rate: sum(figures[rate] for figures in sets.values()) / len(sets) for rate in ("WER", "CER")
    }
    return Board(sets={name: {**figures} for name, figures in sets.items()}, average=average)

  def write(
    self, hypotheses: Sequence[Hypothesis], folder: str | os.PathLike[str], model: str
  ) -> list[str]:
    """Writes {dataset}.jsonl."""
    return [
      write_lines(
        epath.Path(folder) / f"{file_name(name)}.jsonl",
        (
          {
            "audio_filepath": item.extra.get("audio_filepath") or item.id,
            "text": item.reference,
            "pred_text": item.hypothesis,
          }
          for item in items
        ),
      )
      for name, items in by_set(hypotheses).items()
    ]
