"""Families of models that the demo can train: configurations, vocabularies, keys for own data."""

import functools
import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from maxtext_ext.input.utterance import build_utterance
from maxtext_ext.keys.settings import read
from maxtext_ext.records.reader import RecordSource, find_shards
from maxtext_ext.records.schema import Record, decode_example
from maxtext_ext.text.alphabet import Alphabet
from maxtext_ext.text.tokenizer import Tokenizer, train_char_tokenizer
from maxtext_ext.text.vocabulary import Vocabulary

SPLITS = ("train", "validation", "test")
VOCABULARY_MULTIPLE = 64
ROW_TOKENS = 1024  # of a row of the user's own data
PASS_SECONDS = 60  # of a batch of it, where rows are single clips
EPOCHS = 8  # passes over it, within STEPS
STEPS = (600, 3600)
EVALUATIONS = 15  # of a run
PATIENCE = 5  # evaluations without a lower word error rate: a third of the run


@dataclass(frozen=True, kw_only=True)
class DemoFamily[V: Vocabulary]:
  """Settings of the demo for a family of models.

  Attributes:
    config: the experiment.
    out: default folder of all output, as `config` names it.
    title: of the report.
    write_vocabulary: writes the vocabulary of some texts and languages into a folder.
    own_data_keys: `key=value` strings for recordings of any length, number and language, from the
      folder of the converted data and the vocabulary.
  """

  config: str
  out: str
  title: str
  write_vocabulary: Callable[[Iterable[str], str | os.PathLike[str], Iterable[str]], V]
  own_data_keys: Callable[[str, V], list[str]]


def records_of(data_dir: str, split: str) -> Iterator[Record]:
  """Reads the records of a split, one after the other."""
  source = RecordSource(find_shards(data_dir, split))
  return (decode_example(source[index]) for index in range(len(source)))


def speech_lm_keys(config: str, data_dir: str, tokenizer: Tokenizer) -> list[str]:
  """`key=value` strings for own recordings and a model of an encoder and a language model.

  The configuration is made for thousands of one-second commands. Here the steps follow from the
  amount of data, and training stops when the evaluations no longer improve.
  """
  from maxtext_ext.models.encoders import encoder_config  # with JAX, which --help can spare

  settings = read(config)
  prompt: dict[str, Any] = {
    "geometry": encoder_config(settings).geometry,
    "template": settings.template,
    "language_in_prompt": settings.language_in_prompt,
    "instruction": settings.instruction,
  }
  tokens, longest = 0, 0
  for split in SPLITS:
    for record in records_of(data_dir, split):
      clip = build_utterance(record, tokenizer, **prompt)
      longest = max(longest, len(clip.target))
      tokens += clip.tokens if split == "train" else 0
  return [
    f"vocab_size={-(-tokenizer.vocab_size // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE}",
    f"max_target_length={ROW_TOKENS}",
    "windows_per_row=0",
    "per_device_batch_size=1",
    "max_seconds=30",
    "curriculum=[]",
    f"max_new_tokens={longest + longest // 4}",
    *length_keys(steps_for(tokens / ROW_TOKENS)),
  ]


def length_keys(steps: int) -> list[str]:
  """`key=value` strings of a run of so many steps that stops when it no longer improves."""
  interval = steps // EVALUATIONS
  return [
    f"steps={steps}",
    f"checkpoint_period={PATIENCE * interval}",
    f"eval_interval={interval}",
    "eval_clips=50",
    f"early_stopping_patience={PATIENCE}",
  ]


def steps_for(batches: float) -> int:
  """Returns the steps of a run for the batches of one pass over the training data."""
  least, most = STEPS
  return min(max(math.ceil(EPOCHS * batches), least), most)


def write_alphabet(
  texts: Iterable[str], directory: str | os.PathLike[str], languages: Iterable[str]
) -> Alphabet:
  """Writes the characters of some texts as the letters of a CTC model, in any language."""
  del languages
  return Alphabet("".join(sorted({" "}.union(*texts)))).write(directory)


def lmu_keys(data_dir: str, alphabet: Alphabet) -> list[str]:
  """`key=value` strings for own recordings, as `speech_lm_keys`."""
  longest = max(len(each.text) for split in SPLITS for each in records_of(data_dir, split))
  seconds = sum(each.seconds for each in records_of(data_dir, "train"))
  return [
    f"vocab_size={alphabet.vocab_size}",
    f"max_target_length={longest}",
    "max_seconds=30",
    "length_buckets=8",
    f"per_device_batch_seconds={PASS_SECONDS}",
    *length_keys(steps_for(seconds / PASS_SECONDS)),
  ]


def _speech_lm(name: str, *, out: str, title: str) -> DemoFamily:
  config = f"configs/experiments/{name}.yml"
  return DemoFamily(
    config=config,
    out=out,
    title=title,
    write_vocabulary=train_char_tokenizer,
    own_data_keys=functools.partial(speech_lm_keys, config),
  )


FAMILIES: dict[str, DemoFamily] = {
  "qwen3_asr": _speech_lm("demo", out="out/demo", title="a tiny Qwen3-ASR from random weights"),
  "whisper": _speech_lm(
    "whisper_demo",
    out="out/demo_whisper",
    title="a tiny Whisper encoder, a projector and a language model from random weights",
  ),
  "lmu": DemoFamily(
    config="configs/experiments/lmu_demo.yml",
    out="out/demo_lmu",
    title="a tiny LMU encoder with CTC from random weights",
    write_vocabulary=write_alphabet,
    own_data_keys=lmu_keys,
  ),
}
