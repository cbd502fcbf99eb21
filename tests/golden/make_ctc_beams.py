"""Writes ctc_beams.json: the best texts of flashlight-text's beam search over made-up emissions.

In an environment with numpy and flashlight-text 0.0.7, from the repository root:

  python -m tests.golden.make_ctc_beams

Letters only, without a space: flashlight tells texts apart by their spaces, of which ours has one
between words.
"""

import json
import pathlib
import string

import numpy as np
from flashlight.lib.text.decoder import (
  CriterionType,
  LexiconFreeDecoder,
  LexiconFreeDecoderOptions,
  ZeroLM,
)

LETTERS = string.ascii_lowercase
CASES = ((1, 60, 3.0), (2, 200, 4.0), (3, 400, 5.0), (4, 400, 7.0))  # seed, frames, peak
BEAMS = 100


def emissions(seed: int, frames: int, peak: float) -> np.ndarray:
  """Log-probabilities [F, 27] of frames that mostly say the blank or some letter clearly."""
  rng = np.random.default_rng(seed)
  logits = rng.normal(size=(frames, len(LETTERS) + 1))
  said = np.where(rng.random(frames) < 0.5, 0, rng.integers(1, len(LETTERS) + 1, frames))
  logits[np.arange(frames), said] += peak
  return (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32)


def main() -> None:
  """Decodes every case."""
  options = LexiconFreeDecoderOptions(
    beam_size=BEAMS,
    beam_size_token=len(LETTERS) + 1,
    beam_threshold=1e6,
    lm_weight=0.0,
    sil_score=0.0,
    log_add=True,
    criterion_type=CriterionType.CTC,
  )
  found = []
  for seed, frames, peak in CASES:
    x = emissions(seed, frames, peak)
    decoder = LexiconFreeDecoder(options, ZeroLM(), -1, 0, [])
    best = decoder.decode(x.ctypes.data, *x.shape)[0]
    labels = [t for t, before in zip(best.tokens, [0, *best.tokens], strict=False) if t != before]
    text = "".join(LETTERS[label - 1] for label in labels if label > 0)
    found.append({"case": [seed, frames, peak], "text": text, "score": float(best.score)})
    print(found[-1])
  path = pathlib.Path(__file__).with_name("ctc_beams.json")
  path.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
  main()
