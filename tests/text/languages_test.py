"""Names of languages."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.text import languages

TABLE = [row.split("\t") for row in languages._TABLE.read_text(encoding="utf-8").splitlines()]


def test_the_published_list_has_30_names_without_hebrew() -> None:
  assert len(set(languages.LANGUAGES)) == 30
  assert "Hebrew" not in languages.LANGUAGES
  assert all(languages.language_name(name) == name for name in languages.LANGUAGES)


@pytest.mark.parametrize(
  ("value", "expected"),
  [
    *((value, "Hebrew") for value in ("he", "iw", "heb", "he-IL", "he_il", "iw-IL", " HE ")),
    *((value, "Hebrew") for value in ("hebrew", "HEBREW", "Hebrew\n", "עברית")),
    *((value, "Arabic") for value in ("ar", "ara", "ar-EG", "ar_eg", "arb", "arz", "العربية")),
    *((value, "Chinese") for value in ("zh", "zho", "chi", "cmn", "zh-Hant", "zh_CN", "Mandarin")),
    *((value, "Chinese") for value in ("cmn_hans_cn", "zh-Hans-CN", "zh-cmn-Hans")),
    *((value, "Cantonese") for value in ("yue", "zh-HK", "zh-yue", "yue-Hant-HK", "zh-Hant-HK")),
    *((value, "German") for value in ("de", "deu", "ger", "de-AT", "de_DE.UTF-8", "Deutsch")),
    *((value, "Persian") for value in ("fa", "per", "fas", "pes", "Farsi")),
    *((value, "Filipino") for value in ("fil", "tl", "tgl", "tagalog", "fil_ph")),
    ("en-US", "English"),
    ("pt-BR-x-private", "Portuguese"),
    ("es-419", "Spanish"),
    ("ckb", "Central Kurdish"),
    ("am", "Amharic"),
    ("amh", "Amharic"),
    ("jw", "Javanese"),
    ("haitian creole", "Haitian Creole"),
    ("haitian_creole", "Haitian Creole"),
    ("español", "Spanish"),
    ("espan\u0303ol", "Spanish"),
    ("cantonese (hong kong)", "Cantonese (Hong Kong)"),
    ("ar/en", "Arabic/English"),
    ("none", "None"),
    ("und", "None"),
  ],
)
def test_codes_and_names_give_the_name_that_the_models_use(
  value: str, expected: str, caplog: pytest.LogCaptureFixture
) -> None:
  assert languages.language_name(value) == expected
  assert not caplog.records


@pytest.mark.parametrize(
  ("value", "kept", "hint"),
  [
    ("xx", "xx", ""),
    ("qaa-Latn", "qaa-Latn", ""),
    ("dothraki", "Dothraki", ""),
    ("Quenya of Gondolin", "Quenya of Gondolin", ""),
    ("Hebrw", "Hebrw", "did you mean 'Hebrew'?"),
    ("en/dothraki", "English/Dothraki", ""),
  ],
)
def test_a_language_that_is_not_known_is_kept_with_one_warning(
  value: str, kept: str, hint: str, caplog: pytest.LogCaptureFixture
) -> None:
  languages._warned.clear()
  with caplog.at_level(logging.WARNING):
    assert [languages.language_name(name) for name in (value, value, kept)] == [kept] * 3
  (record,) = caplog.records
  assert repr(value) in record.getMessage() and record.getMessage().endswith(hint)


@pytest.mark.parametrize(
  "value", ["", "  ", "Hebrew<asr_text>", "English\nArabic", "a\u2028b", "a\x1b[2J", "\ud800"]
)
def test_what_would_break_the_template_is_refused(value: str) -> None:
  with pytest.raises(ValueError, match="not a language name"):
    languages.language_name(value)


def test_every_code_and_name_of_the_table_leads_to_its_row() -> None:
  for name, codes, others in TABLE:
    for value in (name, name.upper(), *codes.split(), *filter(None, others.split("; "))):
      assert languages.language_name(value) == name, value
  assert len({name for name, _, _ in TABLE}) == len(TABLE) > 700


@given(st.text(max_size=12))
def test_a_name_stays_as_it_is_when_it_is_looked_up_again(value: str) -> None:
  if languages.is_name(value):
    name = languages.language_name(value)
    assert languages.language_name(name) == name


@pytest.mark.parametrize(
  ("language", "code"),
  [
    ("Hebrew", "he"),
    ("iw", "he"),
    ("en-US", "en"),
    ("Filipino", "tl"),
    ("Cantonese", "yue"),
    ("Klingon", "tlh"),
    ("Quenyalike", ""),
    ("Arabic/English", ""),
    ("None", ""),
  ],
)
def test_languages_have_a_code(language: str, code: str) -> None:
  assert languages.language_code(language) == code
