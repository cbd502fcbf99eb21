"""Qwen3-Omni in every naming, there and back; what is skipped, and what is refused."""

import copy
import json
import math
import os

import jax
import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from benchmarks.parity.references import ours
from benchmarks.parity.references import qwen3_omni_files as files
from benchmarks.parity.references.qwen3_omni import REFERENCE
from maxtext_ext.checkpoint import qwen3_omni as family
from maxtext_ext.checkpoint.convert import to_maxtext
from maxtext_ext.checkpoint.export import to_hf
from maxtext_ext.checkpoint.families import family_of
from maxtext_ext.checkpoint.keymap import KeyTableError, our_shapes, places_by_name
from maxtext_ext.keys.yml import package_configs

NAMINGS = family.FAMILY.namings


def nested(flat: dict[str, np.ndarray]) -> dict:
  tree: dict = {}
  for path, value in flat.items():
    *parts, leaf = path.split("/")
    inner = tree
    for part in parts:
      inner = inner.setdefault(part, {})
    inner[leaf] = value
  return tree


@pytest.mark.parametrize("scanned", [True, False], ids=["scanned", "unscanned"])
@pytest.mark.parametrize("naming", NAMINGS)
def test_rules_are_the_map_by_hand(naming, scanned):
  config = files.config(naming.removesuffix("-fused"))
  assert family_of(config) is family.FAMILY
  sizes = family.sizes(family.model_keys(config))
  rules = family.rules(naming, False)
  rules = rules if scanned else [rule.unscanned() for rule in rules]
  weights = files.weights(naming, dtype=np.dtype(np.float32))
  assert family.FAMILY.naming_of(weights, {}) == naming
  found = {path: np.full(shape, np.nan) for path, shape in our_shapes(rules, sizes).items()}
  places = places_by_name(rules, sizes)
  assert places.keys() == weights.keys()
  for name, of_name in places.items():
    for place in of_name:
      assert place.rule.hf_shape(sizes) == weights[name].shape
      found[place.path][place.slot()] = place.rule.view(weights[name], sizes)
  jax.tree.map(
    np.testing.assert_array_equal, nested(found), ours.params(REFERENCE, scanned=scanned)
  )


@pytest.mark.parametrize(
  ("source", "scanned"), [("original", True), ("native", False), ("native-fused", True)]
)
def test_there_and_back_is_byte_equal(tmp_path, source, scanned):
  files.write(tmp_path / "hf", source, files.weights(source))
  out = str(tmp_path / "out")
  report = to_maxtext(str(tmp_path / "hf"), out, scanned=scanned)
  kind = source.removesuffix("-fused")
  assert (report.naming, report.head, report.skipped) == (source, "untied", files.SKIPPED[kind])
  for naming in NAMINGS:
    assert to_hf(out, str(tmp_path / naming), naming=naming).naming == naming
    found = load_file(tmp_path / naming / "model.safetensors")
    expected = files.weights(naming)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
      assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape), name
      assert found[name].tobytes() == value.tobytes(), name
    written = json.loads((tmp_path / naming / "config.json").read_text())
    again = family.model_keys(written)
    assert again == family.model_keys(files.config(kind))
    assert family_of(written) is family.FAMILY
    assert not written.get("enable_audio_output"), "its tensors are not there"


def test_every_tensor_that_does_not_fit_is_listed_and_nothing_written(tmp_path):
  weights = files.weights("original")
  del weights["thinker.model.layers.1.mlp.experts.3.up_proj.weight"]
  del weights["thinker.lm_head.weight"]
  weights["thinker.model.layers.0.mlp.shared_expert.gate_proj.weight"] = np.ones((2, 2), np.float32)
  weights["thinker.talker.weight"] = np.ones(2, np.float32)
  router = "thinker.model.layers.0.mlp.gate.weight"
  weights[router] = weights[router][:4]
  files.write(tmp_path / "hf", "original", weights)
  with pytest.raises(KeyTableError) as error:
    to_maxtext(str(tmp_path / "hf"), str(tmp_path / "out"))
  assert sorted(str(error.value).splitlines()[1:]) == [
    "missing: thinker.lm_head.weight [512, 48]",
    "missing: thinker.model.layers.1.mlp.experts.3.up_proj.weight [40, 48]",
    f"shape of {router}: got [4, 48], expected [8, 48]",
    "unknown: thinker.model.layers.0.mlp.shared_expert.gate_proj.weight [2, 2]",
    "unknown: thinker.talker.weight [2]",
  ]
  assert os.listdir(tmp_path) == ["hf"]


def test_published_shape_is_that_of_our_yml():
  config = copy.deepcopy(files.config("original"))
  config["thinker_config"]["audio_config"] |= {
    "d_model": 1280,
    "encoder_layers": 32,
    "encoder_attention_heads": 20,
    "encoder_ffn_dim": 5120,
    "downsample_hidden_size": 480,
    "output_dim": 2048,
  }
  config["thinker_config"]["text_config"] |= {
    "hidden_size": 2048,
    "moe_intermediate_size": 768,
    "num_hidden_layers": 48,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "vocab_size": 152_064,
  }
  keys = family.model_keys(config)
  assert {**keys, "checkpoint_family": family.FAMILY.name} == yaml.safe_load(
    (package_configs() / "models" / "qwen3-omni-30b-a3b.yml").read_text()
  )
  shapes = our_shapes(family.rules("original", False), family.sizes(keys))
  speech = [shape for path, shape in shapes.items() if not path.startswith(("decoder", "token"))]
  assert sum(math.prod(shape) for shape in speech) == pytest.approx(647.9e6, abs=0.1e6)
  assert sum(math.prod(shape) for shape in shapes.values()) == pytest.approx(31.2e9, rel=0.01)


@pytest.mark.parametrize(
  ("key", "value"),
  [("norm_topk_prob", False), ("decoder_sparse_step", 2), ("mlp_only_layers", [0])],
)
def test_another_kind_of_mixture_is_refused(key, value):
  config = copy.deepcopy(files.config("native"))
  config["text_config"][key] = value
  with pytest.raises(ValueError, match=f"text_config.{key}: got"):
    family.model_keys(config)
