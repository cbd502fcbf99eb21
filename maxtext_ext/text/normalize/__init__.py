"""Text normalisers by name: each maps a text to words and single spaces."""

from collections.abc import Callable

from maxtext_ext.text.normalize import arabic, basic, english, gigaspeech, hebrew, open_asr

NORMALIZERS: dict[str, Callable[[str], str]] = {
  "none": basic.collapse_spaces,
  "basic": basic.normalize,
  "english": english.normalize,
  "english_whisper": english.normalize_whisper,
  "hebrew": hebrew.normalize,
  "arabic": arabic.normalize,
  "arabic_strict": arabic.normalize_strict,
}
# Those that only reproduce the figures of a public board or corpus; the Arabic board's is "arabic".
BOARD_NORMALIZERS: dict[str, Callable[[str], str]] = {
  "english_open_asr": open_asr.normalize_english,
  "english_gigaspeech": gigaspeech.normalize,
  **{
    f"{language.lower()}_open_asr": open_asr.normalizer_of(code)
    for code, language in open_asr.LANGUAGES.items()
  },
  "hebrew_ivrit": hebrew.normalize_ivrit,
}

# What scores hypotheses of one language where nothing else says which normaliser to take.
OF_LANGUAGES = {"English": "english", "Hebrew": "hebrew", "Arabic": "arabic"}


def get_normalizer(name: str) -> Callable[[str], str]:
  """The normaliser called `name`. Raises ValueError that lists the names for an unknown one."""
  known = NORMALIZERS | BOARD_NORMALIZERS
  if name not in known:
    raise ValueError(f"unknown normalizer {name!r}; expected one of {', '.join(known)}")
  return known[name]
