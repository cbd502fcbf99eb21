"""A tiny Qwen3-ASR with a head of its own, decoded by beam search in transformers.

With the head tied every token of a random model is followed by itself, and all texts are alike.
"""

import dataclasses
import json
from typing import Any

from benchmarks.parity.references import qwen3_asr, reference

REFERENCE = dataclasses.replace(
  qwen3_asr.REFERENCE, name="beams", head="lm_head", seconds=(0.5, 1.0, 2.2, 3.1, 5.3, 8.01, 0.7)
)
NEW_TOKENS = 14
# Many, so that random texts end at all lengths.
EOS_IDS = tuple(range(reference.FIRST_WORD, reference.LAST_WORD, 11))
CASES = ((4, 1.0), (3, 0.5))  # beams and length penalty
PATH = reference.GOLDEN / "beams.json"


def outputs() -> list[list[dict[str, Any]]]:
  """Stored outputs, by case and clip.

  `tokens` of the best hypothesis, with the eos that ended it; `log_probs` of each of them.
  """
  return json.loads(PATH.read_text())
