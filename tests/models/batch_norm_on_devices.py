"""BatchNorm of rows that are divided over all devices, as JSON; run by batch_norm_test.py."""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from maxtext_ext.models.batch_norm import BatchNorm


def main(devices: int) -> None:
  """Prints the output, the gradient and the running averages on so many devices."""
  rng = np.random.default_rng(0)
  x_BTD = jnp.asarray(3 + 2 * rng.normal(size=(8, 5, 4)), jnp.float32)
  real_BT = jnp.arange(5) < jnp.asarray([5, 1, 0, 3, 2, 5, 4, 1])[:, None]
  mesh = jax.make_mesh((devices,), ("rows",), devices=jax.devices()[:devices])
  by_rows = NamedSharding(mesh, PartitionSpec("rows"))
  norm = BatchNorm(4, out_dtype=jnp.float32, weight_dtype=jnp.float32)
  graph, params = nnx.split(norm)

  @jax.jit
  def run(x_BTD: jax.Array, real_BT: jax.Array) -> list[jax.Array]:
    model = nnx.merge(graph, params, copy=True)
    out = model(x_BTD, real_BT, train=True)
    gradient = jax.grad(
      lambda x: jnp.sum(jnp.sin(nnx.merge(graph, params, copy=True)(x, real_BT, train=True)))
    )(x_BTD)
    return [out, gradient, model.mean[...], model.variance[...]]

  found = run(*(jax.device_put(x, by_rows) for x in (x_BTD, real_BT)))
  print(json.dumps([np.asarray(x).tolist() for x in found]))


if __name__ == "__main__":
  main(int(sys.argv[1]))
