"""Prompts of Qwen3-ASR against the published template, read by transformers' tokenizer."""

import importlib.util
import itertools
from pathlib import Path

import transformers

from maxtext_ext.text.languages import LANGUAGES
from maxtext_ext.text.templates.qwen3_asr import build_prompt
from maxtext_ext.text.tokenizer import Tokenizer


def qwen3_directory() -> Path:
  """MaxText ships the plain Qwen3 tokenizer; looked up without importing MaxText."""
  spec = importlib.util.find_spec("maxtext")
  assert spec is not None and spec.submodule_search_locations
  return Path(spec.submodule_search_locations[0]) / "assets/tokenizers/qwen3-tokenizer"


def published_tokenizer() -> transformers.PreTrainedTokenizerBase:
  """The same files as transformers reads them, with the published audio tokens added by name."""
  tokenizer = transformers.AutoTokenizer.from_pretrained(qwen3_directory())
  blanks = [f"<blank{n}>" for n in range(1, 28)]
  tts = ["<tts_pad>", "<tts_text_bos>", "<tts_text_eod>", "<tts_text_bos_single>"]
  names = ["<|audio_start|>", "<|audio_end|>", *tts, "<non_speech>", "<|audio_pad|>", *blanks]
  tokenizer.add_tokens([transformers.AddedToken(name, special=True) for name in names])
  tokenizer.add_tokens(["<asr_text>", "<timestamp>"])
  return tokenizer


def published_prompt(language: str | None, context: str) -> str:
  """The template as published, for one audio token."""
  forced = "" if language is None else f"language {language}<asr_text>"
  return (
    f"<|im_start|>system\n{context}<|im_end|>\n<|im_start|>user\n<|audio_start|><|audio_pad|>"
    f"<|audio_end|><|im_end|>\n<|im_start|>assistant\n{forced}"
  )


def count_differences() -> float:
  """Counts prompts whose ids differ, over all languages and contexts."""
  theirs = published_tokenizer()
  ours = Tokenizer.from_directory(qwen3_directory())
  contexts = ("", "Dana Cohen, Tel-Aviv", "שמות: דנה", "two\nlines\n")
  different = 0
  for language, context in itertools.product((*LANGUAGES, "Hebrew", None), contexts):
    prompt = build_prompt(ours, language=language, context=context)
    text = published_prompt(language, context)
    different += [*prompt.before, ours.audio_pad_id, *prompt.after] != theirs(text).input_ids
  return different
