"""Random weights that a reference and a test draw alike, so that files need to hold outputs only.

Numpy only: the references run in an environment of their own.
"""

import math

import numpy as np

SCALE = 0.3  # of a matrix entry; at a model's usual 0.02 an error in it would hardly show
LARGEST_GAIN = 2.4  # of a matrix product: larger fan-ins get smaller entries, so nothing saturates


def draw(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, np.ndarray]:
  """float32 weights by name: matrices and convolutions [out, in, ...], biases, norm weights.

  Drawn name by name in sorted order from one generator. Names ending in "norm.weight" or
  "ln_post.weight" lie around 1.
  """
  rng = np.random.default_rng(seed)
  weights = {}
  for name in sorted(shapes):
    shape = shapes[name]
    values = rng.standard_normal(shape)
    if len(shape) > 1:
      values *= min(SCALE, LARGEST_GAIN / math.sqrt(math.prod(shape[1:])))
    else:
      values *= 0.1
      if name.endswith(("norm.weight", "ln_post.weight")):
        values += 1.0
    weights[name] = values.astype(np.float32)
  return weights
