import pytest

from maxtext_ext.evaluate.hypothesis import Hypothesis
from maxtext_ext.evaluate.pier import score_switched, script_of
from maxtext_ext.evaluate.wer import Texts


def scored(*pairs: tuple[str, str], language: str | None = "Hebrew"):
  hypotheses = [
    Hypothesis(id=str(i), language=language, reference=said, hypothesis=heard)
    for i, (said, heard) in enumerate(pairs)
  ]
  result = score_switched(hypotheses, [Texts(*pair) for pair in pairs])
  return None if result is None else (result.utterances, result.words, result.edits)


HEBREW = ("שלום לכולם וברוכים הבאים", "שלום לכולם")  # errors of other words do not count


@pytest.mark.parametrize(
  ("pairs", "expected"),
  [
    ([("שלחתי email אתמול", "שלחתי email")], (1, 1, 0)),
    ([("שלחתי email אתמול", "שלחתי אימייל אתמול")], (1, 1, 1)),  # a substitution
    ([("שלחתי email אתמול", "שלחתי אתמול")], (1, 1, 1)),  # a deletion
    ([("יש לי file downloaded כאן", "יש לי file down loaded כאן")], (1, 2, 2)),
    ([("שלחתי email אתמול", "שלחתי email לי אתמול")], (1, 1, 0)),  # behind the word, not before
    ([HEBREW], None),
    ([HEBREW, ("all english", "old english")], None),  # no switch inside
    ([("שנת 2024 טובה", "שנת 2025 טובה")], None),  # digits have no script
    ([HEBREW, ("יש meeting", "יש meeting"), ("go הביתה", "הביתה")], (2, 2, 1)),
  ],
)
def test_errors_of_switched_words(pairs, expected):
  assert scored(*pairs) == expected


def test_characters_of_chinese_count_alone():
  pair = ("我 们 去 coffee shop", "我 门 去 coffee 商店")
  assert scored(pair, language="Chinese") == (1, 2, 2)
  reverse = ("we drank 咖啡 at home today", "we drank 加啡 at home today")
  assert scored(reverse, language="English") == (1, 2, 1)


def test_the_main_script_is_that_of_the_language():
  pairs = [("only english here and there", "x"), ("עברית english words here", "english")]
  assert scored(*pairs, language=None) == (1, 1, 1)
  rate = score_switched(
    [Hypothesis(id="a", reference="", hypothesis="")], [Texts("יש meeting עכשיו", "יש עכשיו")]
  )
  assert rate is not None and rate.rate == 1.0


@pytest.mark.parametrize(
  ("word", "script"),
  [
    ("hello", "LATIN"),
    ("שלום", "HEBREW"),
    ("سلام", "ARABIC"),
    ("漢", "CJK"),
    ("かな", "CJK"),
    ("3rd", "LATIN"),
    ("42", None),
    ("", None),
    ("\u0301", None),
  ],
)
def test_scripts(word, script):
  assert script_of(word) == script
