"""Prefix beam search against all paths of small cases, flashlight-text, and its rules."""

import gzip
import itertools
import json
import math
import pathlib
import sys
from concurrent.futures import ThreadPoolExecutor

import kenlm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maxtext_ext.decode import ctc_search
from maxtext_ext.decode.ctc_alignment import find_runs
from maxtext_ext.decode.ctc_search import PrefixSearch
from maxtext_ext.text.alphabet import Alphabet
from maxtext_ext.text.kneser_ney import Counter, Model

GOLDEN = json.loads(pathlib.Path("tests/golden/ctc_beams.json").read_text())
LETTERS = Alphabet("abcdefghijklmnopqrstuvwxyz")
AB = Alphabet("ab ")


def log_softmax(logits_FV: np.ndarray) -> np.ndarray:
  return logits_FV - np.log(np.exp(logits_FV).sum(axis=1, keepdims=True))


def emissions(seed: int, frames: int, peak: float) -> np.ndarray:
  """As tests.golden.make_ctc_beams makes them, whose import needs flashlight-text."""
  rng = np.random.default_rng(seed)
  logits = rng.normal(size=(frames, LETTERS.vocab_size))
  said = np.where(rng.random(frames) < 0.5, 0, rng.integers(1, LETTERS.vocab_size, frames))
  logits[np.arange(frames), said] += peak
  return log_softmax(logits).astype(np.float32)


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: str(golden["case"]))
def test_the_best_text_and_score_are_those_of_flashlight(golden):
  log_probs_FV = emissions(*golden["case"])
  text, score = PrefixSearch(LETTERS, beams=100, thorough=True).best(log_probs_FV)
  assert text == golden["text"]
  assert score == pytest.approx(golden["score"], abs=2e-5)
  quick = PrefixSearch(LETTERS, beams=100)
  assert LETTERS.decode(quick(log_probs_FV)) == golden["text"]


def totals(log_probs_FV: np.ndarray) -> dict[str, float]:
  """Log-probability of every text, its words with single spaces, by adding up all paths."""
  frames, symbols = log_probs_FV.shape
  found: dict[str, float] = {}
  for path in itertools.product(range(symbols), repeat=frames):
    text = " ".join(AB.decode(find_runs(np.array(path, int)).labels).split())
    score = log_probs_FV[range(frames), path].sum()
    found[text] = float(np.logaddexp(found.get(text, -np.inf), score))
  return found


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), frames=st.integers(0, 5))
def test_the_best_text_has_the_most_probable_paths(seed: int, frames: int):
  log_probs_FV = log_softmax(np.random.default_rng(seed).normal(0, 2, (frames, AB.vocab_size)))
  all_texts = totals(log_probs_FV)
  text, score = PrefixSearch(AB, beams=1000, thorough=True).best(log_probs_FV.astype(np.float32))
  assert score == pytest.approx(max(all_texts.values()), abs=1e-5)
  assert all_texts[text] == pytest.approx(score, abs=1e-5)


def test_paths_add_up():
  """The likeliest path says nothing, but most probability is with "a"."""
  log_probs_FV = np.log(np.array([[0.4, 0.35, 0.25, 1e-9], [0.4, 0.35, 0.25, 1e-9]], np.float32))
  assert log_probs_FV.argmax(axis=1).tolist() == [0, 0]
  assert PrefixSearch(AB, beams=10)(log_probs_FV) == [1]


def test_a_hot_word_is_preferred():
  logits_FV = np.zeros((3, AB.vocab_size), np.float32)
  logits_FV[[0, 1, 2], [1, 0, 1]] = 2.5
  logits_FV[2, 2] = 2
  log_probs_FV = log_softmax(logits_FV)
  assert AB.decode(PrefixSearch(AB, beams=10)(log_probs_FV)) == "aa"
  assert AB.decode(PrefixSearch(AB, beams=10, hotwords=["ab"])(log_probs_FV)) == "ab"
  light = PrefixSearch(AB, beams=10, hotwords=["ab"], hotword_weight=0.0)
  assert AB.decode(light(log_probs_FV)) == "aa"


def test_threads_find_the_same():
  search = PrefixSearch(LETTERS, beams=20)
  clips = [emissions(seed, 80, 4.0) for seed in range(8)]
  with ThreadPoolExecutor(4) as pool:
    assert list(pool.map(search, clips)) == [search(clip) for clip in clips]


@pytest.mark.parametrize(
  ("alphabet", "options", "message"),
  [
    ("ab\u2581", {}, r"beam search cannot write \['\u2581'\]"),
    ("ab|", {}, r"beam search cannot write \['\|'\]"),
    ("ab ", {"hotwords": ["abc"]}, r"hotwords: .*'c' \(U\+0063\) not in the alphabet"),
    ("ab ", {"hotwords": ["a", " "]}, "hotwords: an empty word; leave it out"),
    ("ab", {"lm_path": "x.arpa"}, "lm_path: x.arpa: .* needs an alphabet with a space"),
    ("ab ", {"lm_path": "x.arpa"}, "lm_path: x.arpa: no such file; give an ARPA file"),
  ],
)
def test_what_cannot_be_searched_is_refused(alphabet: str, options, message: str):
  with pytest.raises(ValueError, match=message):
    PrefixSearch(Alphabet(alphabet), beams=4, **options)


LM_TEXT = ["ab ba", "ab ab", "ba", "a ab ba", "ab"]


def write_lm(path: pathlib.Path, sentences: list[str], order: int = 2) -> str:
  counter = Counter()
  for sentence in sentences:
    counter.add(sentence)
  with path.open("w") as file:
    Model(counter, order).write(file)
  return str(path)


@pytest.mark.parametrize(("weight", "word_score"), [(0.5, 1.5), (2.0, 0.0)])
def test_a_language_model_adds_its_score_to_every_text(tmp_path, weight: float, word_score: float):
  path = write_lm(tmp_path / "lm.arpa", LM_TEXT)
  lm = kenlm.Model(path)
  options = {"lm_path": path, "lm_weight": weight, "lm_word_score": word_score}
  search = PrefixSearch(AB, beams=1000, thorough=True, **options)
  changed = 0
  for seed in range(12):
    log_probs_FV = log_softmax(np.random.default_rng(seed).normal(0, 2, (5, AB.vocab_size)))
    acoustic = totals(log_probs_FV)
    # An unknown word costs 10 more, as a logarithm to base 10.
    scores = {
      text: log_prob
      + weight
      * math.log(10)
      * sum(log_prob - (10 if oov else 0) for log_prob, _, oov in lm.full_scores(text))
      + word_score * len(text.split())
      for text, log_prob in acoustic.items()
    }
    best = max(scores, key=lambda text: scores[text])
    text, score = search.best(log_probs_FV.astype(np.float32))
    assert (text, score) == (best, pytest.approx(scores[best], abs=1e-4))
    changed += best != max(acoustic, key=lambda text: acoustic[text])
  assert changed > 2


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (b"", r"no ARPA file: expected \\data"),
    (b"hello there", "no ARPA file"),
    (b"\xff\xfe", "not text in UTF-8"),
    (b"\\data\\\nngram 1=1\n\n\\1-grams:\n-1\tAB\n", "single words alone"),
    (b"\\data\\\nngram 1=1\nngram 2=1\n\n\\1-grams:\n-1\tAB\n", "none of its 1 words, such as"),
    (
      b"\\data\\\nngram 1=2\nngram 2=1\n\n\\1-grams:\n-1\tab\t-1\n",
      "1 single words, but .* says 2",
    ),
    (b"\\data\\\nngram 1=1\nngram 2=1\n\n\\1-grams:\n-1\tab\t-1\n\n", "KenLM cannot read it"),
  ],
)
def test_a_language_model_that_cannot_be_used_is_named(tmp_path, content: bytes, message: str):
  path = tmp_path / "lm.arpa"
  path.write_bytes(content)
  with pytest.raises(ValueError, match=f"lm_path: {path}: .*{message}") as caught:
    PrefixSearch(AB, beams=4, lm_path=str(path))
  assert "\n" not in str(caught.value)


def test_a_compressed_language_model_is_read(tmp_path):
  plain = write_lm(tmp_path / "lm.arpa", LM_TEXT)
  packed = tmp_path / "lm.arpa.gz"
  packed.write_bytes(gzip.compress(pathlib.Path(plain).read_bytes()))
  log_probs_FV = log_softmax(np.random.default_rng(0).normal(0, 2, (6, 4))).astype(np.float32)
  found = [
    PrefixSearch(AB, beams=9, lm_path=str(path)).best(log_probs_FV) for path in (plain, packed)
  ]
  assert found[0] == found[1]


def test_letters_that_the_library_reads_as_marks_are_written():
  alphabet = Alphabet("_| #")
  log_probs_FV = log_softmax(10 * np.eye(5, dtype=np.float32)[[1, 2, 3, 4]])
  assert alphabet.decode(PrefixSearch(alphabet, beams=4)(log_probs_FV)) == "_| #"


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch):
  monkeypatch.setitem(sys.modules, "ctc_beam_decoder", None)
  ctc_search.import_library.cache_clear()
  with pytest.raises(ValueError, match=r"needs the package .*: pip install 'maxtext_ext\[ctc\]'"):
    PrefixSearch(AB, beams=4)
  ctc_search.import_library.cache_clear()
