"""The English normaliser of Whisper and of the Open ASR Leaderboard."""

import functools

from whisper_normalizer.english import EnglishTextNormalizer

from maxtext_ext.text.normalize.basic import collapse_spaces


@functools.cache
def _whisper_english() -> EnglishTextNormalizer:
  return EnglishTextNormalizer()


def normalize(text: str) -> str:
  """Basic, and spelled-out numbers as digits, contractions opened, American spelling, no fillers.

  Appendix C of the Whisper paper (https://cdn.openai.com/papers/whisper.pdf).
  """
  return collapse_spaces(_whisper_english()(text))
