"""Decodes clips alone and together, in several orders; run by `optimised_test.py`.

    python -m tests.decode.in_orders TOKENIZER

The last line is JSON: for each clip its tokens, and how its log-probabilities differ at most from
those that it has alone, in bits.
"""

import json
import random
import sys

import numpy as np

from benchmarks.parity.generation import clips, engine, setup, write

# Among these are some that XLA rounded otherwise in other slots.
SECONDS = (0.2, 1.0, 3.3, 7.9, 9.5, 2.0, 5.2, 0.9, 6.1, 11.3, 13.0, 14.9, 29.4, 21.7, 16.2, 27.7)
SECONDS += (18.3,)


def bits(log_probs: tuple[float, ...]) -> np.ndarray:
  """Returns float32 numbers as integers."""
  return np.array(log_probs, np.float32).view(np.int32)


def main(directory: str) -> None:
  """Prints what differs."""
  made, weights = engine(directory, False)
  utterances = clips(setup(directory, False)[3], SECONDS)
  alone = {}
  for utterance in utterances:
    alone |= write(made, weights, [utterance])
  off = dict.fromkeys(alone, 0)
  for seed in range(5):
    order = random.Random(seed).sample(utterances, len(utterances))
    for id_, written in write(made, weights, order).items():
      assert written.tokens == alone[id_].tokens
      apart = np.abs(bits(written.log_probs) - bits(alone[id_].log_probs))
      off[id_] = max(off[id_], int(apart.max()))
  print(json.dumps({id_: (alone[id_].tokens, off[id_]) for id_ in alone}))


if __name__ == "__main__":
  main(sys.argv[1])
