"""Text normalisers by name: each maps a text to words and single spaces."""

from collections.abc import Callable

from maxtext_ext.text.normalize import arabic, basic, english, hebrew

NORMALIZERS: dict[str, Callable[[str], str]] = {
  "none": basic.collapse_spaces,
  "basic": basic.normalize,
  "english": english.normalize,
  "english_whisper": english.normalize_whisper,
  "hebrew": hebrew.normalize,
  "arabic": arabic.normalize,
  "arabic_strict": arabic.normalize_strict,
}


# What scores hypotheses of one language where nothing else says which normaliser to take.
OF_LANGUAGES = {"English": "english", "Hebrew": "hebrew", "Arabic": "arabic"}


def get_normalizer(name: str) -> Callable[[str], str]:
  """The normaliser called `name`. Raises ValueError that lists the names for an unknown one."""
  if name not in NORMALIZERS:
    raise ValueError(f"unknown normalizer {name!r}; expected one of {', '.join(NORMALIZERS)}")
  return NORMALIZERS[name]
