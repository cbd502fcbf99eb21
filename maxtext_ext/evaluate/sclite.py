"""Alignment as NIST's sclite makes it: weighted edits, and its choice among equal ones."""

from collections.abc import Sequence

from rapidfuzz.distance import Levenshtein

from maxtext_ext.evaluate.alignment import Edits

_INSERTION = _DELETION = 3
_SUBSTITUTION = 4
_UNREACHED = 1 << 60


def align_sclite(reference: Sequence[str], hypothesis: Sequence[str]) -> str:
  """Returns the operations of sclite's alignment in reading order, a letter each: H S D I.

  An insertion or a deletion costs 3, a substitution 4. Of paths that cost the same, the one is
  taken that from the end prefers a pair of words to an insertion, and that to a deletion (net_dp.c
  of SCTK 2.4.10). kaldialign has the weights but chooses otherwise.
  """
  # The least cost bounds how far the path strays from the diagonal, so only a band is computed.
  weights = (_INSERTION, _DELETION, _SUBSTITUTION)
  least = Levenshtein.distance(reference, hypothesis, weights=weights) // _INSERTION
  longer = len(hypothesis) - len(reference)
  left, right = (least - longer) // 2, (least + longer) // 2  # most deletions, most insertions
  width = left + right + 1
  row: list[int] = []
  choices = []
  for r in range(len(reference) + 1):
    above, row = row, [_UNREACHED] * (width + 1)
    chosen = bytearray(width)
    for place in range(max(0, left - r), min(width, len(hypothesis) - r + left + 1)):
      h = r + place - left
      if not r and not h:
        row[place] = 0
        continue
      pair = _UNREACHED
      if r and h:
        same = reference[r - 1] == hypothesis[h - 1]
        pair = above[place] + (0 if same else _SUBSTITUTION)
      delete = above[place + 1] + _DELETION if r else _UNREACHED
      insert = row[place - 1] + _INSERTION if place else _UNREACHED
      if pair <= delete and pair <= insert:
        row[place], chosen[place] = pair, ord("H" if same else "S")
      elif delete < insert:
        row[place], chosen[place] = delete, ord("D")
      else:
        row[place], chosen[place] = insert, ord("I")
    choices.append(chosen)
  operations = []
  r, h = len(reference), len(hypothesis)
  while r or h:
    operation = chr(choices[r][h - r + left])
    operations.append(operation)
    r, h = r - (operation != "I"), h - (operation != "D")
  return "".join(reversed(operations))


def count_sclite(reference: Sequence[str], hypothesis: Sequence[str]) -> Edits:
  """Counts the operations of sclite's alignment."""
  if reference == hypothesis:
    return Edits(len(reference), 0, 0, 0)
  operations = align_sclite(reference, hypothesis)
  return Edits(*(operations.count(kind) for kind in "HSDI"))
