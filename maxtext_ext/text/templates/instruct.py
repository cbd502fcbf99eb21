"""Instruct template, for an encoder in front of a plain language model: audio, instruction, answer.

    {audio token x N}[{context}\\n][Language: {language}\\n]{instruction}\\n{transcript}{eos}

The loss counts the transcript and the token that ends it. There are no chat tokens, so it serves
base and instruction-tuned models alike: what surrounds the answer is learned with the projector.
SLAM-LLM (`speech_dataset.py`) puts the audio in front too, and writes around its instruction the
words of Vicuna's chat. Any id may stand for the audio, as its embedding is replaced: it is the pad.
"""

from maxtext_ext.text.languages import language_name
from maxtext_ext.text.templates.template import Prompt, Template
from maxtext_ext.text.tokenizer import Tokenizer


def build_prompt(
  tokenizer: Tokenizer,
  *,
  language: str | None = None,
  context: str = "",
  instruction: str = "",
) -> Prompt:
  """Token ids of the prompt, all of them behind the audio.

  Args:
    tokenizer: the model's tokenizer.
    language: of the speech, a code or a name; None does not say it. The answer names none.
    context: free text (names, terms, style); never read as special tokens.
    instruction: what to do with the audio; empty where the model has but one task.

  Raises:
    ValueError: the language is not a name (see `language_name`).
  """
  named = f"Language: {language_name(language)}" if language is not None else ""
  lines = [f"{line}\n" for line in (context, named, instruction) if line]
  after = tokenizer.encode("".join(lines))
  return Prompt(before=(), after=tuple(after), audio_pad=tokenizer.pad_id)


def build_target(
  tokenizer: Tokenizer, text: str, *, language: str | None, forced: bool
) -> list[int]:
  """Token ids that the model has to answer: the text as it is, and the eos.

  Args:
    tokenizer: the model's tokenizer.
    text: the transcript; empty for silence.
    language, forced: not written.
  """
  del language, forced
  return [*tokenizer.encode(text), tokenizer.eos_id]


def parse_output(text: str) -> tuple[str | None, str]:
  """No language, and the text without white space around it.

  U+FFFD is dropped, which a tokenizer writes for bytes that make no character.
  """
  return None, text.replace("\ufffd", "").strip()


INSTRUCT = Template(
  name="instruct",
  open_vocabulary=Tokenizer.from_directory,
  build_prompt=build_prompt,
  build_target=build_target,
  parse=parse_output,
)
