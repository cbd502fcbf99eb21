"""Writes lora/ and lora.npz: a PEFT adapter of the tiny Qwen3-ASR, and the logits with it.

In the environment of `make_qwen3_asr`, with `pip install peft==0.21.*`, from the repository root:

  python -m tests.golden.make_lora
"""

import numpy as np
import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from transformers.models.qwen3_asr import Qwen3ASRFeatureExtractor, Qwen3ASRProcessor

from benchmarks.parity.references import lora, reference
from benchmarks.parity.references.qwen3_asr import REFERENCE
from benchmarks.parity.references.weights import draw
from tests.golden.make_qwen3_asr import build_model

RANK, ALPHA = 4, 2
TARGETS = [
  *("q_proj", "k_proj", "v_proj", "o_proj", "out_proj"),
  *("gate_proj", "up_proj", "down_proj", "fc1", "fc2", "conv_out", "linear_1", "linear_2"),
]


@torch.no_grad()
def main() -> None:
  """Adapts the language model, the audio tower and the projector, and runs the first clips."""
  config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=TARGETS)
  model = get_peft_model(build_model(REFERENCE), config).eval()
  shapes = {name: tuple(x.shape) for name, x in get_peft_model_state_dict(model).items()}
  drawn = {name: torch.from_numpy(x) for name, x in draw(shapes, seed=5).items()}
  set_peft_model_state_dict(model, drawn)
  model.save_pretrained(lora.ADAPTER)
  (lora.ADAPTER / "README.md").unlink(missing_ok=True)
  extractor = Qwen3ASRFeatureExtractor()
  out = {}
  for i, clip in enumerate(REFERENCE.clips()[: lora.CLIPS]):
    features = extractor(clip, return_tensors="pt", **Qwen3ASRProcessor.audio_kwargs)
    tokens = int(REFERENCE.outputs()["token_counts"][i])
    prompt, target = reference.prompt_ids(i, tokens)
    ids = torch.tensor([prompt + target])
    logits = model(
      input_ids=ids,
      input_features=features["input_features"],
      input_features_mask=features["attention_mask"],
      attention_mask=torch.ones_like(ids),
    ).logits[0]
    out[f"logits_{i}"] = logits.numpy()[reference.stored_positions(i, tokens)]
    change = np.abs(out[f"logits_{i}"] - REFERENCE.outputs()[f"logits_{i}"]).max()
    print(f"clip {i}: |logits| {logits.abs().max():5.1f}, |change| {change:5.1f}")
  np.savez_compressed(lora.OUTPUTS, **out)


if __name__ == "__main__":
  main()
