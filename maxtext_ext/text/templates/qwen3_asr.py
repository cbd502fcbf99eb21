"""Qwen3-ASR template: prompt around the audio, training target, and parsing of answers.

    <|im_start|>system\\n{context}<|im_end|>\\n
    <|im_start|>user\\n<|audio_start|>{<|audio_pad|> x N}<|audio_end|><|im_end|>\\n
    <|im_start|>assistant\\n[language X<asr_text>]

(the three lines are one string). The model answers `language X<asr_text>transcript<|im_end|>`, or
only `transcript<|im_end|>` when the prompt already ends with the language.
Source: chat template of Qwen/Qwen3-ASR, `qwen_asr/inference/utils.py` and `finetuning/`.
"""

import re

from maxtext_ext.text.languages import NO_LANGUAGE, is_name, language_name, spell
from maxtext_ext.text.special_tokens import ASR_TEXT, OF_QWEN3_ASR
from maxtext_ext.text.templates.template import Prompt, Template
from maxtext_ext.text.tokenizer import Tokenizer

_LANGUAGE_LINE = re.compile(r"^\s*language\s+(\S.*?)\s*$", re.IGNORECASE | re.MULTILINE)


def build_prompt(
  tokenizer: Tokenizer, *, language: str | None = None, context: str = "", instruction: str = ""
) -> Prompt:
  """Token ids of the prompt: up to `<|audio_start|>`, and from `<|audio_end|>` on.

  Args:
    tokenizer: the model's tokenizer.
    language: forces the answer's language (then the answer is the transcript alone), a code or a
      name; None lets the model name it. A language outside the published list is allowed.
    context: free text for the system turn (names, terms, style); never read as special tokens.
    instruction: not written; the model has one task.

  Raises:
    ValueError: the language is not a name (see `language_name`).
  """
  del instruction
  t = tokenizer
  before = [t.im_start_id, *t.encode(f"system\n{context}"), t.im_end_id, *t.encode("\n")]
  before += [t.im_start_id, *t.encode("user\n"), t.audio_start_id]
  after = [t.audio_end_id, t.im_end_id, *t.encode("\n"), t.im_start_id, *t.encode("assistant\n")]
  if language is not None:
    after += _language_tag(t, language)
  return Prompt(before=tuple(before), after=tuple(after), audio_pad=t.audio_pad_id)


def build_target(
  tokenizer: Tokenizer, text: str, *, language: str | None, forced: bool
) -> list[int]:
  """Token ids the model has to answer, the closing `<|im_end|>` included.

  Args:
    tokenizer: the model's tokenizer.
    text: the transcript, kept as it is; empty for silence.
    language: language of the clip; None is written as `language None`.
    forced: whether the prompt already ends with the language (`build_prompt(language=...)`).
  """
  tag = [] if forced else _language_tag(tokenizer, language or NO_LANGUAGE)
  return [*tag, *tokenizer.encode(text), tokenizer.im_end_id]


def parse_output(text: str) -> tuple[str | None, str]:
  """Splits an answer into `(language, transcript)`.

  Any text can be split. The language is None where the answer names none, says `language None` or
  something that is no name, or was forced by the prompt. Only the first `<asr_text>` splits; white
  space around the transcript is dropped, and U+FFFD, which a tokenizer writes for bytes that make
  no character.
  """
  head, tag, transcript = text.replace("\ufffd", "").partition(ASR_TEXT)
  if not tag:
    return None, head.strip()
  named = _LANGUAGE_LINE.search(head)
  return None if named is None else _heard(named[1]), transcript.strip()


def _heard(name: str) -> str | None:
  language = spell(name) if is_name(name) else NO_LANGUAGE
  return None if language == NO_LANGUAGE else language


def _language_tag(tokenizer: Tokenizer, language: str) -> list[int]:
  name = language_name(language)
  return [*tokenizer.encode(f"language {name}"), tokenizer.asr_text_id]


QWEN3_ASR = Template(
  name="qwen3_asr",
  special_tokens=OF_QWEN3_ASR,
  open_vocabulary=Tokenizer.from_directory,
  build_prompt=build_prompt,
  build_target=build_target,
  parse=parse_output,
)
