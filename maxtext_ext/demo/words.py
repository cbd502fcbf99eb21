"""Words of the demo in three languages: the spelling for espeak-ng, and the usual one.

Hebrew and Arabic are kept here with their vowel marks, which espeak-ng needs and which everyday
writing omits: the target text has none.
"""

import dataclasses
import unicodedata

_SHADDA = "\u0651"
_DAGESH = "\u05bc"
_SHIN_SIN_DOTS = "\u05c1\u05c2"

_ENGLISH = (
  "zero one two three four five six seven eight nine ten yes no stop open close left right up down"
  " light door house water hot cold music play hello thanks red green blue white black"
)
_ARABIC = (
  "صِفْر وَاحِد اِثْنَان ثَلَاثَة أَرْبَعَة خَمْسَة سِتَّة سَبْعَة ثَمَانِيَة تِسْعَة عَشَرَة"
  " نَعَم لَا قِف اِفْتَح أَغْلِق يَمِين يَسَار فَوْق تَحْت نُور بَاب بَيْت مَاء حَار بَارِد"
  " مُوسِيقَى شَغِّل مَرْحَبًا شُكْرًا أَحْمَر أَخْضَر أَزْرَق أَبْيَض أَسْوَد"
)
_HEBREW = (
  "אֶפֶס אַחַת שְׁתַּיִם שָׁלוֹשׁ אַרְבַּע חָמֵשׁ שֵׁשׁ שֶׁבַע שְׁמוֹנֶה תֵּשַׁע עֶשֶׂר"
  " כֵּן לֹא עֲצוֹר פְּתַח סְגוֹר יָמִינָה שְׂמֹאלָה לְמַעְלָה לְמַטָּה אוֹר דֶּלֶת בַּיִת מַיִם"
  " חַם קַר מוּזִיקָה שָׁלוֹם תּוֹדָה יָרוֹק אָדוֹם כָּחוֹל לָבָן שָׁחוֹר"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Word:
  """`spoken` is what espeak-ng reads; `written` is the target."""

  spoken: str
  written: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lexicon:
  """Words of a language, and the espeak-ng voices (accents) that speak them."""

  code: str
  voices: tuple[str, ...]
  words: tuple[Word, ...]


def spoken_hebrew(text: str) -> str:
  """Orders the marks of each letter as espeak-ng's rules expect: shin or sin dot, dagesh, vowel.

  Unicode's canonical order has the vowel first; espeak-ng then spells the marks aloud in English.
  """
  rank = {_DAGESH: 1, **dict.fromkeys(_SHIN_SIN_DOTS, 0)}
  return _order_marks(unicodedata.normalize("NFD", text), rank)


def spoken_arabic(text: str) -> str:
  """Composes letters (hamza carriers too) and puts shadda before the vowel."""
  return _order_marks(unicodedata.normalize("NFC", text), {_SHADDA: 0})


def strip_marks(text: str) -> str:
  """Removes vowel marks, as in everyday writing; precomposed Arabic letters stay composed."""
  # NFC leaves Hebrew letters and points apart, and keeps the hamza on its Arabic carrier.
  composed = unicodedata.normalize("NFC", text)
  return "".join(c for c in composed if not unicodedata.combining(c))


def _order_marks(text: str, rank: dict[str, int]) -> str:
  """Sorts every run of combining marks by `rank` (marks without a rank last, in their order)."""
  ordered, marks = [], []
  for character in text:
    if unicodedata.combining(character):
      marks.append(character)
      continue
    ordered += [*sorted(marks, key=lambda mark: rank.get(mark, 2)), character]
    marks = []
  return "".join([*ordered, *sorted(marks, key=lambda mark: rank.get(mark, 2))])


LEXICONS = {
  "English": Lexicon(
    code="en",
    voices=("en", "en-us", "en-gb-x-rp", "en-gb-scotland", "en-029", "en-us-nyc"),
    words=tuple(Word(spoken=word, written=word) for word in _ENGLISH.split()),
  ),
  "Arabic": Lexicon(
    code="ar",
    voices=("ar",),
    words=tuple(
      Word(spoken=spoken_arabic(word), written=strip_marks(word)) for word in _ARABIC.split()
    ),
  ),
  "Hebrew": Lexicon(
    code="he",
    voices=("he",),
    words=tuple(
      Word(spoken=spoken_hebrew(word), written=strip_marks(word)) for word in _HEBREW.split()
    ),
  ),
}
