from maxtext_ext.evaluate.examples import Gap, find_worst
from maxtext_ext.evaluate.hypothesis import Hypothesis
from maxtext_ext.evaluate.wer import score


def worst(*pairs: tuple[str, str], count: int = 9):
  hypotheses = [
    Hypothesis(id=str(i), reference=said, hypothesis=heard) for i, (said, heard) in enumerate(pairs)
  ]
  return find_worst(hypotheses, score(hypotheses, "none"), count)


def test_the_most_errors_come_first_and_right_ones_never():
  examples = worst(("a b", "a c"), ("a b", "x y"), ("a", "a"), ("a b", "a d"))
  assert [(item.utterance.id, item.edits, item.words) for item in examples] == [
    ("1", 2, 2),
    ("0", 1, 2),
    ("3", 1, 2),
  ]
  assert [item.utterance.id for item in worst(("a", "b"), ("a", "c"), count=1)] == ["0"]


def test_long_runs_of_right_words_are_a_gap():
  words = [f"w{i}" for i in range(20)]
  (example,) = worst((" ".join(words), " ".join([*words, "more"])))
  kinds = [pair.kind for pair in example.pairs]
  assert kinds == ["hit"] * 3 + ["gap"] + ["hit"] * 3 + ["insertion"]
  assert example.pairs[3] == Gap(words=14)


def test_direction_and_units_are_those_of_the_text():
  hebrew, chinese = worst(("שלום a", "שלום b"), ("我们去", "我门去"))
  assert (hebrew.direction, chinese.direction) == ("rtl", "ltr")
  assert (chinese.edits, chinese.words) == (1, 3)
  (from_output,) = worst(("", "שלום"))
  assert from_output.direction == "rtl"


def test_spaces_between_chinese_characters_are_no_errors_to_show():
  examples = worst(
    ("\u6211\u4eec\u53bb", "\u6211\u4eec \u53bb"), ("\u6211\u4eec\u53bb", "\u4f60 \u95e8")
  )
  assert [(item.utterance.id, item.edits, item.words) for item in examples] == [("1", 3, 3)]
