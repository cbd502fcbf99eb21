"""Names of languages."""

import pytest

from maxtext_ext.text import languages


def test_the_published_list_has_30_names_without_hebrew() -> None:
  assert len(set(languages.LANGUAGES)) == 30
  assert "Hebrew" not in languages.LANGUAGES
  assert all(languages.canonical_language(name) == name for name in languages.LANGUAGES)


@pytest.mark.parametrize(
  ("given", "expected"),
  [
    ("hebrew", "Hebrew"),
    (" ARABIC\n", "Arabic"),
    ("English", "English"),
    ("Cantonese (Hong Kong)", "Cantonese (Hong Kong)"),
    ("none", "None"),
  ],
)
def test_canonical_spelling(given: str, expected: str) -> None:
  assert languages.canonical_language(given) == expected


@pytest.mark.parametrize("given", ["", "  ", "Hebrew<asr_text>", "English\nArabic"])
def test_what_would_break_the_template_is_refused(given: str) -> None:
  with pytest.raises(ValueError, match="not a language name"):
    languages.canonical_language(given)


@pytest.mark.parametrize(("name", "expected"), [("arabic", True), ("Hebrew", False)])
def test_is_published(name: str, expected: bool) -> None:
  assert languages.is_published(name) == expected


@pytest.mark.parametrize(
  ("given", "expected"),
  [
    ("he", "Hebrew"),
    ("iw", "Hebrew"),
    ("en-US", "English"),
    ("zh_CN", "Chinese"),
    ("zh-HK", "Cantonese"),
    (" AR ", "Arabic"),
    ("Arabic", "Arabic"),
    ("hebrew", "hebrew"),
    ("xx", "xx"),
    ("", ""),
  ],
)
def test_names_of_codes(given: str, expected: str) -> None:
  assert languages.language_name(given) == expected
