"""Writes lora_variants.json: PEFT adapters of the tiny Qwen3-ASR with other ranks and scales.

In the environment of `make_lora`, from the repository root:

  python -m tests.golden.make_lora_variants
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file

from benchmarks.parity.references.qwen3_asr import REFERENCE
from benchmarks.parity.references.weights import draw
from tests.golden import lora_variants
from tests.golden.make_qwen3_asr import build_model

CONFIGS = {
  "rslora": {"r": 8, "lora_alpha": 3, "use_rslora": True, "target_modules": ["q_proj", "fc1"]},
  "patterns": {
    "r": 4,
    "lora_alpha": 2,
    "target_modules": ["q_proj", "k_proj", "gate_proj", "conv_out", "linear_1"],
    "rank_pattern": {"layers.1.self_attn.q_proj": 6, "gate_proj": 2, r".*audio_tower.*k_proj": 3},
    "alpha_pattern": {"^q_proj": 9, r"language_model\.layers\.0\..*": 5, "linear_1": 7},
  },
  "some layers": {
    "r": 4,
    "lora_alpha": 6,
    "target_modules": ["v_proj", "down_proj"],
    "layers_to_transform": [1],
    "layers_pattern": ["layers"],
  },
  "one layer of any list": {
    "r": 2,
    "lora_alpha": 2,
    "target_modules": ["o_proj", "out_proj", "fc2"],
    "layers_to_transform": 0,
  },
  "everything": {
    "r": 4,
    "lora_alpha": 5,
    "use_rslora": True,
    "target_modules": "all-linear",
    "exclude_modules": ["fc2", "linear_2"],
    "rank_pattern": {"up_proj": 8, "layers.0.self_attn.v_proj": 1},
    "alpha_pattern": {"k_proj": 16},
    "init_lora_weights": "gaussian",
  },
  "a pattern of names": {
    "r": 3,
    "lora_alpha": 4,
    "target_modules": r"model\.language_model\.layers\.\d+\.mlp\.(up|down)_proj",
    "exclude_modules": r".*\.layers\.0\.mlp\.up_proj",
  },
}


@torch.no_grad()
def main() -> None:
  """Saves, loads and merges every adapter; keeps what each changes, seen along a random vector."""
  out = {}
  for name, keys in CONFIGS.items():
    model = get_peft_model(build_model(REFERENCE), LoraConfig(**keys))
    with tempfile.TemporaryDirectory() as folder:
      model.save_pretrained(folder)
      shapes = {k: tuple(x.shape) for k, x in get_peft_model_state_dict(model).items()}
      tensors = {k: torch.from_numpy(x) for k, x in draw(shapes, lora_variants.SEED).items()}
      save_file(tensors, Path(folder) / "adapter_model.safetensors", {"format": "pt"})
      config = (Path(folder) / "adapter_config.json").read_text()
      loaded = PeftModel.from_pretrained(build_model(REFERENCE), folder)
    updates = {}
    for module, layer in loaded.base_model.model.named_modules():
      if isinstance(layer, LoraLayer):
        delta = layer.get_delta_weight("default").numpy()
        vector = lora_variants.vector(delta.shape[1])
        updates[module] = [float(f"{x:.7g}") for x in delta @ vector]
    print(
      f"{name}: {len(updates)} modules, largest {max(np.abs(u).max() for u in updates.values())}"
    )
    out[name] = {"config": config, "shapes": shapes, "updates": updates}
  lora_variants.FILE.write_text(json.dumps(out, separators=(",", ":")) + "\n")


if __name__ == "__main__":
  main()
