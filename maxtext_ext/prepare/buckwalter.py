"""Conversion of Buckwalter transliteration to Arabic letters.

Source: the table of Tim Buckwalter's transliteration; `^` beside `v` for theh is of the Arabic
Speech Corpus, whose transcripts are written so ("waraj~aHa Alt~aqoriyru").
"""

_LETTERS = dict(
  zip(
    "'|>&<}{Abptv^jHxd*rzs$SDTZEgfqklmnhwYyPJVG",
    "ءآأؤإئاابةتثثجحخدذرزسشصضطظعغفقكلمنهوىيپچڤگ",
    strict=True,
  )
)
_VOWELS = "FNKaui~o`_"  # tanween, short vowels, shadda, sukun, dagger alef; and tatweel
_PUNCTUATION = {",": "،", ";": "؛", "?": "؟"}
_TABLE = str.maketrans(_LETTERS | dict.fromkeys(_VOWELS, "") | _PUNCTUATION)


def to_arabic(text: str) -> str:
  """Converts a text to Arabic letters without vowels, as is usual: "waraj~aHa" -> "ورجح".

  Characters outside the table stay.
  """
  return text.translate(_TABLE)
