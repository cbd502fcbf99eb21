"""Arabic: the normaliser of the Open Universal Arabic ASR Leaderboard, and a strict one."""

import re
import unicodedata

from maxtext_ext.text.normalize import basic, training
from maxtext_ext.text.normalize.invisible import remove_invisible

_TATWEEL = "\u0640"
_PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~" + "\u060c\u061b\u061f"  # comma, semicolon, ?
_VOWEL_SIGNS = "".join(map(chr, range(0x064B, 0x0653)))  # fathatan to sukun
_DIGITS = {0x0660 + digit: str(digit) for digit in range(10)}
_EXTENDED_DIGITS = {0x06F0 + digit: str(digit) for digit in range(10)}  # Persian, Urdu
_LEADERBOARD = (
  dict.fromkeys(map(ord, _PUNCTUATION + _VOWEL_SIGNS + "\u0621"), None)  # bare hamza too
  | str.maketrans("\u0622\u0623\u0625", "\u0627" * 3)  # alef with madda or hamza -> alef
  | str.maketrans("\u0624\u0626", "\u0648\u064a")  # hamza on waw -> waw, on yeh -> yeh
  | str.maketrans("\u067e\u06a4", "\u0628\u0641")  # peh -> beh, veh -> feh
  | _DIGITS
)
# The conjunction "and", which is written with the word that follows.
_LONE_WAW = re.compile(r"(?:^|(?<= ))\u0648 (\S+)")
# What may be left out in writing: vowel signs, dagger alef, signs of the Quran, tatweel. After NFC
# a hamza or madda that belongs to a letter is in it.
_OPTIONAL = re.compile(
  f"[{_TATWEEL}\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed"
  "\u0898-\u089f\u08ca-\u08e1\u08e3-\u08ff]"
)


def normalize(text: str) -> str:
  """The leaderboard's convention, equal to its eval.py in its current version, of July 2026.

  ASCII and Arabic punctuation and vowel signs are deleted, so that what they stood between is
  joined; forms of alef become bare alef, hamza goes or leaves its seat, p and v become b and f,
  Eastern digits Western, and a lone waw joins the next word. All else stays: teh marbuta and heh,
  alef maqsura and yeh, tatweel, dagger alef, other punctuation, capitals, invisible marks.
  https://github.com/Natural-Language-Processing-Elm/open_universal_arabic_asr_leaderboard
  """
  text = basic.collapse_spaces(text.translate(_LEADERBOARD))
  return _LONE_WAW.sub("\u0648\\1", text)


def normalize_strict(text: str) -> str:
  """Normalises so that every wrong letter counts, and nothing else.

  Whisper Basic, without marks that are optional or inaudible: vowel signs, dagger alef,
  tatweel, invisible marks; Eastern digits become Western. What the leaderboard's convention hides
  counts: hamza, the forms of alef, p and v, a waw apart from its word.
  """
  # Compatibility forms first: some of them are vowel signs, or letters that carry one.
  text = unicodedata.normalize("NFKC", remove_invisible(text))
  text = _OPTIONAL.sub("", text).translate(_DIGITS | _EXTENDED_DIGITS)
  return basic.normalize(text)


def clean_training_text(text: str) -> str:
  """Applies `training.clean_training_text`; removes tatweel and all zero-width characters.

  Vowel signs stay: a corpus either has them throughout or has none.
  """
  return training.clean_training_text(remove_invisible(text).replace(_TATWEEL, ""))
