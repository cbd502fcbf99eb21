"""Letters template, for CTC models: an empty prompt, and the target letter by letter."""

import os

from maxtext_ext.text.alphabet import Alphabet
from maxtext_ext.text.templates.template import Prompt, Template

_NO_PROMPT = Prompt(before=(), after=(), audio_pad=None)


def build_prompt(
  alphabet: Alphabet, *, language: str | None = None, context: str = "", instruction: str = ""
) -> Prompt:
  """The empty prompt: a CTC model hears the audio alone, whatever language and context are."""
  del alphabet, language, context, instruction
  return _NO_PROMPT


def build_target(alphabet: Alphabet, text: str, *, language: str | None, forced: bool) -> list[int]:
  """Ids of the characters, without blanks; the language is not written.

  Raises:
    OutsideAlphabetError: the text has characters that are not in the alphabet.
  """
  del language, forced
  return alphabet.encode(text)


def parse_output(text: str) -> tuple[str | None, str]:
  """No language, and the text without white space around it."""
  return None, text.strip()


def _open(directory: str | os.PathLike[str], special_tokens: tuple[str, ...]) -> Alphabet:
  assert not special_tokens
  return Alphabet.from_directory(directory)


LETTERS = Template(
  name="letters",
  open_vocabulary=_open,
  build_prompt=build_prompt,
  build_target=build_target,
  parse=parse_output,
)
