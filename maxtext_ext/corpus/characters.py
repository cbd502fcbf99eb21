"""Unusual characters of transcripts, with the reason why each is unusual."""

import dataclasses
import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping

# What a character can be besides a letter, a mark or punctuation; in the order of severity.
KINDS = {
  "undefined": "replacement character, private use or not assigned: text that was decoded wrongly",
  "control": "control character or line break",
  "invisible": "zero-width or direction mark: invisible, yet learnt as a character",
  "space": "space other than U+0020",
  "symbol": "symbol or emoji, or a tag such as <unk>: what is said for it is unclear",
  "digit": "digit: the same word may stand as a number here and in letters elsewhere",
}
# A word of letters from several scripts ("pаypal" with a Cyrillic а) is a matter of the text.
MIXED = "mixed"
FLAGS = (*KINDS, MIXED)  # bit i of `text_flags` is FLAGS[i]

RARE_SCRIPT = 0.01  # share of a language's letters below which a script is worth a look

_BITS = {name: 1 << index for index, name in enumerate(FLAGS)}
_WORDS = re.compile(r"[^\W\d_]{2,}")
# Spelling in Persian and in Indic scripts; between letters of these they are as they should be.
_JOINERS = "\u200c\u200d"
# Nonspacing marks without a shape: grapheme joiner, Mongolian and other variation selectors.
_SHAPELESS = re.compile("[\u034f\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
# Written with one another as a matter of course.
_EAST_ASIAN = ("CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "HANGUL", "BOPOMOFO")
_CONTROL_NAMES = {"\0": "null", "\t": "tab", "\n": "line feed", "\r": "carriage return"}
_NO_SCRIPT = ("MODIFIER", "FEMININE", "MASCULINE", "MICRO")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Character:
  """Line of the inventory.

  Attributes:
    character: itself.
    count: how often it occurs.
    languages: that have it, most frequent first.
    kind: a key of KINDS, or "" for what is usual.
  """

  character: str
  count: int
  languages: tuple[str, ...]
  kind: str

  @property
  def code_point(self) -> str:
    """Code point, as in U+05D0."""
    return f"U+{ord(self.character):04X}"

  @property
  def visible(self) -> bool:
    """Returns whether it can be displayed unescaped."""
    return self.character.isprintable() and not _SHAPELESS.match(self.character)

  @property
  def name(self) -> str:
    """Unicode's name of it, in small letters; most control characters have none."""
    named = _CONTROL_NAMES.get(self.character)
    return named or unicodedata.name(self.character, "no name").lower()


@functools.lru_cache(maxsize=1 << 16)
def kind_of(character: str) -> str:
  """Returns a key of KINDS, or "" for letters, marks, punctuation, the space and joiners."""
  category = unicodedata.category(character)
  if character == "\ufffd" or category in ("Co", "Cn", "Cs"):
    return "undefined"
  if category in ("Cc", "Zl", "Zp"):
    return "control"
  if (category == "Cf" and character not in _JOINERS) or _SHAPELESS.match(character):
    return "invisible"
  if category == "Zs" and character != " ":
    return "space"
  if category[0] == "S":
    return "symbol"
  return "digit" if category[0] == "N" else ""


@functools.lru_cache(maxsize=1 << 16)
def script_of(character: str) -> str:
  """Returns the script of a letter by Unicode's name of it ("HEBREW"); "" for anything else.

  Han, kana, hangul and bopomofo count as one, "CJK".
  """
  if unicodedata.category(character) not in ("Lu", "Ll", "Lt", "Lo"):
    return ""
  script = unicodedata.name(character, "").partition(" ")[0]
  if script in _EAST_ASIAN:
    return "CJK"
  return "" if script in _NO_SCRIPT else script


def text_flags(text: str) -> int:
  """Returns the FLAGS of a text as bits."""
  distinct = set(text)
  flags = 0
  for kind in set(map(kind_of, distinct)):
    if kind:
      flags |= _BITS[kind]
  if len(set(map(script_of, distinct)) - {""}) > 1 and mixed_words(text):
    flags |= _BITS[MIXED]
  return flags


def mixed_words(text: str) -> list[str]:
  """Finds words whose letters come from more than one script."""
  return [
    word for word in _WORDS.findall(text) if len({script_of(letter) for letter in word} - {""}) > 1
  ]


def visible(text: str) -> str:
  r"""Shows as escapes what cannot be seen, direction marks and wide spaces too: "a\\u200fb"."""
  if text.isprintable():
    return text
  return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def inventory(counts: Mapping[str, Counter[str]]) -> list[Character]:
  """Lists every character that occurs: unusual ones by severity, then the rest by falling count.

  Args:
    counts: by language, how often each character occurs.
  """
  totals: Counter[str] = Counter()
  for language_counts in counts.values():
    totals.update(language_counts)
  lines = [
    Character(
      character=character,
      count=count,
      languages=tuple(
        sorted(
          (name for name in counts if counts[name][character]),
          key=lambda name: (-counts[name][character], name),
        )
      ),
      kind=kind_of(character),
    )
    for character, count in totals.items()
  ]
  order = [*KINDS, ""]
  return sorted(lines, key=lambda line: (order.index(line.kind), -line.count, line.character))


def home_scripts(counts: Counter[str]) -> set[str]:
  """Returns the scripts that have at least RARE_SCRIPT of the letters of a language."""
  scripts: Counter[str] = Counter()
  for character, count in counts.items():
    scripts[script_of(character)] += count
  del scripts[""]
  return {name for name, count in scripts.items() if count >= RARE_SCRIPT * scripts.total()}
