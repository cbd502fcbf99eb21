"""Kneser-Ney estimates against values by hand, a plain implementation, and KenLM's reader."""

import collections
import functools
import itertools
import math
import pathlib

import kenlm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maxtext_ext.text import kneser_ney
from maxtext_ext.text.arpa import read_head
from maxtext_ext.text.kneser_ney import FALLBACK, Counter, Model, estimate_discounts

SENTENCES = st.lists(st.text("abc ", max_size=12), min_size=1, max_size=12)


def count(sentences: list[str]) -> Counter:
  counter = Counter()
  for sentence in sentences:
    counter.add(sentence)
  return counter


def read_arpa(path: pathlib.Path) -> dict[tuple[str, ...], tuple[float, float]]:
  """Probability and back-off weight, both as log10, of the n-grams of a file."""
  found = {}
  for line in path.read_text().splitlines():
    fields = line.split("\t")
    if len(fields) > 1:
      backoff = float(fields[2]) if len(fields) > 2 else 0.0
      found[tuple(fields[1].split(" "))] = float(fields[0]), backoff
  return found


def score(arpa: dict, words: tuple[str, ...]) -> float:
  """log10 of the probability of the last word after the others, by the definition of the format."""
  if words in arpa:
    return arpa[words][0]
  if len(words) == 1:
    return arpa[("<unk>",)][0]
  return arpa.get(words[:-1], (0, 0.0))[1] + score(arpa, words[1:])


def write(model: Model, folder: pathlib.Path) -> pathlib.Path:
  path = folder / "model.arpa"
  with path.open("w") as file:
    model.write(file)
  return path


def test_values_by_hand(tmp_path: pathlib.Path):
  """Of "a b" and "a": a follows <s> twice; too few n-grams for discounts of their own.

  Single words count what is before them: a 1, b 1, </s> 2 (b and a). The discounts are 0.5, 0.5 and
  1: of a total of 4, 2 go to the 4 words <unk>, a, b and </s>, so 0.125 to each.
  """
  arpa = read_arpa(write(Model(count(["a b", "a"]), 2), tmp_path))
  assert len(arpa) == 5 + 4
  expected = {
    ("<unk>",): 0.125,
    ("a",): 0.25,
    ("b",): 0.25,
    ("</s>",): 0.375,
    ("<s>", "a"): (2 - 1) / 2 + 1 / 2 * 0.25,
    ("a", "b"): (1 - 0.5) / 2 + 1 / 2 * 0.25,
    ("a", "</s>"): (1 - 0.5) / 2 + 1 / 2 * 0.375,
    ("b", "</s>"): (1 - 0.5) / 1 + 1 / 2 * 0.375,
  }
  for words, probability in expected.items():
    assert 10 ** arpa[words][0] == pytest.approx(probability, rel=1e-6), words
  backoffs = {word: 10 ** arpa[(word,)][1] for word in ("<s>", "a", "b", "</s>")}
  assert backoffs == pytest.approx({"<s>": 0.5, "a": 0.5, "b": 0.5, "</s>": 1.0}, rel=1e-6)


def test_discounts_by_hand():
  """n1 = 4, n2 = 2, n3 = 2, n4 = 1: Y = 4 / (4 + 2 * 2)."""
  counts = np.repeat([0, 1, 2, 3, 4, 7], [1, 4, 2, 2, 1, 1])
  found, of_text = estimate_discounts(counts)
  assert of_text
  assert found == pytest.approx((1 - 2 * 0.5 * 2 / 4, 2 - 3 * 0.5 * 2 / 2, 3 - 4 * 0.5 * 1 / 2))
  assert estimate_discounts(counts[counts != 2]) == (FALLBACK, False)
  assert estimate_discounts(np.repeat([1, 2, 3, 4], [1, 1, 9, 1])) == (FALLBACK, False)


class Plain:
  """The model by its definition, with dictionaries."""

  def __init__(self, sentences: list[str], order: int, prune: list[int]) -> None:
    texts = [("<s>", *s.split(), "</s>") for s in sentences if s.split()]
    self.words = {word for text in texts for word in text} | {"<unk>"}
    self.counts, self.kept, self.discounts = [], [], []
    occurrences = [
      collections.Counter(
        text[i : i + n] for text in texts for i in range(len(text) - n + 1) if n <= len(text)
      )
      for n in range(1, order + 1)
    ]
    for n in range(1, order + 1):
      counts = dict(occurrences[n - 1])
      if n < order:
        different = collections.Counter(gram[1:] for gram in occurrences[n])
        counts = {g: c if g[0] == "<s>" else different[g] for g, c in counts.items()}
      counts.pop(("<s>",), None)
      self.counts.append(counts)
      self.kept.append({g for g in counts if n == 1 or occurrences[n - 1][g] > prune[n - 1]})
      self.discounts.append(estimate_discounts(np.array([*counts.values(), 0]))[0])

  @functools.cache  # noqa: B019  lives as long as the test
  def probability(self, words: tuple[str, ...]) -> float:
    *context, _ = words
    counts, kept = self.counts[len(words) - 1], self.kept[len(words) - 1]
    after = {gram: c for gram, c in counts.items() if gram[:-1] == tuple(context)}
    shorter = self.probability(words[1:]) if context else 1 / (len(self.words) - 1)
    if not after:
      return shorter
    discount = {gram: self.discounts[len(words) - 1][min(c, 3) - 1] for gram, c in after.items()}
    own = counts[words] - discount[words] if words in kept and words in after else 0
    freed = sum(discount[gram] if gram in kept else c for gram, c in after.items())
    return (own + freed * shorter) / sum(after.values())


@settings(max_examples=30)
@given(
  sentences=SENTENCES,
  order=st.integers(1, 4),
  prune=st.sampled_from([(0, 0, 0, 0), (0, 0, 1, 1), (0, 1, 1, 2)]),
)
def test_estimates_are_those_of_the_definition_and_add_up_to_one(
  tmp_path_factory, sentences: list[str], order: int, prune: tuple[int, ...]
):
  counter = count(sentences)
  if not counter.sentences:
    return
  path = write(Model(counter, order, prune[:order]), tmp_path_factory.mktemp("lm"))
  arpa = read_arpa(path)
  plain = Plain(sentences, order, list(prune))
  assert read_head(str(path)).order == order
  assert set(read_head(str(path)).words) == plain.words - {"<s>", "</s>", "<unk>"}
  guessed = sorted(plain.words - {"<s>"})
  contexts = [(), *itertools.product(["a", "b b", "<s>", "c"], repeat=order - 1)][:10]
  for context in contexts:
    probabilities = [10 ** score(arpa, (*context, word)) for word in guessed]
    assert sum(probabilities) == pytest.approx(1, rel=1e-5)
    expected = [plain.probability((*context, word)[-order:]) for word in guessed]
    assert probabilities == pytest.approx(expected, rel=1e-5)


def test_kenlm_reads_the_same_scores(tmp_path: pathlib.Path):
  rng = np.random.default_rng(0)
  words = [f"w{i}" for i in range(30)]
  share = 1 / np.arange(1, 31)
  sentences = [
    " ".join(rng.choice(words, rng.integers(1, 9), p=share / share.sum())) for _ in range(300)
  ]
  model = Model(count(sentences), 4, (0, 0, 1))
  assert all(level.estimated for level in model.levels[2:])
  path = write(model, tmp_path)
  arpa, peer = read_arpa(path), kenlm.Model(str(path))
  assert peer.order == 4
  assert model.sizes[2] < len(model.grams[2].word), "some are pruned"
  for sentence in [*sentences[:20], "w1 unheard w2", "w29 w29 w29 w29 w29"]:
    text = ("<s>", *sentence.split(), "</s>")
    ours = [score(arpa, text[max(0, i - 3) : i + 1]) for i in range(1, len(text))]
    theirs = [log_prob for log_prob, _, _ in peer.full_scores(sentence)]
    assert ours == pytest.approx(theirs, abs=1e-4)


def test_the_numbers_of_the_text():
  counter = count(["a b a", "  ", "c"])
  assert (counter.sentences, counter.tokens) == (2, 4)
  assert counter.words[-3:] == ["a", "b", "c"]
  model = Model(counter, 3)
  assert model.sizes == [6, 6, 4]
  assert not math.isnan(sum(level.log_prob.sum() for level in model.levels))


@pytest.mark.parametrize(
  ("order", "prune", "message"),
  [
    (0, (0,), "order is 0, expected 1 to 5"),
    (6, (0,), "order is 6, expected 1 to 5"),
    (3, (1,), "prune is 1, expected a number for each of 3 orders, 0 for single words"),
    (3, (0, 2, 1), "prune is 0,2,1, expected"),
    (2, (0, 0, 0), "prune is 0,0,0, expected"),
  ],
)
def test_what_cannot_be_estimated_is_refused(order: int, prune: tuple[int, ...], message: str):
  with pytest.raises(ValueError, match=message):
    Model(count(["a"]), order, prune)


def test_marks_of_sentences_are_no_words():
  with pytest.raises(ValueError, match="'a <s>': <s> is no word of a text; remove such marks"):
    count(["a <s>"])


def test_most_words_of_an_n_gram_are_as_the_command_has_them():
  assert kneser_ney.MOST_WORDS == 5
