"""ARPA files of n-gram language models, as SRILM and KenLM write them.

  \\data\\
  ngram 1=4
  ngram 2=5

  \\1-grams:
  -0.9 hello -0.3        log10 of the probability, the words, log10 of the back-off weight
  ...
  \\end\\

Fields are separated by tabs, words by spaces; the longest n-grams have no back-off weight, and
shorter ones may do without.
"""

import dataclasses
import io
import re
from collections.abc import Iterable, Iterator
from typing import cast

from maxtext_ext.files import storage
from maxtext_ext.files.compressed import DAMAGE, decompress, is_damage

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"  # of sentences, and for words outside the vocabulary
RESERVED = frozenset({BEGIN, END, UNKNOWN})
_COUNT = re.compile(r"ngram (\d+)\s*=\s*(\d+)")
_WITH_BACKOFF = 3  # fields
_REMEDY = "give an ARPA file, such as `maxtext-ext lm build` writes"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ArpaHead:
  """Start of an ARPA file: counts, vocabulary, and the score of no words.

  Attributes:
    counts: n-grams of each order, of single words first.
    words: the vocabulary, without `<s>`, `</s>` and `<unk>`.
    nothing: log10 of the probability of a sentence without words, as that of single words has it.
  """

  counts: tuple[int, ...]
  words: tuple[str, ...]
  nothing: float

  @property
  def order(self) -> int:
    """Returns the words of the longest n-grams."""
    return len(self.counts)


def read_head(path: str) -> ArpaHead:
  """Reads the counts and the vocabulary of an ARPA file, plain or compressed.

  Raises:
    ValueError: there is no file, or it is none in this form up to the end of its single words.
  """
  lines = _lines(path)
  counts = _read_counts(path, lines)
  words: list[str] = []
  nothing = 0.0
  for line in lines:
    if not line:
      continue
    if line.startswith("\\"):
      break
    fields = line.split("\t") if "\t" in line else line.split()
    if len(fields) not in (2, _WITH_BACKOFF):
      raise ValueError(f"{path}: {line!r:.80} among single words, expected 2 or 3 fields")
    words.append(fields[1])
    try:
      if fields[1] == END:
        nothing += float(fields[0])
      elif fields[1] == BEGIN and len(fields) == _WITH_BACKOFF:
        nothing += float(fields[2])
    except ValueError as error:
      raise ValueError(f"{path}: {line!r:.80}: {error}") from error
  if len(words) != counts[0]:
    raise ValueError(
      f"{path}: {len(words)} single words, but its head says {counts[0]}; the file is cut or"
      " damaged, make or copy it again"
    )
  known = tuple(word for word in words if word not in RESERVED)
  return ArpaHead(counts=counts, words=known, nothing=nothing)


def _lines(path: str) -> Iterator[str]:
  """Yields the lines of a file, decompressed and without white space around them."""
  if not storage.is_file(path):
    raise ValueError(f"{path}: no such file; {_REMEDY}")
  try:
    with storage.open_read(path) as file:
      for line in decompress(cast(io.BufferedIOBase, file)):
        yield line.decode().strip()
  except UnicodeDecodeError as error:
    raise ValueError(f"{path}: not text in UTF-8; {_REMEDY}") from error
  except (OSError, *DAMAGE) as error:
    if not is_damage(error):
      raise
    raise ValueError(f"{path}: its compressed content is cut or damaged; copy it again") from error


def _read_counts(path: str, lines: Iterable[str]) -> tuple[int, ...]:
  """Reads up to the headline of the single words."""
  counts: list[int] = []
  first = True
  for line in lines:
    if first and line and line != "\\data\\":
      break
    first = first and not line
    if line == "\\1-grams:" and counts:
      return tuple(counts)
    if match := _COUNT.fullmatch(line):
      if int(match[1]) != len(counts) + 1:
        break
      counts.append(int(match[2]))
    elif line and line != "\\data\\":
      break
  raise ValueError(
    f"{path}: no ARPA file: expected \\data\\, ngram 1=..., and \\1-grams: at its start; {_REMEDY}"
  )
