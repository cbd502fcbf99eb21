"""Ways to count the edits of a pair of texts, each as a tool of the field counts them."""

from collections.abc import Callable, Sequence

import kaldialign

from maxtext_ext.evaluate.alignment import Edits, count_edits
from maxtext_ext.evaluate.sclite import count_sclite

Count = Callable[[Sequence[str], Sequence[str]], Edits]


def count_kaldi(reference: Sequence[str], hypothesis: Sequence[str]) -> Edits:
  """Counts as kaldialign: the fewest edits, and Kaldi's choice among alignments with as many."""
  return _of_kaldialign(reference, hypothesis, merge_compounds=False)


def count_compounds(reference: Sequence[str], hypothesis: Sequence[str]) -> Edits:
  """Counts as kaldialign with merged compounds: "white paper" for "whitepaper" is no error.

  Hits are reference words, of which several can match one word of the hypothesis.
  """
  return _of_kaldialign(reference, hypothesis, merge_compounds=True)


def _of_kaldialign(
  reference: Sequence[str], hypothesis: Sequence[str], *, merge_compounds: bool
) -> Edits:
  if reference == hypothesis:
    return Edits(len(reference), 0, 0, 0)
  counts = kaldialign.edit_distance(reference, hypothesis, merge_compounds=merge_compounds)
  substitutions, deletions, insertions = (int(counts[name]) for name in ("sub", "del", "ins"))
  return Edits(len(reference) - substitutions - deletions, substitutions, deletions, insertions)


# By the names of `evaluate --alignment`.
ALIGNMENTS: dict[str, Count] = {
  "levenshtein": count_edits,  # jiwer
  "kaldi": count_kaldi,
  "compounds": count_compounds,
  "sclite": count_sclite,
}


def get_alignment(name: str) -> Count:
  """Returns the way to count called `name`. Raises ValueError that lists the names."""
  if name not in ALIGNMENTS:
    raise ValueError(f"unknown alignment {name!r}; expected one of {', '.join(ALIGNMENTS)}")
  return ALIGNMENTS[name]
