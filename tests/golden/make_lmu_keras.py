"""Writes lmu_keras.npz: weights and outputs of keras-lmu's layers with several memory channels.

In an environment of Python 3.11, from the repository root:

  pip install "tensorflow-cpu==2.15.*" keras-lmu==0.8.0
  python -m tests.golden.make_lmu_keras
"""

import pathlib

import keras_lmu
import numpy as np
import tensorflow as tf

INPUTS, HIDDEN, CHANNELS, ORDER, THETA = 4, 6, 3, 16, 25.0
LENGTHS = (1, 37, 200)
FILE = pathlib.Path(__file__).with_name("lmu_keras.npz")


def main() -> None:
  """Runs the recurrent layer and the parallel memory on the first steps of the same input."""
  tf.keras.utils.set_random_seed(0)
  # It discretises in the precision of the layer: float32 is 1e-5 off after 100 steps.
  tf.keras.backend.set_floatx("float64")
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, max(LENGTHS), INPUTS))
  saved = {"x": x, "theta": THETA}
  recurrent = keras_lmu.LMU(
    CHANNELS,
    ORDER,
    THETA,
    tf.keras.layers.SimpleRNNCell(HIDDEN, use_bias=False),
    hidden_to_memory=True,
    memory_to_memory=True,
    input_to_hidden=True,
    # The default is chaotic: float32 and float64 differ by 4e-4 after 200 steps.
    recurrent_initializer=tf.keras.initializers.RandomNormal(stddev=0.02, seed=0),
    return_sequences=True,
  )
  kernel = rng.normal(size=(INPUTS, CHANNELS))
  saved["memory/kernel"] = kernel
  for steps in LENGTHS:
    saved[f"lmu/out/{steps}"] = recurrent(x[:, :steps]).numpy()
    # It runs on the length that it was built for.
    memory = keras_lmu.LMUFeedforward(CHANNELS, ORDER, THETA, None, return_sequences=True)
    memory.build((2, steps, INPUTS))
    memory.set_weights([kernel])
    saved[f"memory/out/{steps}"] = memory(x[:, :steps]).numpy()
  saved |= {f"lmu/{w.name.split(':')[0]}": w.numpy() for w in recurrent.weights}
  np.savez_compressed(FILE, **{name: np.float32(array) for name, array in saved.items()})
  print(f"{FILE.name}: {sorted(saved)}, {FILE.stat().st_size} bytes")


if __name__ == "__main__":
  main()
