"""Interface of a public board's scoring, from hypotheses to the figures that it prints."""

import abc
import dataclasses
import json
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from etils import epath

from maxtext_ext.evaluate.groups import label
from maxtext_ext.evaluate.hypotheses import read_hypotheses
from maxtext_ext.evaluate.hypothesis import Hypothesis
from maxtext_ext.evaluate.wer import Scores, Texts
from maxtext_ext.files.storage import atomic_open
from maxtext_ext.text.normalize import get_normalizer

Figures = dict[str, float | None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Board:
  """Figures as a board prints them, by their names there.

  Attributes:
    sets: figures of each test set.
    average: over the sets, each alike; empty where the board has none.
  """

  sets: dict[str, Figures]
  average: Figures


class Protocol(abc.ABC):
  """Scoring of a board.

  Attributes:
    alignment: how it counts edits, a name in ALIGNMENTS.
    languages: that it has normalisers for.
  """

  alignment: ClassVar[str] = "levenshtein"
  languages: ClassVar[frozenset[str]] = frozenset()

  def foreign(self, hypotheses: Sequence[Hypothesis]) -> list[str]:
    """Returns the languages of hypotheses, sorted, that the board has no normaliser for."""
    named = {item.language for item in hypotheses if item.language}
    return sorted(name for name in named if self.languages.isdisjoint(name.split("/")))

  def read(self, path: str | os.PathLike[str]) -> list[Hypothesis]:
    """Reads hypotheses, ours or the board's manifests. Raises ValueError as `read_hypotheses`."""
    return read_hypotheses(path)

  def prepare(self, hypotheses: Sequence[Hypothesis]) -> list[Hypothesis]:
    """Returns what the board scores."""
    return list(hypotheses)

  @abc.abstractmethod
  def normalizer_of(self, hypothesis: Hypothesis) -> str:
    """Returns the name of the normaliser of a hypothesis."""

  def texts(self, hypotheses: Sequence[Hypothesis]) -> list[Texts]:
    """Normalises what `prepare` returned."""
    texts = []
    for item in hypotheses:
      normalize = get_normalizer(self.normalizer_of(item))
      texts.append(Texts(normalize(item.said), normalize(item.hypothesis)))
    return texts

  @abc.abstractmethod
  def board(self, hypotheses: Sequence[Hypothesis], scores: Scores) -> Board:
    """Computes the figures of the board.

    Args:
      hypotheses: what `prepare` returned.
      scores: of their texts.
    """

  @abc.abstractmethod
  def write(
    self, hypotheses: Sequence[Hypothesis], folder: str | os.PathLike[str], model: str
  ) -> list[str]:
    """Writes hypotheses as the board's own files, one for each set; returns their paths.

    Args:
      folder: made where it is missing.
      model: its name in the files.
    """


def by_set(hypotheses: Sequence[Hypothesis]) -> dict[str, list[Hypothesis]]:
  """Groups by test set, which a dataset is; by the names of `Scores.by_dataset`."""
  sets: dict[str, list[Hypothesis]] = {}
  for item in hypotheses:
    sets.setdefault(label(item.dataset), []).append(item)
  return dict(sorted(sets.items()))


def file_name(text: str) -> str:
  """Returns a name without the characters that separate folders."""
  return re.sub(r"[/\\]", "-", text)


def write_lines(path: epath.Path, lines: Iterable[dict[str, Any]]) -> str:
  """Writes lines of JSON; returns the path."""
  with atomic_open(path) as file:
    for line in lines:
      text = json.dumps(line, ensure_ascii=False)
      file.write(text.encode("utf-8", "backslashreplace").decode() + "\n")
  return os.fspath(path)
