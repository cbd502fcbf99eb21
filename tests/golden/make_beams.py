"""Writes beams.json: what a tiny Qwen3-ASR of transformers writes for clips by beam search.

In the environment of make_qwen3_asr.py, from the repository root:

  python -m tests.golden.make_beams
"""

import json
from typing import Any

import torch
from transformers.models.qwen3_asr import Qwen3ASRFeatureExtractor, Qwen3ASRProcessor

from benchmarks.parity.references import beams, reference
from tests.golden.make_qwen3_asr import build_model


@torch.no_grad()
def search(
  model: torch.nn.Module, clip: int, sound: dict[str, torch.Tensor], size: int, penalty: float
) -> dict[str, Any]:
  """Decodes a clip alone."""
  count = len(model.get_audio_features(*sound.values()).pooler_output)
  prompt, _ = reference.prompt_ids(clip, count)
  ids = torch.tensor([prompt])
  found = model.generate(
    input_ids=ids,
    attention_mask=torch.ones_like(ids),
    num_beams=size,
    length_penalty=penalty,
    early_stopping=False,
    do_sample=False,
    max_new_tokens=beams.NEW_TOKENS,
    eos_token_id=list(beams.EOS_IDS),
    pad_token_id=reference.PAD,
    return_dict_in_generate=True,
    output_scores=True,
    **sound,
  )
  scores = model.compute_transition_scores(found.sequences, found.scores, found.beam_indices)[0]
  tokens = found.sequences[0, len(prompt) :].tolist()
  total = float(scores.sum()) / len(tokens) ** penalty
  if abs(total - float(found.sequences_scores[0])) > 1e-4:
    raise ValueError(f"clip {clip}: {total} is not {found.sequences_scores[0]}")
  print(f"clip {clip}, {size} beams, penalty {penalty}: {total:7.3f} {tokens}")
  return {"tokens": tokens, "log_probs": [round(float(score), 6) for score in scores]}


def main() -> None:
  """Decodes every clip in every case."""
  model = build_model(beams.REFERENCE)
  extractor = Qwen3ASRFeatureExtractor()
  sounds = []
  for clip in beams.REFERENCE.clips():
    made = extractor(clip, return_tensors="pt", **Qwen3ASRProcessor.audio_kwargs)
    names = {"input_features": "input_features", "input_features_mask": "attention_mask"}
    sounds.append({name: made[key] for name, key in names.items()})
  found = [
    [search(model, clip, sound, *case) for clip, sound in enumerate(sounds)] for case in beams.CASES
  ]
  lines = ",\n".join(json.dumps(clips) for clips in found)
  beams.PATH.write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
  main()
