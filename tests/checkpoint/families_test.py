"""Family of a model: by its key, and as folders without the key tell."""

import types

import pytest

from maxtext_ext.checkpoint.families import FAMILIES, family_of_model
from maxtext_ext.config import load


def model(**keys: str) -> types.SimpleNamespace:
  return types.SimpleNamespace(
    **{"speech_model": "speech_lm", "checkpoint_family": "", "decoder_block": "llama2", **keys}
  )


def test_the_key_decides_whatever_the_decoder_is():
  found = family_of_model(model(checkpoint_family="qwen3_omni", decoder_block="qwen3"))
  assert found is FAMILIES["qwen3_omni"]


@pytest.mark.parametrize(
  ("decoder", "family"), [("qwen3", "qwen3_asr"), ("qwen3_moe", "qwen3_omni")]
)
def test_without_the_key_the_decoder_tells(decoder: str, family: str):
  assert family_of_model(model(decoder_block=decoder)) is FAMILIES[family]
  config = load("configs/experiments/demo.yml", ["checkpoint_family="])
  assert family_of_model(config) is FAMILIES["qwen3_asr"], "decoder_block is an enum there"


def test_what_names_no_family_is_an_error():
  with pytest.raises(ValueError, match="checkpoint_family=other, expected one of qwen3_asr"):
    family_of_model(model(checkpoint_family="other"))
  with pytest.raises(ValueError, match=r"decoder_block=llama2: no family .* checkpoint_family"):
    family_of_model(model())
  with pytest.raises(ValueError, match=r"speech_model=ctc: there are no checkpoints .* elsewhere"):
    family_of_model(model(speech_model="ctc"))


def test_every_family_stands_under_its_name():
  assert all(family.name == name for name, family in FAMILIES.items())
