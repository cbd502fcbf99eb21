"""The convention of ivrit.ai case by case, its laws, and Hebrew text to train on."""

import json
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maxtext_ext.text.normalize import get_normalizer, hebrew
from tests.golden.make_boards import FILE, board_texts

MARKS = "".join(chr(code) for code in range(0x0591, 0x05C8) if code not in (0x5BE, 0x5C0, 0x5C3))
LETTERS = "".join(chr(code) for code in range(0x05D0, 0x05EB))
INVISIBLE = "\u061c\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067"
INVISIBLE += "\u2068\u2069\ufeff\u034f\u00ad"
PIECES = [
  *LETTERS,
  *MARKS,
  *INVISIBLE,
  *" \n\t.,!?-()[]<>|\"'05abZ\u05be\u05c0\u05c3\u05c6\u05f3\u05f4",
]
PIECES += ["\ufb2a", "\ufb1d", "\ufb4f", "\ufb29", "\u05f0", "<|1.20|>", "...", "é", "e\u0301"]
hebrew_text = st.lists(st.sampled_from(PIECES), max_size=30).map("".join)
any_text = hebrew_text | st.text(max_size=30) | st.tuples(hebrew_text, st.text()).map("".join)

CASES = [
  ("empty", "", ""),
  ("only spaces", " \t\n\u00a0", ""),
  ("plain text stays", "שלום עולם", "שלום עולם"),
  ("single spaces", "  שלום \n\n עולם ", "שלום עולם"),
  # Niqqud and accents.
  ("points", "שָׁלוֹם", "שלום"),
  ("dagesh", "בַּיִת", "בית"),
  ("holam haser for vav", "עֲוֺן", "עון"),
  ("qamats qatan, U+05C7", "חׇכְמָה", "חכמה"),
  ("meteg and rafe", "הָֽיְתָהֿ", "היתה"),
  ("cantillation, U+0591 to U+05AF", "בְּרֵאשִׁ֖ית בָּרָ֣א", "בראשית ברא"),
  ("upper and lower dot, U+05C4 and U+05C5", "לׄבׅ", "לב"),
  ("first and last mark of the range", "א\u0591ב\u05c7", "אב"),
  ("marks in another order than canonical", "ש\u05b8\u05c1ם", "שם"),
  ("a mark alone leaves nothing", "\u05b8", ""),
  ("presentation form with its dot", "\ufb2aלום", "שלום"),
  ("presentation form of yod with hiriq", "\ufb1d", "י"),
  ("alef-lamed ligature", "\ufb4f", "אל"),
  ("wide letter", "\ufb21", "א"),
  # Punctuation inside the range of niqqud.
  ("maqaf separates words", "תל־אביב", "תל אביב"),
  ("maqaf between pointed words", "עַל־פְּנֵי", "על פני"),
  ("paseq", "א׀ב", "א ב"),
  ("sof pasuq", "הארץ׃", "הארץ"),
  ("nun hafukha", "א׆ב", "א ב"),
  # Quotes, geresh, gershayim.
  ("ASCII quote in an acronym is deleted", 'צה"ל', "צהל"),
  ("ASCII quotes around a word", '"שלום" אמר', "שלום אמר"),
  ("apostrophe as geresh is deleted", "ג'ירפה", "גירפה"),
  ("two apostrophes as gershayim", "צה''ל", "צהל"),
  ("gershayim keep an acronym whole", "צה״ל", "צה״ל"),
  ("gershayim with a prefix", "בצה״ל ובארה״ב", "בצה״ל ובארה״ב"),
  ("gershayim in a pointed acronym", "צַהַ״ל", "צה״ל"),
  ("gershayim as quotation marks", "״שלום״ אמר", "שלום אמר"),
  ("gershayim quoting an acronym", "״צה״ל״", "צה״ל"),
  ("geresh inside a word", "ג׳ירפה", "ג׳ירפה"),
  ("geresh at the end of a word", "רח׳ הרצל", "רח הרצל"),
  ("geresh before a word", "׳שלום", "שלום"),
  ("geresh after a digit", "5׳ דקות", "5 דקות"),
  ("geresh and gershayim side by side", "א׳״ב", "א ב"),
  ("an invisible mark beside gershayim", "צה\u200f״ל", "צה״ל"),
  ("curly quotes are punctuation", "“שלום”", "שלום"),
  ("English contraction", "don't", "dont"),
  # What cannot be seen.
  ("right-to-left mark", "\u200fשלום\u200f", "שלום"),
  ("embedding and its end", "\u202bשלום\u202c", "שלום"),
  ("isolates", "\u2067שלום\u2069 \u2066OK\u2069", "שלום ok"),
  ("Arabic letter mark", "שלום\u061c", "שלום"),
  ("zero-width space does not separate", "של\u200bום", "שלום"),
  ("zero-width joiners", "של\u200d\u200cום", "שלום"),
  ("byte order mark", "\ufeffשלום", "שלום"),
  ("grapheme joiner between points", "י\u05b4\u034f\u05b7ם", "ים"),
  ("no-break space separates", "שלום\u00a0עולם", "שלום עולם"),
  # Whisper Basic.
  ("punctuation", "שלום, מה שלומך? טוב!", "שלום מה שלומך טוב"),
  ("hyphen and dashes", "אי-אפשר – או — לא", "אי אפשר או לא"),
  ("brackets with what is in them", "שלום [מוזיקה] (צחוק) <רעש> עולם", "שלום עולם"),
  ("Whisper's timestamps", "<|0.00|>שלום<|1.52|>", "שלום"),
  ("numbers", "בשעה 17:30, 1,000 ₪ ו-50%", "בשעה 17 30 1 000 ו 50"),
  ("Latin in lower case", "קניתי iPhone ב-Apple", "קניתי iphone ב apple"),
  ("accents stay composed", "Cafe\u0301", "café"),
  ("final letters stay apart", "שלומ שלום", "שלומ שלום"),
  ("full and defective spelling stay apart", "אמא אימא", "אמא אימא"),
  ("Yiddish digraphs", "ײִד װאָס", "ײד װאס"),
  ("Arabic vowel signs cut no word", "שלום مَرحبا", "שלום مَرحبا"),
]


@pytest.mark.parametrize(
  ("text", "expected"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_normalize(text: str, expected: str) -> None:
  assert hebrew.normalize(text) == expected


def test_it_is_the_normalizer_called_hebrew() -> None:
  assert get_normalizer("hebrew") is hebrew.normalize


@settings(max_examples=400)
@given(text=any_text)
def test_idempotent(text: str) -> None:
  once = hebrew.normalize(text)
  assert hebrew.normalize(once) == once


@settings(max_examples=300)
@given(text=hebrew_text)
def test_words_are_letters_digits_and_inner_marks(text: str) -> None:
  for word in hebrew.normalize(text).split():
    assert word[0] not in "׳״" and word[-1] not in "׳״"
    assert all(unicodedata.category(c)[0] in "LN" or c in "׳״" for c in word)


@settings(max_examples=300)
@given(text=hebrew_text, marks=st.text(st.sampled_from(INVISIBLE + "\u05b8\u05c1\"'"), max_size=3))
def test_niqqud_invisible_marks_and_ascii_quotes_count_nothing(text: str, marks: str) -> None:
  plain = "".join(c for c in text if c not in "\"'")
  for at in (0, len(plain) // 2, len(plain)):
    if "<|1.20|>" not in plain:  # a mark inside a bracketed part is deleted with it
      assert hebrew.normalize(plain[:at] + marks + plain[at:]) == hebrew.normalize(plain)


def test_every_mark_of_the_range_is_removed_but_its_punctuation() -> None:
  for code in range(0x0591, 0x05C8):
    expected = "א ב" if code in (0x05BE, 0x05C0, 0x05C3, 0x05C6) else "אב"
    assert hebrew.normalize(f"א{chr(code)}ב") == expected, hex(code)


TRAINING = [
  ("empty", "", ""),
  ("timestamps", "<|0.00|> שלום לכולם.<|2.50|><|2.50|> מה נשמע?<|4.00|>", "שלום לכולם. מה נשמע?"),
  ("timestamp without decimals", "<|12|>שלום", "שלום"),
  ("timestamp between words separates", "שלום<|1.00|>עולם", "שלום עולם"),
  ("timestamp with a bidi mark in it", "<|\u200e1.00|>שלום", "שלום"),
  ("other tokens stay", "<|he|> שלום", "<|he|> שלום"),
  ("repeated punctuation", "מה?? די!!! טוב... כן,,", "מה? די! טוב. כן,"),
  ("repeated dashes and maqaf", "אז -- תל־־אביב", "אז - תל־אביב"),
  ("different marks in a row stay", "מה?!", "מה?!"),
  ("punctuation, quotes and case stay", 'אמר: "צה"ל", OK.', 'אמר: "צה"ל", OK.'),
  ("two apostrophes stay", "צה''ל", "צה''ל"),
  ("gershayim and geresh stay", "צה״ל, ג׳ירפה", "צה״ל, ג׳ירפה"),
  ("niqqud goes", "שָׁלוֹם עוֹלָם", "שלום עולם"),
  ("maqaf and sof pasuq stay", "עַל־פְּנֵי׃", "על־פני׃"),
  ("invisible marks go", "\u202bשלום\u202c \u200fעו\u200bלם\ufeff", "שלום עולם"),
  ("composed to NFC", "cafe\u0301", "café"),
  ("spaces", "  שלום \n עולם\u00a0", "שלום עולם"),
  ("decimal point stays", "3.14", "3.14"),
]


@pytest.mark.parametrize(
  ("text", "expected"), [case[1:] for case in TRAINING], ids=[c[0] for c in TRAINING]
)
def test_clean_training_text(text: str, expected: str) -> None:
  assert hebrew.clean_training_text(text) == expected


@settings(max_examples=400)
@given(text=any_text)
def test_clean_training_text_is_idempotent_and_composed(text: str) -> None:
  once = hebrew.clean_training_text(text)
  assert hebrew.clean_training_text(once) == once
  assert unicodedata.is_normalized("NFC", once)


def test_the_board_normaliser_equals_ivrits_own():
  texts = board_texts("hebrew")
  expected = json.loads(FILE.read_text("utf-8"))["ivrit"]["texts"]
  assert [hebrew.normalize_ivrit(text) for text in texts] == expected
