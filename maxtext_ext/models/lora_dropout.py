"""Dropout of the input of adapters, as PEFT's `lora_dropout`; frozen kernels see all of it.

Masks follow from a key that a model is given for one pass and loses after it, so nothing of them
is saved, and a model without keys computes what it would without dropout.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

# The logical name of the axis that counts scanned layers.
STACK_AXIS = "layers"
_KEY = "lora_dropout_key"


class DropoutKey(nnx.Variable):
  """The random key of a layer for one pass; its metadata `rate` is the share that is dropped."""


def give_keys(model: nnx.Module, rate: float, key: jax.Array) -> None:
  """Turns on dropout in every adapted layer of a model, each with its own key."""
  layers = [(str(path), m) for path, m in nnx.iter_graph(model) if hasattr(m, "kernel_lora_a")]
  for number, (_, layer) in enumerate(sorted(layers, key=lambda item: item[0])):
    own = jax.random.fold_in(key, number)
    names = layer.kernel_lora_a.get_metadata().get("out_sharding") or ()
    if STACK_AXIS in names:
      own = jax.random.split(own, layer.kernel_lora_a.get_value().shape[names.index(STACK_AXIS)])
    setattr(layer, _KEY, DropoutKey(own, rate=rate))


def dropped(layer: Any, x: Float[Array, "..."]) -> Float[Array, "..."]:
  """Drops a share of the input of a layer's adapter, when the layer has a key."""
  if (key := getattr(layer, _KEY, None)) is None:
    return x
  kept = jax.random.bernoulli(key[...], 1 - key.rate, x.shape)
  return jnp.where(kept, x / (1 - key.rate), 0).astype(x.dtype)
