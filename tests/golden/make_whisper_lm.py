"""Writes whisper_lm.npz and whisper_lm_adapter/: logits of Whisper's encoder and language models.

In the environment of `make_whisper`, with `pip install peft==0.21.*`, from the repository root:

  python -m tests.golden.make_whisper_lm
"""

import numpy as np
import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from torch import nn
from transformers import WhisperFeatureExtractor
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from benchmarks.parity.references import whisper_lm
from benchmarks.parity.references.weights import draw
from benchmarks.parity.references.whisper import HOP
from benchmarks.parity.references.whisper_lm import WhisperLM
from tests.golden.make_dense_lm import build_model
from tests.golden.make_whisper import build_encoder


def build_projector(ref: WhisperLM) -> nn.Module:
  """The projector of SLAM-LLM or of tiny-audio, without the stacking of frames."""
  weights = {name: torch.from_numpy(value) for name, value in ref.projector_weights().items()}
  outputs, inputs = weights["linear_1.weight"].shape
  last = len(weights["linear_2.weight"])
  if ref.projector == "slam":
    layers = {
      "linear_1": nn.Linear(inputs, outputs),
      "relu": nn.ReLU(),
      "linear_2": nn.Linear(outputs, last),
    }
  else:
    layers = {
      "linear_1": nn.Linear(inputs, outputs, bias=False),
      "norm_1": LlamaRMSNorm(outputs, eps=1e-6),
      "gelu": nn.GELU(),
      "linear_2": nn.Linear(outputs, last, bias=False),
      "norm_2": LlamaRMSNorm(last, eps=1e-6),
    }
  projector = nn.Sequential()
  for name, layer in layers.items():
    projector.add_module(name, layer)
  projector.load_state_dict(weights, strict=True)
  return projector


def run(ref: WhisperLM, lm: nn.Module, clip: np.ndarray) -> np.ndarray:
  """Logits of instruction and answer behind the audio of a clip."""
  encoder = build_encoder(ref.encoder)
  extractor = WhisperFeatureExtractor(feature_size=ref.encoder.mels)
  extractor.n_samples = 2 * ref.encoder.positions * HOP  # takes whole seconds alone
  mel = extractor(clip, sampling_rate=16_000, return_tensors="pt")["input_features"]
  frames = encoder(mel).last_hidden_state[0]
  tokens = whisper_lm.audio_tokens(ref, len(clip))
  stacked = frames[: tokens * ref.stack].reshape(tokens, -1)
  text = torch.tensor(whisper_lm.INSTRUCTION + whisper_lm.ANSWER)
  parts = [build_projector(ref)(stacked), lm.get_input_embeddings()(text)]
  return lm(inputs_embeds=torch.cat(parts)[None]).logits[0, tokens:].numpy()


@torch.no_grad()
def main() -> None:
  """Runs every model, and the first again with an adapter of its language model."""
  out = {}
  for ref in whisper_lm.REFERENCES:
    lm = build_model(ref.lm)
    for i, clip in enumerate(whisper_lm.clips()):
      out[f"{ref.name}_{i}"] = run(ref, lm, clip)
  ref = whisper_lm.REFERENCES[0]
  targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
  config = LoraConfig(r=2, lora_alpha=3, target_modules=targets)
  lm = get_peft_model(build_model(ref.lm), config).eval()
  shapes = {name: tuple(x.shape) for name, x in get_peft_model_state_dict(lm).items()}
  drawn = {name: torch.from_numpy(x) for name, x in draw(shapes, seed=5).items()}
  set_peft_model_state_dict(lm, drawn)
  lm.save_pretrained(whisper_lm.ADAPTER)
  (whisper_lm.ADAPTER / "README.md").unlink(missing_ok=True)
  for i, clip in enumerate(whisper_lm.clips()):
    out[f"adapted_{i}"] = run(ref, lm, clip)
    change = np.abs(out[f"adapted_{i}"] - out[f"{ref.name}_{i}"]).max()
    print(f"clip {i}: |logits| {np.abs(out[f'adapted_{i}']).max():5.1f}, |change| {change:5.1f}")
  np.savez_compressed(whisper_lm.PATH, **out)


if __name__ == "__main__":
  main()
