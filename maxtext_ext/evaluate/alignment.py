"""Minimum edit alignment of a hypothesis to its reference."""

import dataclasses
from collections.abc import Sequence
from typing import Literal, NamedTuple

from rapidfuzz.distance import Levenshtein

Kind = Literal["hit", "substitution", "deletion", "insertion"]


class Edits(NamedTuple):
  """Counts of hits, substitutions, deletions and insertions of an alignment."""

  hits: int
  substitutions: int
  deletions: int
  insertions: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
  """Reference unit and hypothesis unit; "" on the side that has none."""

  kind: Kind
  reference: str
  hypothesis: str


def count_edits(reference: Sequence[str], hypothesis: Sequence[str]) -> Edits:
  """Counts the operations of one alignment with the fewest edits (words or characters).

  Where several alignments have the fewest, a substitution and a deletion plus an insertion can
  trade places; the sum never does.
  """
  if reference == hypothesis:
    return Edits(len(reference), 0, 0, 0)
  tags = [operation.tag for operation in Levenshtein.editops(reference, hypothesis)]
  substitutions, deletions = tags.count("replace"), tags.count("delete")
  return Edits(
    hits=len(reference) - substitutions - deletions,
    substitutions=substitutions,
    deletions=deletions,
    insertions=tags.count("insert"),
  )


def align(reference: Sequence[str], hypothesis: Sequence[str]) -> list[Pair]:
  """Returns the alignment that count_edits counts, as pairs in reading order.

  >>> [pair.kind for pair in align("a b c".split(), "a x".split())]
  ['hit', 'deletion', 'substitution']
  """
  pairs = []
  for code in Levenshtein.opcodes(reference, hypothesis):
    references = reference[code.src_start : code.src_end]
    hypotheses = hypothesis[code.dest_start : code.dest_end]
    match code.tag:
      case "delete":
        pairs += [Pair(kind="deletion", reference=unit, hypothesis="") for unit in references]
      case "insert":
        pairs += [Pair(kind="insertion", reference="", hypothesis=unit) for unit in hypotheses]
      case tag:
        kind: Kind = "hit" if tag == "equal" else "substitution"
        pairs += [
          Pair(kind=kind, reference=said, hypothesis=heard)
          for said, heard in zip(references, hypotheses, strict=True)
        ]
  return pairs
