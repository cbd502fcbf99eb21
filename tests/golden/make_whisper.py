"""Writes whisper.npz: what Whisper encoders of transformers, with random weights, make of clips.

In an environment of Python 3.11 (torch has no small CPU build for 3.12), from the repository root:

  pip install torch==2.13.0 transformers==5.24.*
  python -m tests.golden.make_whisper

With `--full DIR` it writes an npz with all layers of every published size to a folder instead.
"""

import sys

import numpy as np
import torch
from transformers import WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from benchmarks.parity.references import whisper
from benchmarks.parity.references.whisper import PREFIX, WhisperReference

Outputs = dict[str, np.ndarray]


def build_encoder(ref: WhisperReference) -> WhisperEncoder:
  """The reference with the seeded weights; its names and shapes must be those that tests draw."""
  encoder = WhisperEncoder(WhisperConfig(**ref.config())).eval()
  weights = {k.removeprefix(f"{PREFIX}."): torch.from_numpy(v) for k, v in ref.weights().items()}
  encoder.load_state_dict(weights, strict=True)
  return encoder


@torch.no_grad()
def run(ref: WhisperReference) -> Outputs:
  """Runs every part of 30 s alone, padded as Whisper pads it."""
  encoder = build_encoder(ref)
  extractor = WhisperFeatureExtractor(feature_size=ref.mels)
  out = {}
  for i, clip in enumerate(ref.clips()):
    for window, part in enumerate(whisper.windows(clip)):
      mel = extractor(part, sampling_rate=16_000, return_tensors="pt")["input_features"]
      states = encoder(mel).last_hidden_state[0].numpy()
      stored = whisper.stored_positions(i, len(part))
      out[f"{ref.name}_{i}_{window}"] = states[stored]
      print(f"{ref.name}: {len(part) / 16_000:6.3f} s, |states| {np.abs(states).max():5.1f}")
  return out


if __name__ == "__main__":
  if sys.argv[1:2] == ["--full"]:
    for each in whisper.REFERENCES.values():
      np.savez(f"{sys.argv[2]}/{each.name}.npz", **run(each.full()))
  else:
    found: Outputs = {}
    for each in whisper.REFERENCES.values():
      found |= run(each)
    np.savez_compressed(whisper.PATH, **found)
