"""Writes qwen3_asr.npz and qwen3_asr_odd.npz: what tiny Qwen3-ASRs of transformers make of clips.

In an environment of Python 3.11 (torch has no small CPU build for 3.12), from the repository root:

  pip install torch==2.13.0 transformers==5.23.* safetensors
  python -m tests.golden.make_qwen3_asr
"""

import numpy as np
import torch
from transformers import Qwen3ASRConfig, Qwen3ASRForConditionalGeneration
from transformers.models.qwen3_asr import Qwen3ASRFeatureExtractor, Qwen3ASRProcessor

from benchmarks.parity.references import qwen3_asr, qwen3_asr_odd, reference
from benchmarks.parity.references.reference import Reference


def build_model(ref: Reference) -> Qwen3ASRForConditionalGeneration:
  """The reference with the seeded weights; its names and shapes must be those that tests draw."""
  config = Qwen3ASRConfig(
    audio_config={"model_type": "qwen3_asr_encoder", **ref.audio},
    text_config={
      "model_type": "qwen3",
      "vocab_size": reference.VOCABULARY,
      **ref.text,
      "rms_norm_eps": reference.RMS_NORM_EPS,
      "rope_parameters": {"rope_type": "default", "rope_theta": reference.ROPE_THETA},
      "tie_word_embeddings": ref.head is None,
      "max_position_embeddings": 65_536,
    },
    audio_token_id=reference.AUDIO_PAD,
    pad_token_id=reference.PAD,
    eos_token_id=[reference.PAD, reference.IM_END],
    tie_word_embeddings=ref.head is None,
  )
  config._attn_implementation = "eager"  # respects the attention windows
  model = Qwen3ASRForConditionalGeneration(config).eval()
  state = model.state_dict()
  if ref.head is None:
    state.pop("lm_head.weight")
  if {k: tuple(v.shape) for k, v in state.items()} != ref.shapes():
    raise ValueError(f"the model's names or shapes differ from those of {ref.name}")
  weights = {k: torch.from_numpy(v) for k, v in ref.weights().items()}
  model.load_state_dict(weights, strict=False)
  model.tie_weights()
  return model


@torch.no_grad()
def run(ref: Reference) -> None:
  """Runs every clip alone, so that no padding to a batch can change it."""
  model = build_model(ref)
  extractor = Qwen3ASRFeatureExtractor()
  out, counts = {}, []
  for i, clip in enumerate(ref.clips()):
    features = extractor(clip, return_tensors="pt", **Qwen3ASRProcessor.audio_kwargs)
    mel, mask = features["input_features"], features["attention_mask"]
    tokens = model.get_audio_features(mel, mask).pooler_output.numpy()
    counts.append(len(tokens))
    prompt, target = reference.prompt_ids(i, len(tokens))
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
    out[f"tokens_{i}"] = tokens[reference.stored_tokens(i, len(tokens))]
    out[f"logits_{i}"] = logits[reference.stored_positions(i, len(tokens))]
    print(
      f"{len(clip) / 16_000:6.2f} s {int(mask.sum()):5d} frames {len(tokens):4d} tokens, "
      f"|tokens| {np.abs(tokens).max():5.1f}, |logits| {np.abs(logits).max():5.1f}"
    )
  ref.save({"token_counts": np.array(counts), **out})


if __name__ == "__main__":
  for module in (qwen3_asr, qwen3_asr_odd):
    run(module.REFERENCE)
