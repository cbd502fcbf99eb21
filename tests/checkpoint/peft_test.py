"""PEFT adapters of several ranks and scales: what each module adds is what PEFT adds."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from benchmarks.parity.references import lora, ours
from benchmarks.parity.references.qwen3_asr import REFERENCE
from maxtext_ext import bridge
from maxtext_ext.checkpoint import peft_config
from maxtext_ext.checkpoint.hf_io import NonfiniteError
from maxtext_ext.checkpoint.peft import Adapters, read_peft, write_peft
from maxtext_ext.checkpoint.peft_rules import PREFIX, adapter_rules, sizes_of
from maxtext_ext.config import load
from maxtext_ext.models.lora import KernelAxes, kernel_update
from tests.golden import lora_variants

VARIANTS = lora_variants.variants()
FILES = ("adapter_config.json", "adapter_model.safetensors")


@pytest.fixture(scope="module", params=[True, False], ids=["scanned", "unscanned"])
def config(request) -> bridge.Config:
  keys = {"model_name": "qwen3-asr-tiny", **ours.config_keys(REFERENCE)}
  keys["scan_layers"] = request.param
  return load("configs/speech.yml", [f"{key}={value}" for key, value in keys.items()])


def changes(adapters: Adapters, config: bridge.Config) -> dict[str, np.ndarray]:
  """scale B A of every module that there are arrays for."""
  sizes = sizes_of(config, adapters.lora.rank)
  found: dict[str, dict[str, np.ndarray]] = {}
  for pair in adapter_rules(config, adapters.peft["naming"]).values():
    for letter, rule in zip("AB", pair, strict=True):
      for place in rule.places(sizes):
        if place.path in adapters.arrays:
          value = np.empty(rule.hf_shape(sizes), np.float32)
          rule.view(value, sizes)[...] = adapters.arrays[place.path][place.slot()]
          module = place.hf.removeprefix(PREFIX).rsplit(".", 2)[0]
          found.setdefault(module, {})[letter] = value
  return {name: adapters.lora.scale * x["B"] @ x["A"] for name, x in found.items()}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_module_adds_what_it_adds_in_peft(tmp_path, config, name):
  folder = lora_variants.write(VARIANTS[name], tmp_path / "in")
  expected = VARIANTS[name]["updates"]
  found = changes(read_peft(str(folder), config), config)
  assert expected.keys() <= found.keys()
  for module, change in found.items():
    if module in expected:
      along = change @ lora_variants.vector(change.shape[1])
      np.testing.assert_allclose(along, expected[module], rtol=1e-4, atol=1e-5)
    else:
      assert not change.any(), module


@pytest.mark.parametrize("name", VARIANTS)
def test_it_goes_back_as_it_came(tmp_path, config, name):
  """Byte for byte, but where B took up a scale: there within a rounding of float32."""
  folder = lora_variants.write(VARIANTS[name], tmp_path / "in")
  (tmp_path / "out").mkdir()
  write_peft(str(tmp_path / "out"), read_peft(str(folder), config), config)
  assert (tmp_path / "out" / FILES[0]).read_bytes() == (folder / FILES[0]).read_bytes()
  before, after = (load_file(tmp_path / side / FILES[1]) for side in ("in", "out"))
  assert after.keys() == before.keys()
  for key, value in before.items():
    np.testing.assert_allclose(after[key], value, rtol=2.5e-7 if "lora_B" in key else 0, atol=0)
  if name not in ("patterns", "everything"):
    assert (tmp_path / "out" / FILES[1]).read_bytes() == (folder / FILES[1]).read_bytes()


def test_what_training_adds_is_exported_with_the_ranks_that_were_imported(tmp_path, config):
  folder = lora_variants.write(VARIANTS["everything"], tmp_path / "in")
  given = read_peft(str(folder), config)
  trained = {path: np.where(x != 0, x + 0.25, 0) for path, x in given.arrays.items()}
  adapters = Adapters(lora=given.lora, arrays=trained, peft=given.peft)
  (tmp_path / "out").mkdir()
  write_peft(str(tmp_path / "out"), adapters, config)
  shapes = {k: tuple(x.shape) for k, x in load_file(tmp_path / "out" / FILES[1]).items()}
  assert shapes == {k: tuple(shape) for k, shape in VARIANTS["everything"]["shapes"].items()}
  again = read_peft(str(tmp_path / "out"), config)
  for path, value in trained.items():
    np.testing.assert_allclose(again.arrays[path], value, rtol=1e-6)


def test_training_leaves_the_filled_up_part_at_zero():
  rng = np.random.default_rng(0)
  a, b = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((5, 4), (4, 3)))
  a, b = a.at[:, 2:].set(0), b.at[2:].set(0)
  axes = KernelAxes(batch=0, inputs=1, stack=None)
  loss = jax.grad(lambda a, b: jnp.tanh(kernel_update(a, b, axes, 0.5)).sum(), argnums=(0, 1))
  of_a, of_b = loss(a, b)
  assert not of_a[:, 2:].any()
  assert not of_b[2:].any()
  assert of_a[:, :2].all()
  assert of_b[:2].all()


def adapter(tmp_path, change=lambda tensors: tensors, **keys) -> str:
  """The plain golden adapter with other tensors or other keys."""
  folder = tmp_path / "adapter"
  shutil.copytree(lora.ADAPTER, folder)
  save_file(change(load_file(folder / FILES[1])), folder / FILES[1], {"format": "pt"})
  given = json.loads((folder / FILES[0]).read_text())
  (folder / FILES[0]).write_text(json.dumps(given | keys))
  return str(folder)


BASE = {"peft_type": "LORA", "r": 4, "lora_alpha": 2, "target_modules": ["q_proj"]}
REFUSED = {
  **{
    f"init {kind}": ({"init_lora_weights": kind}, f"init_lora_weights.*: got '{kind}'")
    for kind in ("pissa", "pissa_niter_4", "olora", "corda", "loftq", "lora_ga", "mica")
  },
  "loftq": ({"loftq_config": {"loftq_bits": 4}}, "loftq_config: got"),
  "dora": ({"use_dora": True}, "use_dora: got True, expected False"),
  "qalora": ({"use_qalora": True}, "use_qalora: got True"),
  "bdlora": ({"use_bdlora": {"nblocks": 2}}, "use_bdlora: got .* not known to be harmless"),
  "corda": ({"corda_config": {}}, "corda_config: got {}"),
  "kasa": ({"kasa_config": {"beta": 1}}, "kasa_config"),
  "arrow": ({"arrow_config": {"top_k": 1}}, "arrow_config"),
  "megatron": ({"megatron_config": {"a": 1}}, "megatron_config"),
  "biases": ({"bias": "lora_only"}, "bias: got 'lora_only', expected 'none'"),
  "bias of B": ({"lora_bias": True}, "lora_bias: got True"),
  "transposed": ({"fan_in_fan_out": True}, "fan_in_fan_out: got True"),
  "whole modules": ({"modules_to_save": ["lm_head"]}, "modules_to_save: got"),
  "more layers": ({"layer_replication": [[0, 1]]}, "layer_replication: got"),
  "tokens": ({"trainable_token_indices": [1]}, "trainable_token_indices"),
  "tokens by layer": ({"trainable_token_indices": {"embed": [1]}}, "trainable_token_indices"),
  "parameters": ({"target_parameters": ["experts.gate_up_proj"]}, "target_parameters"),
  "activated": ({"alora_invocation_tokens": [1]}, "alora_invocation_tokens"),
  "tied": ({"ensure_weight_tying": True}, "ensure_weight_tying"),
  "another method": ({"peft_type": "LOHA"}, "peft_type: got 'LOHA', expected 'LORA'"),
  "a key of the future": ({"use_foo": True}, "use_foo: got True, and this key is not known"),
  "no rank": ({"r": None}, "r: missing"),
  "rank 0": ({"r": 0}, "r: got 0"),
  "rank of text": ({"r": "4"}, "r: got '4'"),
  "a huge rank": ({"r": 10**9}, "r: got 1000000000"),
  "alpha 0": ({"lora_alpha": 0}, "lora_alpha: got 0"),
  "no alpha": ({"lora_alpha": None}, "lora_alpha: missing"),
  "no modules": ({"target_modules": None}, "target_modules: missing"),
  "a pattern of no rank": ({"rank_pattern": {"q_proj": 0}}, "rank_pattern.q_proj: got 0"),
  "a pattern of text": ({"alpha_pattern": {"q_proj": "8"}}, "alpha_pattern.q_proj: got '8'"),
  "no expression": ({"rank_pattern": {"(": 4}}, r"rank_pattern: .*'\(' is none"),
  "no expression for modules": ({"target_modules": "("}, "target_modules: got '\\('"),
  "layers of an expression": (
    {"target_modules": ".*q_proj", "layers_to_transform": [0]},
    "no layers_to_transform beside target_modules that are one regular expression",
  ),
  "lists of no layers": ({"layers_pattern": "layers"}, "layers_to_transform beside layers_pattern"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_setting_that_is_not_honoured_is_refused_by_name(case):
  change, message = REFUSED[case]
  with pytest.raises(ValueError, match=message) as caught:
    peft_config.read(json.dumps(BASE | change).encode(), "dir/adapter_config.json")
  assert str(caught.value).startswith("dir/adapter_config.json: ")
  assert str(caught.value).isprintable()


@pytest.mark.parametrize(
  "change",
  [
    {"init_lora_weights": False},
    {"init_lora_weights": "gaussian", "lora_dropout": 0.1, "task_type": "CAUSAL_LM"},
    {"init_lora_weights": "eva", "eva_config": {"rho": 2.0}, "rank_pattern": {"q_proj": 3}},
    {"loftq_config": {}, "modules_to_save": [], "megatron_core": "megatron.core"},
    {"a_key_of_the_future": None},
  ],
)
def test_harmless_settings_are_read(change):
  peft_config.read(json.dumps(BASE | change).encode(), "x")


def test_damaged_folders_are_refused_in_one_line(tmp_path, config):
  folder = adapter(tmp_path)
  whole = {name: (tmp_path / "adapter" / name).read_bytes() for name in FILES}
  for name, data in whole.items():
    for damaged in (b"", data[: len(data) // 2], b"[]", b"[" * 100_000, b"null", b"\xff" * 40):
      (tmp_path / "adapter" / name).write_bytes(damaged)
      with pytest.raises(ValueError, match=name) as caught:
        read_peft(folder, config)
      assert str(caught.value).isprintable()
    (tmp_path / "adapter" / name).write_bytes(data)
  (tmp_path / "adapter" / FILES[1]).unlink()
  with pytest.raises(ValueError, match=r"adapter_model\.safetensors is not there"):
    read_peft(folder, config)


def test_values_that_are_no_numbers_are_refused_unless_asked_for(tmp_path, config):
  def spoil(tensors):
    name = min(tensors)
    tensors[name] = np.full_like(tensors[name], np.nan)
    return tensors

  folder = adapter(tmp_path, spoil)
  with pytest.raises(NonfiniteError, match=r"weights are NaN or infinite \(\d+ in 'base_model"):
    read_peft(folder, config)
  arrays = read_peft(folder, config, allow_nonfinite=True).arrays
  assert any(np.isnan(value).any() for value in arrays.values())
