"""A PEFT adapter of the tiny Qwen3-ASR, as PEFT saved it, and the reference's logits with it."""

import numpy as np

from benchmarks.parity.references.reference import GOLDEN

ADAPTER = GOLDEN / "lora"
OUTPUTS = GOLDEN / "lora.npz"
CLIPS = 5  # the first of the reference's


def outputs() -> dict[str, np.ndarray]:
  """`logits_{i}` [stored positions, vocabulary] of clip i."""
  with np.load(OUTPUTS) as file:
    return dict(file)
