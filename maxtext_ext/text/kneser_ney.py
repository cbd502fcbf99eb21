"""Interpolated modified Kneser-Ney estimation of n-gram language models, as KenLM's lmplz does it.

Sources: Chen and Goodman 1998, "An Empirical Study of Smoothing Techniques for Language Modeling";
Heafield et al. 2013, "Scalable Modified Kneser-Ney Language Model Estimation".

Sentences are counted between `<s>` and `</s>`. The longest n-grams count as often as they occur,
and so do shorter ones that begin with `<s>`; others count the different words before them.
"""

from array import array
from collections.abc import Sequence
from typing import IO, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from maxtext_ext.text.arpa import BEGIN, END, RESERVED, UNKNOWN

MOST_WORDS = 5  # of an n-gram
# Discounts of n-grams that count 1, 2, and 3 or more, where there are too few to estimate them.
FALLBACK = (0.5, 1.0, 1.5)
_UNKNOWN, _BEGIN, _END = 0, 1, 2  # ids
_ALWAYS = 0.0  # log10 of the probability of <s>, which no text has to guess


class Grams(NamedTuple):
  """Different n-grams of one order; N of them.

  Attributes:
    context: number of the (n-1)-gram of all words but the last, in its order.
    suffix: number of the (n-1)-gram of all words but the first.
    word: id of the last word.
    begins: whether the first word is `<s>`.
    occurrences: in the text.
  """

  context: Int[np.ndarray, "N"]
  suffix: Int[np.ndarray, "N"]
  word: Int[np.ndarray, "N"]
  begins: Bool[np.ndarray, "N"]
  occurrences: Int[np.ndarray, "N"]


class Level(NamedTuple):
  """Estimates of one order; N n-grams.

  Attributes:
    log_prob: log10 of the interpolated probability of the last word after the others.
    log_backoff: log10 of the weight of shorter contexts after these words; 0 for the longest.
    kept: those that pruning leaves.
    discounts: of n-grams that count 1, 2, and 3 or more.
    estimated: whether the discounts are of the text; else they are FALLBACK.
  """

  log_prob: Float[np.ndarray, "N"]
  log_backoff: Float[np.ndarray, "N"]
  kept: Bool[np.ndarray, "N"]
  discounts: tuple[float, float, float]
  estimated: bool


class Counter:
  """Counter of words and sentences.

  Attributes:
    words: by id.
    sentences: so far, without empty ones.
  """

  def __init__(self) -> None:
    self.words = [UNKNOWN, BEGIN, END]
    self.sentences = 0
    self._ids: dict[str, int] = {}
    self._text = array("i")

  def add(self, sentence: str) -> None:
    """Adds words between white space; a sentence without any is left out.

    Raises:
      ValueError: a word is `<s>`, `</s>` or `<unk>`.
    """
    words = sentence.split()
    if not words:
      return
    if reserved := RESERVED.intersection(words):
      raise ValueError(
        f"{sentence.strip()!r:.80}: {sorted(reserved)[0]} is no word of a text; remove such marks"
      )
    self._text.append(_BEGIN)
    for word in words:
      number = self._ids.get(word)
      if number is None:
        number = self._ids[word] = len(self.words)
        self.words.append(word)
      self._text.append(number)
    self._text.append(_END)
    self.sentences += 1

  @property
  def tokens(self) -> int:
    """Returns the words so far, all occurrences."""
    return len(self._text) - 2 * self.sentences

  def text(self) -> Int[np.ndarray, "T"]:
    """Returns the ids of all sentences, one after the other, with `<s>` and `</s>`."""
    return np.frombuffer(self._text, np.int32).astype(np.int64)


class Model:
  """Language model of the text of a counter.

  Args:
    counter: with at least one sentence.
    order: words of the longest n-grams, 1 to MOST_WORDS.
    prune: n-grams of each order that occur at most so often are left out, and their probability
      goes to shorter contexts; 0: none, which single words need. The last one holds for longer
      n-grams too.

  Raises:
    ValueError: order or prune out of range.
  """

  def __init__(self, counter: Counter, order: int = 3, prune: Sequence[int] = (0,)) -> None:
    if not 1 <= order <= MOST_WORDS:
      raise ValueError(f"order is {order}, expected 1 to {MOST_WORDS}")
    prune = _check_prune(prune, order)
    assert counter.sentences, "a text"
    self.words = counter.words
    self.grams = count_grams(counter.text(), order, len(counter.words))
    self.levels: list[Level] = []
    for index, grams in enumerate(self.grams):
      longer = self.grams[index + 1] if index + 1 < order else None
      counts = _adjusted_counts(grams, longer)
      kept = grams.occurrences > prune[index]
      if index == 0:
        kept[:] = True
        counts = np.where(grams.begins, 0, counts)  # <s> is never guessed
      lower = self.levels[-1] if self.levels else None
      self.levels.append(self._estimate(grams, counts, kept, lower))

  def _estimate(
    self, grams: Grams, counts: np.ndarray, kept: np.ndarray, lower: Level | None
  ) -> Level:
    """Estimates an order, and sets the back-off weights of the one below."""
    discounts, estimated = estimate_discounts(counts)
    contexts = 1 if lower is None else len(lower.kept)
    discount = np.array((0.0, *discounts))[np.minimum(counts, 3)]
    total = np.bincount(grams.context, counts, contexts)
    freed = np.bincount(grams.context, np.where(kept, discount, counts), contexts)
    with np.errstate(invalid="ignore"):  # 0 / 0 of n-grams after which nothing comes
      backoff = freed / total
    own = np.where(kept, counts - discount, 0.0) / total[grams.context]
    if lower is None:
      shorter = np.full(len(counts), 1.0 / (len(self.words) - 1))  # of all words but <s>
    else:
      shorter = 10.0 ** lower.log_prob[grams.suffix]
      has_context = total > 0
      lower.log_backoff[has_context] = np.log10(backoff[has_context])
    with np.errstate(divide="ignore"):
      log_prob = np.log10(own + backoff[grams.context] * shorter)
    if lower is None:
      log_prob[_BEGIN] = _ALWAYS
    return Level(log_prob, np.zeros(len(counts)), kept, discounts, estimated)

  @property
  def sizes(self) -> list[int]:
    """Returns the n-grams of each order that are kept."""
    return [int(level.kept.sum()) for level in self.levels]

  def write(self, file: IO[str]) -> None:
    """Writes the ARPA file, see `text.arpa`."""
    file.write("\\data\\\n")
    file.writelines(f"ngram {n}={size}\n" for n, size in enumerate(self.sizes, 1))
    names: list[str] = []
    for number, (grams, level) in enumerate(zip(self.grams, self.levels, strict=True), 1):
      file.write(f"\n\\{number}-grams:\n")
      names = self._names(grams, names)
      numbers = np.flatnonzero(level.kept).tolist()
      log_prob, log_backoff = level.log_prob.tolist(), level.log_backoff.tolist()
      if number < len(self.grams):
        lines = (f"{log_prob[i]:.7g}\t{names[i]}\t{log_backoff[i]:.7g}\n" for i in numbers)
      else:
        lines = (f"{log_prob[i]:.7g}\t{names[i]}\n" for i in numbers)
      file.writelines(lines)
    file.write("\n\\end\\\n")

  def _names(self, grams: Grams, shorter: list[str]) -> list[str]:
    if not shorter:
      return self.words
    words = self.words
    pairs = zip(grams.context.tolist(), grams.word.tolist(), strict=True)
    return [f"{shorter[context]} {words[word]}" for context, word in pairs]


def count_grams(text_T: Int[np.ndarray, "T"], order: int, vocabulary: int) -> list[Grams]:
  """Counts the n-grams of all orders inside of sentences.

  Args:
    text_T: as `Counter.text` returns it.
    order: the highest.
    vocabulary: number of ids. The single words are all of them, in their order.
  """
  number_T = text_T  # of the n-gram that begins at each place
  is_begin_T = text_T == _BEGIN
  singles = np.arange(vocabulary)
  found = [
    Grams(
      context=np.zeros_like(singles),
      suffix=np.zeros_like(singles),
      word=singles,
      begins=singles == _BEGIN,
      occurrences=np.bincount(text_T, minlength=vocabulary),
    )
  ]
  inside_T = np.ones(len(text_T), bool)  # n-grams that end in their sentence
  for n in range(2, order + 1):
    inside_T = inside_T[:-1] & ~is_begin_T[n - 1 :]
    places = np.flatnonzero(inside_T)
    keys = number_T[places] * vocabulary + text_T[places + n - 1]
    unique, first, number, occurrences = np.unique(
      keys, return_index=True, return_inverse=True, return_counts=True
    )
    found.append(
      Grams(
        context=unique // vocabulary,
        suffix=number_T[places[first] + 1],
        word=unique % vocabulary,
        begins=is_begin_T[places[first]],
        occurrences=occurrences,
      )
    )
    number_T = np.zeros(len(inside_T), np.int64)
    number_T[places] = number
  return found


def _adjusted_counts(grams: Grams, longer: Grams | None) -> Int[np.ndarray, "N"]:
  """Counts n-grams for estimation."""
  if longer is None:
    return grams.occurrences
  different = np.bincount(longer.suffix, minlength=len(grams.word))
  return np.where(grams.begins, grams.occurrences, different)


def estimate_discounts(
  counts: Int[np.ndarray, "N"],
) -> tuple[tuple[float, float, float], bool]:
  """Estimates what n-grams that count 1, 2, and 3 or more give to unseen ones.

  Returns:
    the discounts, and whether they are of these counts; else they are FALLBACK, since too few
    n-grams count 1, 2 or 3, or they are out of range.
  """
  n1, n2, n3, n4 = (int((counts == count).sum()) for count in (1, 2, 3, 4))
  if not n1 or not n2 or not n3:
    return FALLBACK, False
  y = n1 / (n1 + 2 * n2)
  found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
  if not all(0 <= discount <= most for most, discount in enumerate(found, 1)):
    return FALLBACK, False
  return found, True


def _check_prune(prune: Sequence[int], order: int) -> list[int]:
  values = [*prune, *[prune[-1]] * (order - len(prune))] if prune else [0] * order
  if len(values) > order or values[0] or values != sorted(values):
    raise ValueError(
      f"prune is {','.join(map(str, prune))}, expected a number for each of {order} orders, 0 for"
      " single words and none below the one before"
    )
  return values
