"""Writes qwen3_omni.npz: what a tiny Qwen3-Omni thinker of transformers makes of seeded clips.

In an environment of Python 3.11 (torch has no small CPU build for 3.12), from the repository root:

  pip install torch==2.13.0 transformers==5.23.* safetensors
  python -m tests.golden.make_qwen3_omni
"""

import pathlib
import tempfile

import numpy as np
import torch
from safetensors.numpy import save_file
from torch.nn.utils.rnn import pad_sequence
from transformers import Qwen3OmniMoeConfig, Qwen3OmniMoeForConditionalGeneration
from transformers.models.qwen3_asr import Qwen3ASRFeatureExtractor, Qwen3ASRProcessor
from transformers.models.qwen3_omni_moe.modeling_qwen3_omni_moe import (
  Qwen3OmniMoeThinkerForConditionalGeneration as Thinker,
)
from transformers.models.qwen3_omni_moe.modeling_qwen3_omni_moe import (
  _get_feat_extract_output_lengths,
)

from benchmarks.parity.references import qwen3_omni, reference

REF = qwen3_omni.REFERENCE
# Routers of two implementations agree where the last chosen expert leads the next by more than
# rounding; with another seed a tie may come too near.
LEAST_LEAD = 1e-4  # in logits
VISION_START = 509  # in no prompt


def build_model() -> Thinker:
  """The thinker, read by transformers from a checkpoint with the names that tests draw."""
  config = Qwen3OmniMoeConfig(
    enable_audio_output=False,
    thinker_config={
      "audio_config": {**REF.audio, "n_window": 50, "n_window_infer": 800},
      "text_config": {
        "vocab_size": reference.VOCABULARY,
        **REF.text,
        "norm_topk_prob": True,
        "rms_norm_eps": reference.RMS_NORM_EPS,
        "rope_parameters": {
          "rope_type": "default",
          "rope_theta": reference.ROPE_THETA,
          "mrope_section": [4, 2, 2],
          "interleaved": True,
        },
        "max_position_embeddings": 65_536,
      },
      "vision_config": {  # not run, and as small as it can be made
        "depth": 1,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_heads": 2,
        "out_hidden_size": REF.text["hidden_size"],
        "num_position_embeddings": 16,
        "deepstack_visual_indexes": [0],
      },
      "audio_token_id": reference.AUDIO_PAD,
      "audio_start_token_id": reference.AUDIO_START,
      "vision_start_token_id": VISION_START,
    },
  )
  with tempfile.TemporaryDirectory() as folder:
    config.save_pretrained(folder)
    save_file(REF.weights(), pathlib.Path(folder) / "model.safetensors")
    model, info = Qwen3OmniMoeForConditionalGeneration.from_pretrained(
      folder, attn_implementation="eager", output_loading_info=True
    )
  wrong = [name for name in info["missing_keys"] if ".visual." not in name]
  if wrong or info["unexpected_keys"] or info["mismatched_keys"]:
    raise ValueError(f"the checkpoint's names or shapes are not the model's: {info}")
  return model.thinker.eval()


@torch.no_grad()
def main() -> None:
  """Runs every clip in a batch with the 1 s clip.

  The encoder convolves a chunk padded to the longest of its batch, so a clip under 1 s gives
  another result alone; with a whole second beside it, it is padded to 100 frames, as Qwen3-ASR
  pads it always. The features are Qwen3-ASR's too: Whisper's, of no less than 0.5 s.
  """
  model = build_model()
  choices: list[torch.Tensor] = []
  leads = []

  def record(gate: torch.nn.Module, inputs: tuple, outputs: tuple) -> None:
    logits, _, chosen = outputs
    choices.append(chosen.sort(dim=-1).values)
    ranked = logits.sort(dim=-1, descending=True).values
    leads.append(float((ranked[:, gate.top_k - 1] - ranked[:, gate.top_k]).min()))

  for layer in model.model.language_model.layers:
    layer.mlp.gate.register_forward_hook(record)

  extractor = Qwen3ASRFeatureExtractor()
  clips = REF.clips()
  mate = REF.seconds.index(1.0)
  out, counts = {}, []
  for i, clip in enumerate(clips):
    features = [
      extractor(samples, return_tensors="pt", **Qwen3ASRProcessor.audio_kwargs)
      for samples in (clip, clips[mate])
    ]
    mel = pad_sequence([f["input_features"][0].T for f in features], batch_first=True)
    mask = pad_sequence([f["attention_mask"][0] for f in features], batch_first=True)
    lengths = [audio_tokens(int(n)) for n in mask.sum(dim=1)]
    ids = [
      torch.tensor([*prompt, *target])
      for prompt, target in map(reference.prompt_ids, (i, mate), lengths)
    ]
    choices.clear()
    sound = {"input_features": mel.mT, "feature_attention_mask": mask}
    logits = model(
      input_ids=pad_sequence(ids, batch_first=True, padding_value=reference.PAD),
      attention_mask=pad_sequence([torch.ones_like(row) for row in ids], batch_first=True),
      **sound,
    ).logits[0, : len(ids[0])]
    tokens = model.get_audio_features(**sound).pooler_output[: lengths[0]].numpy()
    counts.append(len(tokens))
    out[f"tokens_{i}"] = tokens[reference.stored_tokens(i, len(tokens))]
    out[f"logits_{i}"] = logits.numpy()[reference.stored_positions(i, len(tokens))]
    out[f"experts_{i}"] = torch.stack([rows[: len(ids[0])] for rows in choices]).numpy()
    out[f"experts_{i}"] = out[f"experts_{i}"].astype(np.uint8)
    print(
      f"{len(clip) / 16_000:6.2f} s {int(mask[0].sum()):5d} frames {len(tokens):4d} tokens,"
      f" |tokens| {np.abs(tokens).max():5.1f}, |logits| {logits.abs().max():5.1f},"
      f" least lead of a router {min(leads):.1e}"
    )
  if min(leads) < LEAST_LEAD:
    raise ValueError(f"a router is too near a tie: {min(leads):.1e}; take another seed")
  REF.save({"token_counts": np.array(counts), **out})


def audio_tokens(frames: int) -> int:
  """Audio tokens of a clip, as transformers counts them."""
  return int(_get_feat_extract_output_lengths(torch.tensor(frames)))


if __name__ == "__main__":
  main()
