"""Writes qwen3_asr.npz: what a tiny transformers-native Qwen3-ASR makes of seeded clips.

In an environment of Python 3.11 (torch has no small CPU build for 3.12), from the repository root:

  pip install torch==2.13.0 transformers==5.23.* safetensors
  python -m tests.golden.make_qwen3_asr
"""

import numpy as np
import torch
from transformers import Qwen3ASRConfig, Qwen3ASRForConditionalGeneration
from transformers.models.qwen3_asr import Qwen3ASRFeatureExtractor, Qwen3ASRProcessor

from tests.golden import qwen3_asr


def build_model() -> Qwen3ASRForConditionalGeneration:
  """The reference with the seeded weights; its names and shapes must be those that tests draw."""
  config = Qwen3ASRConfig(
    audio_config={"model_type": "qwen3_asr_encoder", **qwen3_asr.AUDIO},
    text_config={
      "model_type": "qwen3",
      **qwen3_asr.TEXT,
      "rms_norm_eps": qwen3_asr.RMS_NORM_EPS,
      "rope_parameters": {"rope_type": "default", "rope_theta": qwen3_asr.ROPE_THETA},
      "tie_word_embeddings": True,
      "max_position_embeddings": 65_536,
    },
    audio_token_id=qwen3_asr.AUDIO_PAD,
    pad_token_id=qwen3_asr.PAD,
    eos_token_id=[qwen3_asr.PAD, qwen3_asr.IM_END],
  )
  config._attn_implementation = "eager"  # respects the attention windows
  model = Qwen3ASRForConditionalGeneration(config).eval()
  state = model.state_dict()
  state.pop("lm_head.weight")
  if {k: tuple(v.shape) for k, v in state.items()} != qwen3_asr.shapes():
    raise ValueError("the model's names or shapes differ from qwen3_asr.shapes()")
  model.load_state_dict(
    {k: torch.from_numpy(v) for k, v in qwen3_asr.weights().items()}, strict=False
  )
  model.tie_weights()
  return model


@torch.no_grad()
def main() -> None:
  """Runs every clip alone, so that no padding to a batch can change it."""
  model = build_model()
  extractor = Qwen3ASRFeatureExtractor()
  out, counts = {}, []
  for i, clip in enumerate(qwen3_asr.clips()):
    features = extractor(clip, return_tensors="pt", **Qwen3ASRProcessor.audio_kwargs)
    mel, mask = features["input_features"], features["attention_mask"]
    tokens = model.get_audio_features(mel, mask).pooler_output.numpy()
    counts.append(len(tokens))
    prompt, target = qwen3_asr.prompt_ids(i, len(tokens))
    ids = torch.tensor([prompt + target])
    logits = (
      model(
        input_ids=ids,
        input_features=mel,
        input_features_mask=mask,
        attention_mask=torch.ones_like(ids),
      )
      .logits[0]
      .numpy()
    )
    out[f"tokens_{i}"] = tokens[qwen3_asr.stored_tokens(i, len(tokens))]
    out[f"logits_{i}"] = logits[qwen3_asr.stored_positions(i, len(tokens))]
    print(
      f"{len(clip) / 16_000:6.2f} s {int(mask.sum()):5d} frames {len(tokens):4d} tokens, "
      f"|tokens| {np.abs(tokens).max():5.1f}, |logits| {np.abs(logits).max():5.1f}"
    )
  np.savez_compressed(qwen3_asr.OUTPUTS, token_counts=np.array(counts), **out)


if __name__ == "__main__":
  main()
