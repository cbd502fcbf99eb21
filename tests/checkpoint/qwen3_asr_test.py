"""Names and axes of Qwen3-ASR against the map by hand, and the sizes of the published models."""

import copy
import math

import numpy as np
import pytest
import yaml
from flax import traverse_util

from benchmarks.parity.references import ours
from benchmarks.parity.references import qwen3_asr as golden
from benchmarks.parity.references import qwen3_asr_files as files
from benchmarks.parity.references import qwen3_asr_odd as odd
from maxtext_ext.checkpoint import qwen3_asr as family
from maxtext_ext.checkpoint.families import family_of
from maxtext_ext.checkpoint.keymap import our_shapes, places_by_name
from maxtext_ext.keys.yml import package_configs

CONFIGS = {"original": files.original_config(), "native": files.native_config()}


def flat(tree):
  return {"/".join(path): value for path, value in traverse_util.flatten_dict(tree).items()}


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("naming", ["original", "native"])
def test_rules_name_every_tensor_with_its_shape(naming, tied):
  sizes = family.sizes(family.model_keys(CONFIGS[naming]))
  places = places_by_name(family.rules(naming, tied), sizes)
  weights = files.weights(naming, head=None if tied else "untied")
  assert {name: found[0].rule.hf_shape(sizes) for name, found in places.items()} == {
    name: value.shape for name, value in weights.items()
  }
  assert all(len(found) == 1 for found in places.values())


@pytest.mark.parametrize("scanned", [True, False], ids=["scanned", "unscanned"])
@pytest.mark.parametrize("ref", [golden.REFERENCE, odd.REFERENCE], ids=["plain", "odd"])
def test_rules_are_the_map_by_hand(ref, scanned):
  config = files.native_config(ref)
  sizes = family.sizes(family.model_keys(config))
  rules = family.rules("native", True)
  rules = rules if scanned else [rule.unscanned() for rule in rules]
  found = {path: np.full(shape, np.nan) for path, shape in our_shapes(rules, sizes).items()}
  weights = ref.weights()
  for name, places in places_by_name(rules, sizes).items():
    for place in places:
      found[place.path][place.slot()] = place.rule.view(weights[name], sizes)
  expected = flat(ours.params(ref, scanned=scanned))
  assert found.keys() == expected.keys()
  for path, value in expected.items():
    np.testing.assert_array_equal(found[path], value, err_msg=path)


@pytest.mark.parametrize("naming", ["original", "native"])
def test_naming_and_family_are_recognised(naming):
  assert family_of(CONFIGS[naming]) is family.FAMILY
  assert family.FAMILY.naming_of(files.weights(naming), {}) == naming


@pytest.mark.parametrize("size", ["0.6b", "1.7b"])
def test_published_shapes_are_those_of_our_yml_files(size):
  audio = {
    "0.6b": {"d_model": 896, "encoder_layers": 18, "encoder_attention_heads": 14},
    "1.7b": {"d_model": 1024, "encoder_layers": 24, "encoder_attention_heads": 16},
  }[size]
  hidden, mlp = {"0.6b": (1024, 3072), "1.7b": (2048, 6144)}[size]
  config = copy.deepcopy(CONFIGS["original"])
  config["thinker_config"]["audio_config"] |= {
    **audio,
    "encoder_ffn_dim": 4 * audio["d_model"],
    "downsample_hidden_size": 480,
    "output_dim": hidden,
  }
  config["thinker_config"]["text_config"] |= {
    "hidden_size": hidden,
    "intermediate_size": mlp,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
  }
  keys = family.model_keys(config)
  assert {**keys, "checkpoint_family": family.FAMILY.name} == yaml.safe_load(
    (package_configs() / "models" / f"qwen3-asr-{size}.yml").read_text()
  )
  shapes = our_shapes(family.rules("original", True), family.sizes(keys))
  parameters = sum(math.prod(shape) for shape in shapes.values())
  # From the sizes that the publisher gives, in millions: tower, projector, language model.
  stated = {"0.6b": 184.65 + 1.72 + 596.05, "1.7b": 314.33 + 3.15 + 1720.57}[size]
  assert round(parameters / 1e6, 2) == pytest.approx(stated, abs=0.02)


def test_unknown_kind_is_said():
  with pytest.raises(ValueError, match="'whisper' cannot be converted; known: qwen3_asr"):
    family_of({"model_type": "whisper"})
