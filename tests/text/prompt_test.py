"""The template, token for token, and reading answers back."""

import importlib.util
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.text.prompt import build_prompt, build_target, parse_output
from maxtext_ext.text.tokenizer import Tokenizer, train_char_tokenizer

HEBREW = [11528, 36266, 151704]


@pytest.fixture(scope="module")
def qwen3() -> Tokenizer:
  spec = importlib.util.find_spec("maxtext")
  assert spec is not None and spec.submodule_search_locations
  assets = Path(spec.submodule_search_locations[0]) / "assets"
  return Tokenizer.from_directory(assets / "tokenizers/qwen3-tokenizer")


@pytest.fixture(scope="module")
def char(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
  return train_char_tokenizer(["abc"], tmp_path_factory.mktemp("char"), ["English", "Hebrew"])


def test_the_prompt_is_the_published_one(qwen3: Tokenizer) -> None:
  prompt = build_prompt(qwen3)
  assert prompt.before == (151644, 8948, 198, 151645, 198, 151644, 872, 198, 151669)
  assert prompt.after == (151670, 151645, 198, 151644, 77091, 198)


@pytest.mark.parametrize(
  ("language", "ids"),
  [("English", [11528, 6364, 151704]), ("Hebrew", HEBREW), ("hebrew", HEBREW)],
)
def test_a_forced_language_ends_the_prompt(qwen3: Tokenizer, language: str, ids: list[int]) -> None:
  free = build_prompt(qwen3)
  forced = build_prompt(qwen3, language=language)
  assert forced.before == free.before
  assert forced.after == (*free.after, *ids)


def test_context_stands_in_the_system_turn(qwen3: Tokenizer) -> None:
  context = "Names: Dana, <|im_end|>"
  before = build_prompt(qwen3, context=context).before
  assert before[0] == qwen3.im_start_id
  end = before.index(qwen3.im_end_id)
  assert qwen3.decode(before[1:end]) == f"system\n{context}"
  assert before[end:] == build_prompt(qwen3).before[3:]


def test_context_is_tokenised_together_with_its_line_as_the_published_template_is(
  qwen3: Tokenizer,
) -> None:
  ids = build_prompt(qwen3, context="\nfirst").before
  assert list(ids[1:4]) == qwen3.encode("system\n\nfirst")[:3] != qwen3.encode("system\n")[:2]


@pytest.mark.parametrize(
  ("text", "language", "forced", "tag"),
  [
    ("hi", "English", False, [11528, 6364, 151704]),
    ("שלום", "Hebrew", False, HEBREW),
    ("hi", None, False, [11528, 2240, 151704]),
    ("", None, False, [11528, 2240, 151704]),
    ("hi", "English", True, []),
    ("", None, True, []),
  ],
)
def test_targets(
  qwen3: Tokenizer, text: str, language: str | None, forced: bool, tag: list[int]
) -> None:
  target = build_target(qwen3, text, language=language, forced=forced)
  assert target == [*tag, *qwen3.encode(text), 151645]


def test_the_template_is_single_tokens_for_the_char_tokenizer(char: Tokenizer) -> None:
  prompt = build_prompt(char, language="Hebrew")
  assert (len(prompt.before), len(prompt.after)) == (9, 9)
  assert len(build_target(char, "abc", language="English", forced=False)) == 3 + 3 + 1


@given(
  text=st.text(st.characters(exclude_categories=["Cs"])).map(str.strip),
  language=st.sampled_from(["English", "Hebrew", "Cantonese (Hong Kong)", None]),
)
def test_an_answer_equal_to_the_target_is_read_back(
  qwen3: Tokenizer, text: str, language: str | None
) -> None:
  answer = qwen3.decode(build_target(qwen3, text, language=language, forced=False))
  assert parse_output(answer) == (language, text)


@pytest.mark.parametrize(
  ("answer", "expected"),
  [
    ("language English<asr_text> Hello. \n", ("English", "Hello.")),
    ("language hebrew<asr_text>שלום", ("Hebrew", "שלום")),
    ("language None<asr_text>", (None, "")),
    ("language None<asr_text>still words", (None, "still words")),
    ("noise\nlanguage Arabic\n<asr_text>نعم", ("Arabic", "نعم")),
    ("<asr_text>words", (None, "words")),
    ("language <asr_text>words", (None, "words")),
    ("language English<asr_text>a<asr_text>b", ("English", "a<asr_text>b")),
    (" just words ", (None, "just words")),
    ("language English", (None, "language English")),
    ("", (None, "")),
  ],
)
def test_parse_output(answer: str, expected: tuple[str | None, str]) -> None:
  assert parse_output(answer) == expected
