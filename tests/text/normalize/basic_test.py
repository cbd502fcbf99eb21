import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from whisper_normalizer.basic import BasicTextNormalizer

from maxtext_ext.text.normalize import NORMALIZERS, get_normalizer
from maxtext_ext.text.normalize.basic import normalize

WHISPER = BasicTextNormalizer(preserve_marks=True)
BRACKETS = st.sampled_from([*"<>[]()", "(a", "b)", "[c", "d>"])


@pytest.mark.parametrize(
  ("text", "expected"),
  [
    ("", ""),
    (" \t\n", ""),
    ("...", ""),
    ("Hello,  World!", "hello world"),
    ("don't stop", "don t stop"),
    ("well-known", "well known"),
    ("naïve Café ÉCOLE", "naïve café école"),
    ("Straße Ærø Łódź", "straße ærø łódź"),
    ("cafe\u0301", "café"),  # composed
    ("\u210c\u0331", "\u1e96"),  # composed only once in lower case
    ("[noise] yes (laughs) <unk>", "yes"),
    ("50% of $3", "50 of 3"),
    ("ﬁne ① Ａ", "fine 1 a"),
    ("مرحباً، كيف الحال؟", "مرحباً كيف الحال"),
    ("السَّلامُ عليكم", "السَّلامُ عليكم"),  # vowel signs stay and split no word
    ("שָׁלוֹם, עוֹלָם!", "שָׁלוֹם עוֹלָם"),
    ("बातचीत में।", "बातचीत में"),
  ],
)
def test_basic(text, expected):
  assert normalize(text) == expected


@settings(max_examples=300)
@given(st.lists(st.text() | BRACKETS).map("".join))
def test_equals_whisper_normalizer(text):
  assert normalize(text) == " ".join(WHISPER(text).split())


def test_equals_whisper_normalizer_on_all_characters():
  for start in [*range(0, 0x33000, 4096), 0xE0000]:  # where Unicode has assigned any
    # Line breaks keep marks from composing with the character before them.
    text = "\n".join(map(chr, range(start, start + 4096)))
    assert normalize(text) == " ".join(WHISPER(text).split()), hex(start)


@pytest.mark.parametrize("name", NORMALIZERS)
@given(text=st.text())
def test_words_are_apart_by_single_spaces(name, text):
  normal = NORMALIZERS[name](text)
  assert normal == " ".join(normal.split())


@pytest.mark.parametrize("name", ["none", "basic", "hebrew"])
@settings(max_examples=300)
@given(text=st.text())
def test_idempotent(name, text):
  once = NORMALIZERS[name](text)
  assert NORMALIZERS[name](once) == once


def test_none_keeps_all_but_spaces():
  assert get_normalizer("none")("  Hello,\n World! ") == "Hello, World!"


@pytest.mark.parametrize(
  ("text", "expected"),
  [
    ("Mr. Brown didn't pay twenty-five dollars", "mister brown did not pay $25"),
    ("Um, the colour, uh, grey", "the color gray"),
    ("café", "cafe"),
    ("", ""),
  ],
)
def test_english(text, expected):
  assert get_normalizer("english")(text) == expected


def test_unknown_name_lists_the_known_ones():
  with pytest.raises(ValueError, match="'klingon'; expected one of none, basic, english, "):
    get_normalizer("klingon")
