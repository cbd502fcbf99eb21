"""Names of languages as the models write them in prompts and answers."""

import difflib
import functools
import logging
import pathlib
import re
import unicodedata

# The 30 languages of the published models (README of QwenLM/Qwen3-ASR). Fine-tuning may add others,
# Hebrew for one.
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

# Rows of name, ISO 639 codes, other names: English and native names as in Unicode's CLDR, the codes
# of ISO 639-1, 639-2 (both kinds) and 639-3, also former ones ("iw"). Dialects of Arabic and
# varieties of Persian, Malay and others count as the language that the models name.
_TABLE = pathlib.Path(__file__).with_name("languages.tsv")
# A code, perhaps with BCP 47 subtags, or a POSIX locale: he, heb, he-IL, zh_Hant_TW, en_US.UTF-8
_TAG = re.compile(r"([a-z]{2,3})((?:[-_][a-z0-9]{1,8})*)(?:[.@].*)?")
_CANTONESE_REGIONS = {"hk", "mo"}  # corpora mark Cantonese as zh-HK

_warned: set[str] = set()
_log = logging.getLogger(__name__)


def language_name(value: str) -> str:
  """The name that the models use for a language given by code or name, in any case.

  "he", "iw", "heb", "he-IL", "HEBREW" and "עברית" are "Hebrew"; "und" is "None". Several languages
  of one clip are joined by a slash: "ar/en" is "Arabic/English". What is not known is kept, names
  with a capital first letter and codes as written, with a warning once a process.

  Raises:
    ValueError: the value could not stand in a prompt (see `is_name`).
  """
  if not is_name(value):
    raise ValueError(
      f"{value!r} is not a language name; expected one line of text without '<', such as 'Hebrew'"
    )
  if None in _find(value):
    _warn_unknown(value.strip())
  return spell(value)


def language_code(value: str) -> str:
  """The ISO 639-1 code of a language given by code or name, else its ISO 639-3 code.

  Empty where it is not known, and for several languages at once.
  """
  name = spell(value)
  if name == NO_LANGUAGE:
    return ""
  codes = next((codes for row, codes, _ in _rows() if row == name), [""])
  return next((code for code in codes if len(code) == 2), codes[0])


def is_name(value: str) -> bool:
  """Returns whether a text can name a language: one line, not empty, no template markers."""
  return bool(value.strip()) and "<" not in value and value.strip().isprintable()


def spell(value: str) -> str:
  """`language_name` of a text that can name a language, without the warning."""
  parts = zip(value.split("/"), _find(value), strict=True)
  return "/".join(known or _spell_unknown(part.strip()) for part, known in parts)


@functools.lru_cache(maxsize=1024)
def _find(value: str) -> tuple[str | None, ...]:
  """Names of the known languages among those that stand between slashes."""
  return tuple(_find_one(part) for part in value.split("/"))


def _spell_unknown(name: str) -> str:
  in_one_case = name.islower() or name.isupper()
  return name.capitalize() if in_one_case and not _TAG.fullmatch(name.lower()) else name


def _find_one(value: str) -> str | None:
  value = value.strip()
  if name := _names().get(_fold(value)):
    return name
  tag = _TAG.fullmatch(value.lower())
  if tag is None:
    return None
  name, subtags = _codes().get(tag[1]), re.split("[-_]", tag[2])[1:]
  if name != "Chinese":
    return name
  if _CANTONESE_REGIONS & set(subtags):
    return "Cantonese"
  # zh-yue: a language of its own behind the one that encompasses it.
  return _codes().get(subtags[0], name) if subtags and len(subtags[0]) == 3 else name


def _fold(name: str) -> str:
  return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFC", name)).casefold()


@functools.cache
def _rows() -> list[tuple[str, list[str], list[str]]]:
  lines = _TABLE.read_text(encoding="utf-8").splitlines()
  rows = (line.split("\t") for line in lines)
  return [(name, codes.split(), others.split("; ")) for name, codes, others in rows]


@functools.cache
def _codes() -> dict[str, str]:
  return {code: name for name, codes, _ in _rows() for code in codes}


@functools.cache
def _names() -> dict[str, str]:
  return {_fold(other): name for name, _, others in _rows() for other in (name, *others) if other}


def _warn_unknown(value: str) -> None:
  """Warns once of each language, however it is spelt."""
  if (name := _fold(spell(value))) in _warned:
    return
  _warned.add(name)
  near = difflib.get_close_matches(_fold(value), _names(), n=1, cutoff=0.75)
  hint = f"; did you mean {_names()[near[0]]!r}?" if near else ""
  _log.warning(
    "language %r is no name or ISO 639 code that is known, and is used as written%s", value, hint
  )
