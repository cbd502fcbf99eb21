"""Interface of a template: prompt, target, and parsing of answers."""

import os
from collections.abc import Callable
from dataclasses import dataclass

from maxtext_ext.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class Prompt:
  """Token ids around the audio of one clip.

  Attributes:
    before: those before the audio.
    after: those between the audio and the answer.
    audio_pad: the token that stands for each encoder token; None where the audio takes no place
      among the tokens.
  """

  before: tuple[int, ...]
  after: tuple[int, ...]
  audio_pad: int | None


@dataclass(frozen=True, kw_only=True)
class Template:
  """A way to write prompts and targets; chosen by the key `template`.

  The functions take the vocabulary that `open_vocabulary` gives.

  Attributes:
    name: key of `templates.TEMPLATES`.
    special_tokens: tokens that the vocabulary must have.
    open_vocabulary: (folder, special tokens) -> its tokenizer or alphabet. Raises ValueError where
      there is none.
    build_prompt: (vocabulary, language=, context=, instruction=) -> Prompt. language: a code or
      name that forces the answer's language, None to let the model name it; context: free text that
      may help; instruction: what the model is asked to do, where the template has such a text.
    build_target: (vocabulary, text, language=, forced=) -> ids that the model has to answer.
      forced: the prompt names the language already.
    parse: text of an answer -> (language or None, transcript).
  """

  name: str
  special_tokens: tuple[str, ...] = ()
  open_vocabulary: Callable[[str | os.PathLike[str], tuple[str, ...]], Vocabulary]
  build_prompt: Callable[..., Prompt]
  build_target: Callable[..., list[int]]
  parse: Callable[[str], tuple[str | None, str]]

  def open(self, directory: str | os.PathLike[str]) -> Vocabulary:
    """The tokenizer or alphabet of a folder, local or a URL.

    Raises:
      ValueError: there is none.
    """
    return self.open_vocabulary(directory, self.special_tokens)
