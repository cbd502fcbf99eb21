"""Permuted sequential MNIST: digits read pixel by pixel in a fixed random order, by one LMU layer.

    python -m benchmarks.psmnist [mnist.npz]

mnist.npz is Keras' file (x_train, y_train, x_test, y_test; 28x28 bytes). Without it the 8x8 digits
of scikit-learn are read, whose 1,797 images take seconds. The layer is LMUFFT with a linear layer
behind its last state, so the memory of a whole image is one matrix product. Published with 165k
parameters: 98.49% (Chilkuri and Eliasmith 2021).

The last line is JSON: the accuracy on the test images after the last epoch.
"""

import argparse
import json
import time
from dataclasses import dataclass
from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits

from maxtext_ext.models.lmu import LMUFFT, LMUConfig

CLASSES = 10


class Digits(NamedTuple):
  """Images as sequences [N, T, 1] in 0..1, and labels [N], of training and test."""

  x_train: np.ndarray
  y_train: np.ndarray
  x_test: np.ndarray
  y_test: np.ndarray

  @classmethod
  def permuted(cls, images: tuple[np.ndarray, ...], largest: float, seed: int = 0) -> Self:
    """Reads the pixels of all images in one random order."""
    x_train, y_train, x_test, y_test = images
    order = np.random.default_rng(seed).permutation(x_train[0].size)
    x_train, x_test = (
      (x.reshape(len(x), -1, 1)[:, order] / largest).astype(np.float32) for x in (x_train, x_test)
    )
    return cls(x_train, y_train.astype(np.int32), x_test, y_test.astype(np.int32))


@dataclass(frozen=True, kw_only=True)
class Setting:
  """Shape and training of the classifier; the rate falls to 0 along a cosine."""

  memory: int
  hidden: int
  epochs: int
  batch: int
  learning_rate: float
  seed: int = 0


SMALL = Setting(memory=64, hidden=128, epochs=60, batch=50, learning_rate=3e-3)
MNIST = Setting(memory=468, hidden=346, epochs=15, batch=100, learning_rate=1e-3)


class Classifier(nnx.Module):
  """An LMU layer whose theta is the length, and a linear layer behind its last state."""

  def __init__(self, setting: Setting, steps: int) -> None:
    rngs = nnx.Rngs(params=setting.seed)
    layer = LMUConfig(inputs=1, hidden=setting.hidden, memory=setting.memory, theta=steps)
    self.lmu = LMUFFT(layer, rngs=rngs)
    self.head = nnx.Linear(setting.hidden, CLASSES, rngs=rngs)

  def __call__(self, x_BT1: jax.Array) -> jax.Array:
    """Computes the logits [B, 10] of sequences [B, T, 1]."""
    return self.head(self.lmu.last(x_BT1))


def small_digits(seed: int = 0) -> Digits:
  """Reads scikit-learn's 8x8 digits; a fifth of them are the test."""
  images, labels = load_digits(return_X_y=True)
  order = np.random.default_rng(seed).permutation(len(images))
  test, train = np.split(order, [len(images) // 5])
  parts = images[train], labels[train], images[test], labels[test]
  return Digits.permuted(parts, largest=16, seed=seed)


def train(digits: Digits, setting: Setting) -> float:
  """Trains a classifier; prints its test accuracy ten times, and returns the last."""
  graph, params = nnx.split(Classifier(setting, digits.x_train.shape[1]))
  batches = len(digits.x_train) // setting.batch
  schedule = optax.cosine_decay_schedule(setting.learning_rate, setting.epochs * batches)
  optimizer = optax.adam(schedule)

  def logits(params: nnx.State, x_BT1: jax.Array) -> jax.Array:
    return nnx.merge(graph, params)(x_BT1)

  def loss(params: nnx.State, x_BT1: jax.Array, y_B: jax.Array) -> jax.Array:
    nats_B = optax.softmax_cross_entropy_with_integer_labels(logits(params, x_BT1), y_B)
    return jnp.mean(nats_B)

  Carry = tuple[nnx.State, optax.OptState]

  @jax.jit
  def epoch(carry: Carry, key: jax.Array, x: jax.Array, y: jax.Array) -> Carry:
    def step(carry: Carry, rows: jax.Array) -> tuple[Carry, None]:
      params, state = carry
      updates, state = optimizer.update(jax.grad(loss)(params, x[rows], y[rows]), state, params)
      return (optax.apply_updates(params, updates), state), None

    order = jax.random.permutation(key, len(x))[: batches * setting.batch]
    return jax.lax.scan(step, carry, order.reshape(batches, setting.batch))[0]

  @jax.jit
  def accuracy(params: nnx.State) -> jax.Array:
    rows = jnp.arange(len(digits.x_test))
    x, y = jnp.asarray(digits.x_test), jnp.asarray(digits.y_test)
    right = jax.lax.map(lambda row: jnp.argmax(logits(params, x[row][None])) == y[row], rows)
    return jnp.mean(right)

  carry = params, optimizer.init(params)
  keys = jax.random.split(jax.random.key(setting.seed), setting.epochs)
  x, y = jnp.asarray(digits.x_train), jnp.asarray(digits.y_train)
  for number, key in enumerate(keys, start=1):
    carry = epoch(carry, key, x, y)
    if number % max(setting.epochs // 10, 1) == 0:
      print(f"epoch {number}: {accuracy(carry[0]):.2%}", flush=True)
  return float(accuracy(carry[0]))


def main() -> None:
  """Reads the digits, trains, and prints the accuracy."""
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("file", nargs="?", help="mnist.npz; without it scikit-learn's 8x8 digits")
  parser.add_argument("--seed", type=int, default=0)
  options = parser.parse_args()
  setting, digits = SMALL, None
  if options.file:
    with np.load(options.file) as arrays:
      images = tuple(arrays[name] for name in ("x_train", "y_train", "x_test", "y_test"))
    setting, digits = MNIST, Digits.permuted(images, largest=255, seed=options.seed)
  else:
    digits = small_digits(options.seed)
  setting = Setting(**{**vars(setting), "seed": options.seed})
  start = time.perf_counter()
  accuracy = train(digits, setting)
  model = Classifier(setting, digits.x_train.shape[1])
  figures = {
    "name": "psmnist",
    "images": "mnist" if options.file else "8x8 digits",
    "accuracy": round(accuracy, 4),
    "parameters": sum(x.size for x in jax.tree.leaves(nnx.state(model, nnx.Param))),
    "epochs": setting.epochs,
    "seconds": round(time.perf_counter() - start, 1),
  }
  print(json.dumps(figures))


if __name__ == "__main__":
  main()
