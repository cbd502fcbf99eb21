"""Writes repetition_penalty.npz: what transformers' repetition penalty makes of random scores.

In an environment with torch and transformers, from the repository root:

  python -m tests.golden.make_repetition_penalty

Stored are scores [B, V] of the next token, texts [B, W] of which the first `written` [B] tokens
count, a penalty [B] for each, and the scores afterwards; the prompt before a text is left out of
account.
"""

from pathlib import Path

import numpy as np
import torch
from transformers import RepetitionPenaltyLogitsProcessor

FILE = Path(__file__).with_name("repetition_penalty.npz")
PROMPT = 7  # tokens


def main() -> None:
  rng = np.random.default_rng(0)
  scores_BV = rng.normal(scale=4, size=(6, 40)).astype(np.float32)
  history_BW = rng.integers(0, 40, (6, 12)).astype(np.int32)
  written_B = np.array([0, 1, 5, 12, 12, 9], np.int32)
  penalty_B = np.array([1.3, 1.3, 2.0, 1.0, 0.7, 1.1], np.float32)
  processed = []
  for scores_V, history_W, written, penalty in zip(
    scores_BV, history_BW, written_B, penalty_B, strict=True
  ):
    prompt = rng.integers(0, 40, PROMPT)
    tokens = torch.tensor(np.concatenate([prompt, history_W[:written]])[None])
    process = RepetitionPenaltyLogitsProcessor(float(penalty), prompt_ignore_length=PROMPT)
    processed.append(process(tokens, torch.tensor(scores_V[None]))[0].numpy())
  np.savez_compressed(
    FILE,
    scores=scores_BV,
    history=history_BW,
    written=written_B,
    penalty=penalty_B,
    processed=np.stack(processed),
  )


if __name__ == "__main__":
  main()
