import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from whisper_normalizer.basic import BasicTextNormalizer

from maxtext_ext.text.normalize.basic import normalize

WHISPER = BasicTextNormalizer(preserve_marks=True)
ACCENTS = "\u0307\u030c\u0331"
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


@settings(max_examples=300)
@given(text=st.text() | st.lists(BRACKETS | st.text(max_size=3)).map("".join))
def test_idempotent(text):
  once = normalize(text)
  assert normalize(once) == once


def test_idempotent_on_every_character_under_an_accent():
  for start in [*range(0, 0x33000, 4096), 0xE0000]:
    text = "\n".join(
      chr(code) + accent for code in range(start, start + 4096) for accent in ACCENTS
    )
    once = normalize(text)
    assert normalize(once) == once, hex(start)


def test_symbols_may_be_kept():
  assert normalize("a-b ״c״ - d", keep="-״") == "a-b ״c״ - d"
  assert normalize("a-b") == "a b"
