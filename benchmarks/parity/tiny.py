"""A model and clips small enough to compare in seconds: noise, some thousand parameters.

Not a model of speech: what is compared with it is arithmetic.
"""

from collections.abc import Sequence

import numpy as np

from maxtext_ext.records.schema import Record

DEMO = "configs/experiments/demo.yml"
WORDS = ("one", "two", "three", "four")
SHAPE = (
  "base_emb_dim=32",
  "base_mlp_dim=64",
  "head_dim=8",
  "d_model_for_audio=32",
  "encoder_ffn_dim_for_audio=48",
  "downsample_hidden_size_for_audio=4",
  "output_dim_for_audio=32",
  "num_mel_bins_for_audio=80",
)


def records(
  count: int,
  *,
  seed: int = 0,
  seconds: tuple[float, float] = (0.3, 3.0),
  words: Sequence[str] = WORDS,
) -> list[Record]:
  """Clips of noise with words that have nothing to do with it."""
  rng = np.random.default_rng(seed)
  made = []
  for i in range(count):
    samples = rng.normal(size=int(rng.uniform(*seconds) * 16_000)) * rng.uniform(0.01, 0.2)
    text = " ".join(rng.choice(words, size=rng.integers(1, 5)))
    made.append(
      Record(
        sample_id=f"clip{seed}-{i:04d}",
        audio=np.clip(samples, -1, 1).astype(np.float32),
        text=text,
        dataset_name="noise",
        language=("English", "Hebrew")[i % 2],
      )
    )
  return made
