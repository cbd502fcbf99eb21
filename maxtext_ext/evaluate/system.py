"""Hypotheses of a system, read and scored as its run, its language or a board asks for."""

import dataclasses
import os
from collections.abc import Callable, Sequence

from etils import epath

from maxtext_ext.evaluate import decoded
from maxtext_ext.evaluate.boards import get_protocol
from maxtext_ext.evaluate.boards.protocol import Board
from maxtext_ext.evaluate.decoded import Decoded
from maxtext_ext.evaluate.hypotheses import read_hypotheses
from maxtext_ext.evaluate.hypothesis import Hypothesis
from maxtext_ext.evaluate.hypothesis_line import REFERENCE_NAMES
from maxtext_ext.evaluate.wer import Method, Scores, score, score_texts
from maxtext_ext.files.connection import is_url
from maxtext_ext.text.normalize import OF_LANGUAGES, get_normalizer

AUTO = "auto"  # the run's normaliser, else that of the language

Path = str | os.PathLike[str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class System:
  """Scored hypotheses.

  Attributes:
    hypotheses: as they were scored.
    reason: why this normaliser.
    normalizers: of each hypothesis.
    sources: runs and checkpoints that wrote them, as far as known.
    read: hypotheses with a reference as they were read, before a board's preparation.
    left_out: number of those without a reference.
    board: figures of the protocol, None without one.
  """

  hypotheses: list[Hypothesis]
  scores: Scores
  reason: str
  normalizers: list[Callable[[str], str]]
  sources: tuple[Decoded, ...]
  read: list[Hypothesis]
  left_out: int = 0
  board: Board | None = None


def load_system(
  paths: Sequence[Path], *, normalizer: str = AUTO, method: Method, protocol: str | None = None
) -> System:
  """Reads and scores the hypotheses at some paths together.

  Args:
    paths: files or folders of decode, or manifests of the protocol's board.
    normalizer: a name, or "auto".
    method: how to score.
    protocol: scores as this board does, with its normaliser and alignment.

  Raises:
    ValueError: a file that is missing or malformed, an unknown name, or an utterance twice.
  """
  sources = tuple(source for path in paths if (source := decoded.read(path)) is not None)
  if protocol is None:
    hypotheses, left_out = _with_reference(_read(paths, read_hypotheses), paths)
    reason = "as asked"
    if normalizer == AUTO:
      normalizer, reason = choose_normalizer(sources, hypotheses)
    return System(
      hypotheses=hypotheses,
      scores=score(hypotheses, normalizer, method=method),
      reason=reason,
      normalizers=[get_normalizer(normalizer)] * len(hypotheses),
      sources=sources,
      read=hypotheses,
      left_out=left_out,
    )
  board = get_protocol(protocol)
  read, left_out = _with_reference(_read(paths, board.read), paths)
  hypotheses = board.prepare(read)
  names = [board.normalizer_of(item) for item in hypotheses]
  scores = score_texts(
    hypotheses,
    board.texts(hypotheses),
    ", ".join(dict.fromkeys(names)),
    dataclasses.replace(method, alignment=board.alignment),
  )
  return System(
    hypotheses=hypotheses,
    scores=scores,
    reason=f"by the protocol {protocol}",
    normalizers=[get_normalizer(name) for name in names],
    sources=sources,
    read=read,
    left_out=left_out,
    board=board.board(hypotheses, scores),
  )


def choose_normalizer(
  sources: Sequence[Decoded], hypotheses: Sequence[Hypothesis]
) -> tuple[str, str]:
  """Chooses the normaliser of the run, else of the only language, else basic; with the reason.

  Raises:
    ValueError: runs with different normalisers.
  """
  names = sorted({source.normalizer for source in sources})
  if len(names) > 1:
    raise ValueError(f"decoded for the normalizers {', '.join(names)}; name one by --normalizer")
  if names:
    return names[0], "the run's"
  languages = {item.language for item in hypotheses}
  if len(languages) > 1:
    return "basic", "for several languages"
  (language,) = languages or {None}
  if language is None:
    return "basic", "as no language is named"
  return OF_LANGUAGES.get(language, "basic"), f"for {language}"


def _with_reference(
  hypotheses: list[Hypothesis], paths: Sequence[Path]
) -> tuple[list[Hypothesis], int]:
  """Returns the hypotheses that can be scored, at least one, and the number of the others."""
  kept = [item for item in hypotheses if item.reference is not None]
  if not kept:
    names = ", ".join(map(str, paths))
    raise ValueError(
      f"{names}: no line has a reference, what was said, so nothing can be scored; expected one of"
      f" {', '.join(REFERENCE_NAMES)}, and not null"
    )
  return kept, len(hypotheses) - len(kept)


def _names(paths: Sequence[Path]) -> list[str]:
  """Returns the last parts of paths, as many as tell them apart."""
  parts = [epath.Path(_absolute(os.fspath(path))).parts for path in paths]
  for count in range(1, max(map(len, parts))):
    names = ["/".join(each[-count:]) for each in parts]
    if len(set(names)) == len(names):
      return names
  return ["/".join(each) for each in parts]


def _absolute(path: str) -> str:
  return path if is_url(path) else os.path.abspath(path)


def _read(paths: Sequence[Path], read: Callable[[Path], list[Hypothesis]]) -> list[Hypothesis]:
  """Reads all paths, at least one hypothesis each; several name datasets that have no name."""
  hypotheses: list[Hypothesis] = []
  places: dict[tuple[str, str], Path] = {}
  for path, name in zip(paths, _names(paths), strict=True):
    items = read(path)
    if not items:
      raise ValueError(f"{os.fspath(path)}: no line in it; expected hypotheses as JSON lines")
    if len(paths) > 1:
      items = [item if item.dataset else dataclasses.replace(item, dataset=name) for item in items]
    for item in items:
      before = places.setdefault((item.dataset, item.id), path)
      if before is not path:
        raise ValueError(
          f"{os.fspath(path)}: id {item.id!r} of dataset {item.dataset!r} is in"
          f" {os.fspath(before)} too; give each test set once, systems to compare by --compare"
        )
    hypotheses += items
  return hypotheses
