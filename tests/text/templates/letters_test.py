"""The letters template: through the interface, as input and decoding use it."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from maxtext_ext.input.config import InputConfig
from maxtext_ext.input.drops import Drop
from maxtext_ext.input.transforms import BuildUtterance, Clip
from maxtext_ext.input.utterance import build_utterance
from maxtext_ext.models.encoders.qwen3_audio import GEOMETRY
from maxtext_ext.records.schema import Record
from maxtext_ext.text.alphabet import Alphabet, OutsideAlphabetError
from maxtext_ext.text.prompt_keys import PromptKeys
from maxtext_ext.text.templates import DEFAULT_TEMPLATE, TEMPLATES

LETTERS = TEMPLATES["letters"]
CLIP = Record(
  sample_id="clip",
  audio=np.random.default_rng(0).normal(size=16_000).astype(np.float32) * 0.1,
  text="ab ba",
  dataset_name="noise",
  language="English",
  prompt="names to expect",
)


@pytest.fixture
def alphabet(tmp_path: Path) -> Alphabet:
  Alphabet(" ab").write(tmp_path)
  opened = LETTERS.open(tmp_path)
  assert isinstance(opened, Alphabet)
  return opened


def test_every_template_is_found_under_its_name():
  assert {name: template.name for name, template in TEMPLATES.items()} == {n: n for n in TEMPLATES}
  assert DEFAULT_TEMPLATE in TEMPLATES


def test_an_utterance_has_no_prompt_and_a_letter_for_each_character(alphabet: Alphabet):
  utterance = build_utterance(
    CLIP, alphabet, geometry=GEOMETRY, template="letters", language_in_prompt=True
  )
  assert utterance.prompt.tolist() == []
  assert utterance.target.tolist() == [2, 3, 1, 3, 2]
  assert (utterance.prompt.dtype, utterance.target.dtype) == (np.int32, np.int32)
  assert (utterance.audio_start, utterance.audio_tokens) == (0, 13)


def test_an_answer_is_the_text_alone(alphabet: Alphabet):
  target = LETTERS.build_target(alphabet, " ab", language="Hebrew", forced=False)
  assert LETTERS.parse(alphabet.decode(target)) == (None, "ab")


def test_a_text_outside_the_alphabet_is_dropped_with_its_reason(alphabet: Alphabet):
  with pytest.raises(OutsideAlphabetError, match="'c'"):
    LETTERS.build_target(alphabet, "abc", language=None, forced=False)
  config = InputConfig(geometry=GEOMETRY, prompt=PromptKeys(template="letters"))
  build = BuildUtterance.from_config(config, alphabet)
  dropped = build.map(Clip(record=dataclasses.replace(CLIP, text="abc")))
  assert isinstance(dropped, Drop)
  assert (dropped.reason, dropped.bad) == ("outside the alphabet", False)
  assert dropped.detail.startswith("clip: 'abc': 'c' (U+0063) not in the alphabet")
