"""The template, token for token, and reading answers back."""

import pytest
import transformers
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.parity.prompts import published_prompt, published_tokenizer, qwen3_directory
from maxtext_ext.text.languages import LANGUAGES, language_name
from maxtext_ext.text.templates.qwen3_asr import build_prompt, build_target, parse_output
from maxtext_ext.text.tokenizer import Tokenizer, train_char_tokenizer

HEBREW = [11528, 36266, 151704]


# The published ids: the template without context, and what stands after every language.
BEFORE = [151644, 8948, 198, 151645, 198, 151644, 872, 198, 151669]
AFTER = [151670, 151645, 198, 151644, 77091, 198]
IM_END, ASR_TEXT = 151645, 151704
# One published, each in a form of its own: Latin, Arabic, Hebrew, Chinese script, digits, marks.
TRANSCRIPTS = ("Hello, 42 times.", "مرحبا بكم", "שלום לכולם", "你好，世界。", " 1\u00a0000 €\n", "")


@pytest.fixture(scope="module")
def qwen3() -> Tokenizer:
  return Tokenizer.from_directory(qwen3_directory())


@pytest.fixture(scope="module")
def theirs() -> transformers.PreTrainedTokenizerBase:
  return published_tokenizer()


@pytest.fixture(scope="module")
def char(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
  return train_char_tokenizer(["abc"], tmp_path_factory.mktemp("char"), ["English", "Hebrew"])


def test_the_prompt_is_the_published_one(qwen3: Tokenizer) -> None:
  prompt = build_prompt(qwen3)
  assert list(prompt.before) == BEFORE
  assert list(prompt.after) == AFTER


@pytest.mark.parametrize("language", [*LANGUAGES, "Hebrew", "None"])
def test_every_language_is_token_equal_to_the_published_template(
  qwen3: Tokenizer, theirs: transformers.PreTrainedTokenizerBase, language: str
) -> None:
  """The whole text through transformers' tokenizer, special tokens spelled out."""
  tag = theirs(f"language {language}<asr_text>").input_ids
  assert (tag[0], tag[-1]) == (11528, ASR_TEXT)
  prompt = build_prompt(qwen3, language=language)
  assert [*prompt.before, *prompt.after] == [*BEFORE, *AFTER, *tag]
  named = None if language == "None" else language
  for text in TRANSCRIPTS:
    answer = theirs(f"language {language}<asr_text>{text}<|im_end|>").input_ids
    assert build_target(qwen3, text, language=named, forced=False) == answer
    assert build_target(qwen3, text, language=named, forced=True) == answer[len(tag) :]
    assert parse_output(theirs.decode(answer[:-1])) == (named, text.strip())


@pytest.mark.parametrize("language", [None, "English", "Hebrew"])
@pytest.mark.parametrize(
  "context",
  ["", "Dana Cohen, Tel-Aviv", "שמות: דנה", "two\nlines\n", "\nfirst", "  spaces ", "السياق"],
)
def test_the_whole_prompt_is_token_equal_to_the_published_template(
  qwen3: Tokenizer,
  theirs: transformers.PreTrainedTokenizerBase,
  context: str,
  language: str | None,
) -> None:
  text = published_prompt(language, context)
  prompt = build_prompt(qwen3, language=language, context=context)
  assert [*prompt.before, 151676, *prompt.after] == theirs(text).input_ids


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
  assert target == [*tag, *qwen3.encode(text), IM_END]


def test_the_template_is_single_tokens_for_the_char_tokenizer(char: Tokenizer) -> None:
  prompt = build_prompt(char, language="Hebrew")
  assert (len(prompt.before), len(prompt.after)) == (9, 9)
  assert len(build_target(char, "abc", language="English", forced=False)) == 3 + 3 + 1


@given(
  text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd")).map(
    str.strip
  ),
  language=st.sampled_from(["English", "Hebrew", "Cantonese (Hong Kong)", None]),
)
def test_an_answer_equal_to_the_target_is_read_back(
  qwen3: Tokenizer, text: str, language: str | None
) -> None:
  answer = qwen3.decode(build_target(qwen3, text, language=language, forced=False))
  assert parse_output(answer) == (language, text)


@given(
  st.lists(
    st.sampled_from(["language", " ", "\n", "<asr_text>", "None", "<non_speech>", "English"])
    | st.text(max_size=6)
  ).map("".join)
)
def test_any_answer_is_read_without_an_exception(answer: str) -> None:
  language, text = parse_output(answer)
  assert text in answer.replace("\ufffd", "") and text == text.strip()
  assert language is None or language_name(language) == language


@pytest.mark.parametrize(
  ("answer", "expected"),
  [
    ("language English<asr_text> Hello. \n", ("English", "Hello.")),
    ("language hebrew<asr_text>שלום", ("Hebrew", "שלום")),
    ("language None<asr_text>", (None, "")),
    ("language None<asr_text>still words", (None, "still words")),
    ("noise\nlanguage Arabic\n<asr_text>نعم", ("Arabic", "نعم")),
    ("language None<asr_text>\n", (None, "")),
    ("language Cantonese (Hong Kong)<asr_text>廣東話", ("Cantonese (Hong Kong)", "廣東話")),
    ("LANGUAGE GERMAN<asr_text>Ja", ("German", "Ja")),
    ("language English <asr_text>", ("English", "")),
    ("<asr_text>", (None, "")),
    ("  \n ", (None, "")),
    ("language", (None, "language")),
    ("English<asr_text>words", (None, "words")),
    ("<asr_text>words", (None, "words")),
    ("language <asr_text>words", (None, "words")),
    ("language English<asr_text>a<asr_text>b", ("English", "a<asr_text>b")),
    (" just words ", (None, "just words")),
    ("language English<asr_text>\ufffd\ufffd wor\ufffdds\ufffd", ("English", "words")),
    ("language English", (None, "language English")),
    ("language <non_speech><asr_text>hi", (None, "hi")),
    ("language a\u2028b<asr_text>hi", (None, "hi")),
    ("language he<asr_text>שלום", ("Hebrew", "שלום")),
    ("language dothraki<asr_text>hi", ("Dothraki", "hi")),
    ("language und<asr_text>hi", (None, "hi")),
    ("", (None, "")),
  ],
)
def test_parse_output(answer: str, expected: tuple[str | None, str]) -> None:
  assert parse_output(answer) == expected
