"""Dense language models converted and back bit by bit; their adapters in PEFT's terms."""

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file

from benchmarks.parity.references.dense_lm import LLAMA, QWEN2, SMOLLM2
from maxtext_ext import bridge
from maxtext_ext.checkpoint import families
from maxtext_ext.checkpoint.convert import to_maxtext
from maxtext_ext.checkpoint.export import to_hf
from maxtext_ext.checkpoint.orbax_io import ParamsReader
from maxtext_ext.checkpoint.peft import Adapters, read_peft, write_peft
from maxtext_ext.checkpoint.peft_rules import adapter_rules, sizes_of
from maxtext_ext.config import load
from maxtext_ext.models.lora import KernelAxes, LoraConfig, kernel_update
from tests.checkpoint import tower_lm

QUERY = "decoder/layers/self_attention/query/kernel"


@pytest.fixture(autouse=True)
def family(monkeypatch: pytest.MonkeyPatch) -> None:
  monkeypatch.setitem(families.FAMILIES, tower_lm.NAME, tower_lm.FAMILY)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16], ids=["float16", "bfloat16"])
@pytest.mark.parametrize("ref", [SMOLLM2, QWEN2], ids=lambda ref: ref.name)
def test_there_and_back_is_bit_equal(tmp_path, ref, dtype):
  weights = tower_lm.write(tmp_path / "hf", ref, dtype)
  to_maxtext(str(tmp_path / "hf"), str(tmp_path / "out"), scanned=dtype is np.float16)
  to_hf(str(tmp_path / "out"), str(tmp_path / "back"))
  back = load_file(tmp_path / "back" / "model.safetensors")
  assert back.keys() == weights.keys()
  for name, value in weights.items():
    assert back[name].dtype == value.dtype
    assert back[name].tobytes() == value.tobytes(), name
  if ref is SMOLLM2 and dtype is np.float16:
    reader = ParamsReader(f"{tmp_path / 'out'}/0/items")
    stored = reader.open(QUERY).read((slice(None), 1, slice(None), slice(None)))
    query = weights["model.layers.1.self_attn.q_proj.weight"].astype(np.float32)
    np.testing.assert_array_equal(stored.reshape(72, -1), query.T / 8)


def config_of(ref) -> bridge.Config:
  keys = {
    **tower_lm.audio_keys(ref),
    **tower_lm.dense_lm.lm_keys(tower_lm.references.hf_config(ref)),
  }
  keys |= {"model_name": "qwen3-asr-tiny", "checkpoint_family": tower_lm.NAME}
  return load("configs/speech.yml", [f"{key}={value}" for key, value in keys.items()])


@pytest.mark.parametrize("ref", [SMOLLM2, LLAMA, QWEN2], ids=lambda ref: ref.name)
def test_adapters_in_peft_change_the_published_weights_as_ours_change_ours(tmp_path, ref):
  config, rng = config_of(ref), np.random.default_rng(0)
  lora = LoraConfig(rank=3, alpha=6.0, targets=("attention", "ffn"))
  rules = {
    path: pair for path, pair in adapter_rules(config, "modules").items() if "decoder" in path
  }
  sizes = sizes_of(config, lora.rank)
  arrays = {
    rule.ours: rng.normal(size=rule.our_shape(sizes)).astype(np.float32)
    for pair in rules.values()
    for rule in pair
  }
  adapters = Adapters(lora=lora, arrays=arrays)
  write_peft(str(tmp_path), adapters, config)
  written = load_file(tmp_path / "adapter_model.safetensors")
  ours = kernel_update(
    arrays[f"{QUERY}_lora_a"],
    arrays[f"{QUERY}_lora_b"],
    KernelAxes(batch=0, inputs=1, stack=1),
    lora.scale,
  )
  factor = 8 if ref is SMOLLM2 else 1  # the published query kernel is so many times ours
  for layer in range(2):
    module = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
    a, b = (written[f"{module}.lora_{letter}.weight"] for letter in "AB")
    expected = factor * ours[:, layer].reshape(len(ours), -1).T
    np.testing.assert_allclose(lora.scale * b @ a, expected, rtol=1e-4, atol=1e-4)
  again = read_peft(str(tmp_path), config)
  assert again.lora.targets == lora.targets
  assert again.arrays.keys() == arrays.keys()
  for path, value in arrays.items():
    np.testing.assert_array_equal(again.arrays[path], value, err_msg=path)
