"""Language models of words from text files and from the transcripts of data sets."""

import dataclasses
import io
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import cast

from maxtext_ext.files import storage
from maxtext_ext.files.compressed import DAMAGE, decompress, is_damage
from maxtext_ext.files.outputs import require_apart, require_file_place
from maxtext_ext.progress import ProgressLine, say
from maxtext_ext.records.reader import find_shards
from maxtext_ext.records.split_lengths import find_or_scan_lengths
from maxtext_ext.text.kneser_ney import FALLBACK, Counter, Model

_SHOWN_EVERY = 10_000  # sentences


@dataclasses.dataclass(frozen=True, kw_only=True)
class Built:
  """Language model that was written.

  Attributes:
    path: of the ARPA file.
    sentences, tokens: of its text; tokens are all occurrences of words.
    sizes: n-grams of each order, of single words first.
    guessed: orders with discounts that are not of the text, which has too few n-grams.
  """

  path: str
  sentences: int
  tokens: int
  sizes: tuple[int, ...]
  guessed: tuple[int, ...]

  def __str__(self) -> str:
    sizes = ", ".join(f"{size:,} {n}-grams" for n, size in enumerate(self.sizes, 1))
    return f"{self.path}: {sizes} of {self.tokens:,} words in {self.sentences:,} sentences"


def build(
  sources: Sequence[str],
  out: str,
  *,
  order: int,
  prune: Sequence[int],
  split: str,
  normalize: Callable[[str], str],
) -> Built:
  """Estimates a language model and writes it as an ARPA file.

  Args:
    sources: text files with a sentence in each line, plain or compressed, and folders of
      ArrayRecord shards; local or URLs.
    out: the ARPA file.
    order, prune: as `kneser_ney.Model` takes them.
    split: of the folders.
    normalize: applied to each sentence.

  Raises:
    ValueError: a source cannot be used, there are no words, or a word is `<s>`, `</s>` or `<unk>`.
  """
  require_file_place(out)
  require_apart([out], sources)
  counter = Counter()
  with ProgressLine("count", None) as progress:
    for source in sources:
      for number, (place, sentence) in enumerate(_sentences(source, split), 1):
        try:
          counter.add(normalize(sentence))
        except ValueError as error:
          raise ValueError(f"{place}: {error}") from error
        if number % _SHOWN_EVERY == 0:
          progress.update(counter.sentences, f"{counter.tokens:,} words")
  if not counter.sentences:
    raise ValueError(f"{', '.join(sources)}: no words; give a text with a sentence in each line")
  say(f"estimating {order}-grams of {counter.tokens:,} words")
  model = Model(counter, order, prune)
  with storage.atomic_open(out) as file:
    model.write(file)
  guessed = tuple(n for n, level in enumerate(model.levels, 1) if not level.estimated)
  if guessed:
    say(
      f"too few {', '.join(map(str, guessed))}-grams to estimate discounts, which are {FALLBACK}"
      " instead; more text or a smaller --order mends it"
    )
  return Built(
    path=out,
    sentences=counter.sentences,
    tokens=counter.tokens,
    sizes=tuple(model.sizes),
    guessed=guessed,
  )


def _sentences(source: str, split: str) -> Iterator[tuple[str, str]]:
  """Yields sentences, each with its place for errors."""
  if storage.is_file(source):
    yield from _lines(source)
    return
  if not storage.exists(source):
    raise ValueError(f"{source}: no such file or folder; expected a text file, or a data set")
  records = find_or_scan_lengths(find_shards(source, split))
  for number in range(len(records)):
    record = records[number]
    if record is not None:
      yield f"{source}: {record.sample_id}", record.text


def _lines(path: str) -> Iterator[tuple[str, str]]:
  try:
    with storage.open_read(path) as file:
      for number, line in zip(
        itertools.count(1), decompress(cast(io.BufferedIOBase, file)), strict=False
      ):
        yield f"{path}:{number}", line.decode("utf-8-sig" if number == 1 else "utf-8")
  except UnicodeDecodeError as error:
    raise ValueError(f"{path}: not text in UTF-8 ({error.reason})") from error
  except (OSError, *DAMAGE) as error:
    if not is_damage(error):
      raise
    raise ValueError(f"{path}: its compressed content is cut or damaged; copy it again") from error
