"""Words and their confidences, from made-up tokens."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.decode.words import Word, rate_words, shift_line


def rated(text: str, *tokens: tuple[str, float]) -> list[tuple[str, float]]:
  """Words and confidences of tokens with their probabilities."""
  words = rate_words(text, [piece for piece, _ in tokens], [math.log(p) for _, p in tokens])
  return [(word.text, word.confidence) for word in words]


@pytest.mark.parametrize(
  ("text", "tokens", "words"),
  [
    (
      "Hello, my world.",
      [("Hel", 0.9), ("lo", 0.5), (",", 0.8), (" my", 0.7), (" world", 0.6), (".", 0.5)],
      [("Hello,", 0.36), ("my", 0.7), ("world.", 0.3)],
    ),
    # The language before the transcript belongs to no word.
    (
      "a b",
      [("language", 0.1), ("<asr_text>", 0.1), (" a", 0.5), (" b", 0.25)],
      [("a", 0.5), ("b", 0.25)],
    ),
    ("שלום לך", [("של", 0.5), ("ום", 0.5), (" לך", 0.9)], [("שלום", 0.25), ("לך", 0.9)]),
    (
      "你好，世",
      [("你好", 0.5), ("，", 0.9), ("世", 0.8)],
      [("你", 0.5), ("好，", 0.45), ("世", 0.8)],
    ),
    # A character whose bytes are in three tokens.
    (
      "a 字",
      [("a", 0.5), (" ", 0.9), ("", 0.5), ("", 0.5), ("字", 0.8)],
      [("a", 0.5), ("字", 0.2)],
    ),
    # Spaces as tokens of their own, and around the transcript.
    (
      "x y",
      [(" ", 0.1), ("x", 0.5), (" ", 0.1), ("y", 0.4), ("\n", 0.1)],
      [("x", 0.5), ("y", 0.4)],
    ),
    # Bytes that make no character are left out of the text.
    ("ab", [("a", 0.5), ("\ufffd", 0.5), ("b", 0.5)], [("ab", 0.125)]),
    ("", [("language", 0.5)], []),
  ],
)
def test_a_word_has_the_product_of_its_tokens(text, tokens, words):
  found = rated(text, *tokens)
  assert [word for word, _ in found] == [word for word, _ in words]
  assert [c for _, c in found] == pytest.approx([c for _, c in words])


def test_without_log_probabilities_or_with_another_text_there_are_none():
  assert rate_words("a b", ["a", " b"], []) == ()
  assert rated("c", ("a", 0.5)) == []


def test_a_word_lasts_from_its_first_token_to_its_last():
  pieces, log_probs = ["", "ab", "", " ", "c", "d"], [-1.0] * 6
  times = [(i / 10, i / 10 + 0.05) for i in range(6)]
  one, two = rate_words("ab cd", pieces, log_probs, times)
  assert (one.times, two.times) == (pytest.approx((0.0, 0.15)), pytest.approx((0.4, 0.55)))
  assert one.later(10).times == pytest.approx((10.0, 10.15))
  line = two.later(1 / 3).as_dict()
  assert (line["start"], line["end"]) == (0.733, 0.883)
  assert shift_line(line, 2.0) == line | {"start": 2.733, "end": 2.883}
  (plain,) = rate_words("ab", ["ab"], [-1.0])
  assert plain.times is None and plain.later(1.0) == plain
  assert shift_line(plain.as_dict(), 2.0) == plain.as_dict()


def test_confidences_are_rounded_in_lines():
  assert Word(text="a", confidence=0.123456).as_dict() == {"word": "a", "confidence": 0.1235}
  assert Word(text="a", confidence=1.23456e-8).as_dict()["confidence"] == 1.235e-8


@given(
  pieces=st.lists(st.text("ab שלו你，. ", max_size=3), max_size=8),
  data=st.data(),
)
def test_words_are_those_of_the_text_whatever_its_tokens_are(pieces, data):
  text = "".join(pieces).strip()
  log_probs = data.draw(st.lists(st.floats(-9, 0), min_size=len(pieces), max_size=len(pieces) + 1))
  words = rate_words(text, pieces, log_probs)
  assert "".join(word.text for word in words) == "".join(text.split())
  assert all(0 <= word.confidence <= 1 for word in words)
  whole = math.exp(sum(log_probs))
  assert all(word.confidence >= whole - 1e-12 for word in words)
