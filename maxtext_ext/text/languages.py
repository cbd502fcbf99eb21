"""Names of languages as Qwen3-ASR writes them in its prompts and answers."""

# The 30 languages of the published models (README of QwenLM/Qwen3-ASR). Fine-tuning may add others,
# Hebrew for one: a name outside the list is used as it is given.
LANGUAGES = (
  "Chinese",
  "English",
  "Cantonese",
  "Arabic",
  "German",
  "French",
  "Spanish",
  "Portuguese",
  "Indonesian",
  "Italian",
  "Korean",
  "Russian",
  "Thai",
  "Vietnamese",
  "Japanese",
  "Turkish",
  "Hindi",
  "Malay",
  "Dutch",
  "Swedish",
  "Danish",
  "Finnish",
  "Polish",
  "Czech",
  "Filipino",
  "Persian",
  "Greek",
  "Hungarian",
  "Macedonian",
  "Romanian",
)

NO_LANGUAGE = "None"  # what the model answers for silence, and what targets say when none is known


def canonical_language(name: str) -> str:
  """The spelling that stands in a prompt: `" hebrew"` -> `"Hebrew"`.

  Names all in one case get a capital first letter and small others; mixed case is kept as given.

  Raises:
    ValueError: the name is empty, or holds a line break or a `<`, which would break the template.
  """
  stripped = name.strip()
  if not stripped or "<" in stripped or len(stripped.splitlines()) > 1:
    raise ValueError(
      f"{name!r} is not a language name; expected one line of text without '<', such as 'Hebrew'"
    )
  return stripped.capitalize() if stripped.islower() or stripped.isupper() else stripped


def is_published(name: str) -> bool:
  """Whether the published Qwen3-ASR models were trained on this language."""
  return canonical_language(name) in LANGUAGES


# ISO 639 codes of these and of Hebrew, as corpora mark their clips.
_CODES = {
  "zh": "Chinese",
  "cmn": "Chinese",
  "en": "English",
  "yue": "Cantonese",
  "ar": "Arabic",
  "de": "German",
  "fr": "French",
  "es": "Spanish",
  "pt": "Portuguese",
  "id": "Indonesian",
  "it": "Italian",
  "ko": "Korean",
  "ru": "Russian",
  "th": "Thai",
  "vi": "Vietnamese",
  "ja": "Japanese",
  "tr": "Turkish",
  "hi": "Hindi",
  "ms": "Malay",
  "nl": "Dutch",
  "sv": "Swedish",
  "da": "Danish",
  "fi": "Finnish",
  "pl": "Polish",
  "cs": "Czech",
  "fil": "Filipino",
  "fa": "Persian",
  "el": "Greek",
  "hu": "Hungarian",
  "mk": "Macedonian",
  "ro": "Romanian",
  "he": "Hebrew",
  "iw": "Hebrew",
}


def language_name(value: str) -> str:
  """The name for a code with or without a region ("he", "en-US", "zh_CN"); all else unchanged."""
  code, _, region = value.strip().replace("_", "-").partition("-")
  if code.lower() == "zh" and region.upper() == "HK":
    return "Cantonese"
  return _CODES.get(code.lower(), value)
