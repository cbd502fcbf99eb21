"""The leaderboard's convention and the strict one case by case, and their laws."""

import json
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maxtext_ext.text.normalize import arabic, get_normalizer
from tests.golden.make_boards import FILE, board_texts

LETTERS = "ءآأؤإئابةتثجحخدذرزسشصضطظعغفقكلمنهوىيپڤچگٱکی"
VOWEL_SIGNS = "".join(map(chr, range(0x064B, 0x0653)))
OTHER_MARKS = "\u0653\u0654\u0655\u0656\u0670\u0610\u06d6\u06e1\u08f0"
ASCII_PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
PIECES = [*LETTERS, *VOWEL_SIGNS, *OTHER_MARKS, *ASCII_PUNCTUATION, *"،؛؟«»…“”٠٥٩۰۹07aB\u0640"]
PIECES += [" ", " ", " و ", "و ", " و", "\n", "\u00a0", "\u200f", "\u200c", "\u2067", "\ufeff"]
PIECES += ["\ufefb", "\ufe8b", "\ufdf2", "\ufe70", "\ufe71", "\u0627\u0654", "\u0648\u0654", "é"]
arabic_text = st.lists(st.sampled_from(PIECES), max_size=30).map("".join)
any_text = arabic_text | st.text(max_size=30) | st.tuples(arabic_text, st.text()).map("".join)
NORMALIZERS = [arabic.normalize, arabic.normalize_strict, arabic.clean_training_text]

LEADERBOARD = [
  ("empty", "", ""),
  ("only spaces", " \t\n\u00a0", ""),
  ("plain text stays", "بسم الله الرحمن الرحيم", "بسم الله الرحمن الرحيم"),
  ("single spaces", "  بسم \n الله ", "بسم الله"),
  # Punctuation is deleted, not spaced.
  ("comma, semicolon, question mark", "نعم، لا؛ كيف؟", "نعم لا كيف"),
  ("ASCII punctuation", "نعم, لا! (كيف)", "نعم لا كيف"),
  ("what punctuation parts is joined", "نعم،لا", "نعملا"),
  ("hyphen joins", "ما-شاء", "ماشا"),
  ("decimal point", "3.5", "35"),
  ("brackets go, what is in them stays", "[ضحك] نعم", "ضحك نعم"),
  ("all ASCII punctuation", ASCII_PUNCTUATION, ""),
  ("guillemets stay", "«نعم»", "«نعم»"),
  ("typographic quotes and ellipsis stay", "“نعم”…", "“نعم”…"),
  ("Arabic full stop of Urdu stays", "نعم۔", "نعم۔"),
  ("percent sign", "50%", "50"),
  # Vowel signs.
  ("fatha, kasra, damma", "كَتِبُ", "كتب"),
  ("tanween", "كتابًا كتابٌ كتابٍ", "كتابا كتاب كتاب"),
  ("shadda and sukun", "مُدَرِّسْ", "مدرس"),
  ("sukun is the last of the range, madda above stays", "ب\u0652\u0653", "ب\u0653"),
  ("dagger alef stays", "هٰذا", "هٰذا"),
  ("tatweel stays", "نعـــم", "نعـــم"),
  # Hamza.
  ("alef with madda", "آمن", "امن"),
  ("alef with hamza above", "أحمد", "احمد"),
  ("alef with hamza below", "إلى", "الى"),
  ("alef wasla stays", "ٱلله", "ٱلله"),
  ("hamza on waw", "مؤمن", "مومن"),
  ("hamza on yeh", "قائل", "قايل"),
  ("bare hamza inside", "قراءة", "قراة"),
  ("bare hamza at the end", "سماء", "سما"),
  ("a word that is a hamza only", "ا ء ب", "ا ب"),
  ("a combining hamza stays", "ا\u0654", "ا\u0654"),
  # Letters.
  ("peh", "پاريس", "باريس"),
  ("veh", "ڤيديو", "فيديو"),
  ("tcheh and gaf stay", "چاي گال", "چاي گال"),
  ("teh marbuta and heh stay apart", "مدرسة مدرسه", "مدرسة مدرسه"),
  ("alef maqsura and yeh stay apart", "على علي", "على علي"),
  ("Persian kaf and yeh stay", "کی", "کی"),
  # Digits.
  ("Eastern digits", "٠١٢٣٤٥٦٧٨٩", "0123456789"),
  ("digits of Persian stay", "۱۲", "۱۲"),
  ("Arabic decimal separator stays", "٣٫٥", "3٫5"),
  # Waw.
  ("a lone waw joins the next word", "قال و كتب", "قال وكتب"),
  ("at the start", "و كتب", "وكتب"),
  ("at the end it stays", "قال و", "قال و"),
  ("two in a row join each other", "قال و و كتب", "قال وو كتب"),
  ("three in a row", "و و و كتب", "وو وكتب"),
  ("with vowel sign and comma", "قال، وَ كتب", "قال وكتب"),
  ("over a hamza that vanishes", "و ء كتب", "وكتب"),
  ("a waw that was a hamza's seat", "ؤ كتب", "وكتب"),
  ("a waw in a word stays", "ورد هو", "ورد هو"),
  # What the convention does not touch.
  ("Latin keeps its case", "OK نعم", "OK نعم"),
  ("bidi marks stay", "\u200fنعم", "\u200fنعم"),
  ("presentation forms stay", "\ufefb", "\ufefb"),
]

STRICT = [
  ("empty", "", ""),
  ("alef forms count", "أحمد إلى آمن ا", "أحمد إلى آمن ا"),
  ("alef wasla counts", "ٱلله", "ٱلله"),
  ("hamza on its seats counts", "مؤمن قائل", "مؤمن قائل"),
  ("bare hamza counts", "سماء قراءة", "سماء قراءة"),
  ("a combining hamza is the letter with it", "ا\u0654حمد و\u0654", "أحمد ؤ"),
  ("madda above alef is the letter", "ا\u0653من", "آمن"),
  ("a vowel sign before the hamza hides it not", "ا\u064e\u0654", "أ"),
  ("peh and veh count", "پاريس ڤيديو", "پاريس ڤيديو"),
  ("teh marbuta and heh count", "مدرسة مدرسه", "مدرسة مدرسه"),
  ("alef maqsura and yeh count", "على علي", "على علي"),
  ("a waw apart counts", "قال و كتب", "قال و كتب"),
  ("vowel signs go", "مُدَرِّسٌ", "مدرس"),
  ("dagger alef goes", "هٰذا", "هذا"),
  ("tatweel goes", "نعـــم", "نعم"),
  ("signs of the Quran go", "قُلۡ هُوَۖ", "قل هو"),
  ("madda above another letter goes", "ب\u0653", "ب"),
  ("Eastern and Persian digits", "٣ ۳", "3 3"),
  ("Arabic punctuation separates", "نعم،لا", "نعم لا"),
  ("guillemets and typographic quotes", "«نعم» “لا”…", "نعم لا"),
  ("hyphen separates", "ما-شاء", "ما شاء"),
  ("decimals are two numbers", "٣٫٥ 3.5", "3 5 3 5"),
  ("brackets with what is in them", "[ضحك] نعم (موسيقى)", "نعم"),
  ("bidi and zero-width marks", "\u200fنعم\u200c لا\ufeff", "نعم لا"),
  ("presentation forms", "\ufefb \ufedf", "لا ل"),
  ("presentation form of a vowel sign", "ب\ufe77", "ب"),
  ("Latin in lower case", "OK نعم", "ok نعم"),
]

TRAINING = [
  ("timestamps", "<|0.00|> نعم<|1.20|>", "نعم"),
  ("repeated punctuation", "كيف؟؟ نعم،، لا...", "كيف؟ نعم، لا."),
  ("tatweel", "نعـــم", "نعم"),
  ("bidi and zero-width marks", "\u202bنعم\u202c\u200c", "نعم"),
  ("letters, vowel signs, digits and case stay", "أَهْلًا ٣ OK و", "أَهْلًا ٣ OK و"),
  ("composed", "ا\u0654حمد", "أحمد"),
]


def cases(table):
  return {"argnames": ("text", "expected"), "argvalues": [c[1:] for c in table]} | {
    "ids": [c[0] for c in table]
  }


@pytest.mark.parametrize(**cases(LEADERBOARD))
def test_leaderboard(text: str, expected: str) -> None:
  assert arabic.normalize(text) == expected


@pytest.mark.parametrize(**cases(STRICT))
def test_strict(text: str, expected: str) -> None:
  assert arabic.normalize_strict(text) == expected


@pytest.mark.parametrize(**cases(TRAINING))
def test_clean_training_text(text: str, expected: str) -> None:
  assert arabic.clean_training_text(text) == expected


def test_names() -> None:
  assert get_normalizer("arabic") is arabic.normalize
  assert get_normalizer("arabic_strict") is arabic.normalize_strict


@pytest.mark.parametrize("normalize", NORMALIZERS)
@settings(max_examples=400)
@given(text=any_text)
def test_idempotent(normalize, text: str) -> None:
  once = normalize(text)
  assert normalize(once) == once


@pytest.mark.parametrize("character", [chr(code) for code in range(0x0600, 0x0700)])
def test_leaderboard_changes_no_other_character_of_the_block(character: str) -> None:
  changed = ASCII_PUNCTUATION + "،؛؟" + VOWEL_SIGNS + "ءآأؤإئپڤ٠١٢٣٤٥٦٧٨٩"
  assert (arabic.normalize(f"ب{character}ب") != f"ب{character}ب") == (character in changed)


@settings(max_examples=400)
@given(text=st.text(LETTERS + VOWEL_SIGNS + ",.؟ ٠5", max_size=20), other=st.data())
def test_what_is_right_in_the_strict_one_is_right_on_the_leaderboard(text: str, other) -> None:
  """Vowel signs may be anywhere else, letters and words have to be the same."""
  bare = "".join(c for c in text if c not in VOWEL_SIGNS)
  where = other.draw(st.integers(0, len(bare)))
  signs = other.draw(st.text(VOWEL_SIGNS, max_size=3))
  vowelled = bare[:where] + signs + bare[where:]
  assert arabic.normalize_strict(vowelled) == arabic.normalize_strict(text)
  assert arabic.normalize(vowelled) == arabic.normalize(text)


@pytest.mark.parametrize(
  ("one", "other"),
  [
    ("أحمد", "احمد"),
    ("إلى", "الى"),
    ("آمن", "امن"),
    ("مؤمن", "مومن"),
    ("قائل", "قايل"),
    ("سماء", "سما"),
    ("پاريس", "باريس"),
    ("ڤيديو", "فيديو"),
    ("قال و كتب", "قال وكتب"),
  ],
)
def test_the_strict_one_counts_what_the_leaderboard_hides(one: str, other: str) -> None:
  assert arabic.normalize(one) == arabic.normalize(other)
  assert arabic.normalize_strict(one) != arabic.normalize_strict(other)


@settings(max_examples=300)
@given(text=arabic_text)
def test_strict_words_are_letters_and_digits(text: str) -> None:
  for word in arabic.normalize_strict(text).split():
    assert all(unicodedata.category(c)[0] in "LN" or c in "\u0301" for c in word), word


def test_equals_the_leaderboards_own():
  texts = board_texts("arabic")
  expected = json.loads(FILE.read_text("utf-8"))["elm"]["texts"]
  assert [arabic.normalize(text) for text in texts] == expected
