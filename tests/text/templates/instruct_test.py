"""The instruct template with the tokenizers of SmolLM2, Qwen3 and a plain Llama."""

import json
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from maxtext_ext.input.utterance import build_utterance
from maxtext_ext.models.encoders.qwen3_audio import GEOMETRY
from maxtext_ext.records.schema import Record
from maxtext_ext.text.special_tokens import CONTROL
from maxtext_ext.text.templates import TEMPLATES
from maxtext_ext.text.tokenizer import Tokenizer
from tests.text.tokenizer_test import qwen3_directory

INSTRUCT = TEMPLATES["instruct"]


def byte_level(folder: Path, special: list[str], **config: str) -> Path:
  """A tokenizer of single bytes with special tokens in front, as SmolLM2 has them."""
  entries = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
  made = tokenizers.Tokenizer(
    models.BPE(vocab={entry: i for i, entry in enumerate(entries)}, merges=[])
  )
  made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
  made.decoder = decoders.ByteLevel()
  made.add_special_tokens(special)
  folder.mkdir(exist_ok=True)
  made.save(str(folder / "tokenizer.json"))
  (folder / "tokenizer_config.json").write_text(json.dumps(config))
  return folder


@pytest.fixture
def smollm2(tmp_path: Path) -> Tokenizer:
  special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>"]
  opened = INSTRUCT.open(byte_level(tmp_path / "smollm2", special, eos_token="<|im_end|>"))
  assert isinstance(opened, Tokenizer)
  return opened


def test_a_prompt_is_the_audio_the_lines_and_the_answer(smollm2: Tokenizer):
  prompt = INSTRUCT.build_prompt(
    smollm2, language="he", context="names: Ann", instruction="Transcribe the speech."
  )
  assert prompt.before == ()
  assert prompt.audio_pad == smollm2.pad_id == 0
  assert smollm2.decode(prompt.after) == ("names: Ann\nLanguage: Hebrew\nTranscribe the speech.\n")
  target = INSTRUCT.build_target(smollm2, "what is said", language="he", forced=False)
  assert target[-1] == smollm2.eos_id == 2
  assert INSTRUCT.parse(smollm2.decode(target)) == (None, "what is said")
  assert INSTRUCT.build_target(smollm2, "", language=None, forced=False) == [2]
  assert INSTRUCT.build_prompt(smollm2, instruction="").after == ()


def test_an_utterance_begins_with_its_audio(smollm2: Tokenizer):
  clip = Record(sample_id="a", audio=np.zeros(16_000, np.float32), text="hi", language="English")
  keys = {"geometry": GEOMETRY, "template": "instruct", "instruction": "Write."}
  utterance = build_utterance(clip, smollm2, **keys)
  written = smollm2.encode("Write.\n")
  assert utterance.audio_start == 0
  assert utterance.prompt.tolist() == [0] * utterance.audio_tokens + written
  assert utterance.target.tolist() == [*smollm2.encode("hi"), 2]
  assert not utterance.language_forced
  forced = build_utterance(clip, smollm2, language_in_prompt=True, **keys)
  assert smollm2.decode(forced.prompt) == "Language: English\nWrite.\n"
  assert forced.language_forced


def test_a_text_cannot_spell_a_control_token(smollm2: Tokenizer):
  assert "<repo_name>" in CONTROL
  for text in ("<|im_end|>", "a<repo_name>b"):
    ids = smollm2.encode(text)
    assert min(ids) > 3
    assert smollm2.decode(ids) == text


def test_qwen_tokenizers_need_no_tokens_for_audio():
  opened = INSTRUCT.open(qwen3_directory())
  assert isinstance(opened, Tokenizer)
  assert opened.vocab_size == 151_669
  assert (opened.pad_id, opened.eos_id) == (151_643, 151_645)
  assert opened.eos_ids == {151_643, 151_645}
  assert INSTRUCT.build_prompt(opened).audio_pad == 151_643


@pytest.mark.parametrize(
  ("special", "config", "eos", "eos_ids", "pad"),
  [
    (["<s>", "</s>"], {"eos_token": "</s>"}, 1, {1}, 1),
    (["<|endoftext|>", "<|im_end|>"], {"eos_token": "<|endoftext|>"}, 0, {0, 1}, 0),
    (["<|endoftext|>", "<|im_end|>"], {}, 1, {0, 1}, 0),
    (["<|endoftext|>"], {}, 0, {0}, 0),
  ],
)
def test_the_end_of_a_text_is_what_the_files_say(tmp_path, special, config, eos, eos_ids, pad):
  opened = INSTRUCT.open(byte_level(tmp_path, special, **config))
  assert isinstance(opened, Tokenizer)
  assert (opened.eos_id, opened.eos_ids, opened.pad_id) == (eos, eos_ids, pad)


def test_a_tokenizer_without_an_end_is_refused(tmp_path: Path):
  opened = INSTRUCT.open(byte_level(tmp_path, ["<s>"]))
  with pytest.raises(ValueError, match=r"says of no token that it ends a text; expected eos_token"):
    opened.encode("a")
