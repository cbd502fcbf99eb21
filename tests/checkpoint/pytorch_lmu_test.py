"""Layers loaded from state dicts of pytorch-lmu give its outputs and gradients."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from maxtext_ext.checkpoint.pytorch_lmu import PARALLEL, RECURRENT, from_pytorch_lmu

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "lmu_torch.npz"
THETA = 40  # of golden/make_lmu_torch.py
LENGTHS = (1, 2, 37, 400)
NAMES = {"lmu": RECURRENT, "lmufft": PARALLEL}


@functools.cache
def golden() -> dict[str, np.ndarray]:
  with np.load(GOLDEN) as arrays:
    return dict(arrays)


def state_dict(layer: str) -> dict[str, np.ndarray]:
  prefix = f"{layer}/state/"
  return {key[len(prefix) :]: x for key, x in golden().items() if key.startswith(prefix)}


def assert_close(got: jax.Array, want: np.ndarray) -> None:
  np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * max(np.abs(want).max(), 1))


@pytest.mark.parametrize("steps", LENGTHS)
@pytest.mark.parametrize("name", ["lmu", "lmufft"])
def test_outputs_and_gradients_are_theirs(name: str, steps: int):
  layer = from_pytorch_lmu(state_dict(name), THETA)
  graph, params = nnx.split(layer)
  x = jnp.asarray(golden()["x"][:, :steps])

  def loss(params: nnx.State) -> tuple[jax.Array, jax.Array]:
    out = nnx.merge(graph, params)(x)[0]
    return jnp.sum(jnp.sin(out)), out

  gradients, out = jax.jit(jax.grad(loss, has_aux=True))(params)
  assert_close(out, golden()[f"{name}/out/{steps}"])
  ours = {key: x.get_value() for key, x in gradients.items()}
  if name == "lmufft":
    ours["w_h"] = jnp.concatenate([ours["w_m"], ours["w_x"]])
  for theirs, key in NAMES[name].items():
    assert_close(ours[key].T, golden()[f"{name}/gradient/{steps}/{theirs}"])


def test_another_theta_is_refused():
  with pytest.raises(ValueError, match=r"^cell.A is not that of theta=50 and 32 coefficients$"):
    from_pytorch_lmu(state_dict("lmu"), 50)


def test_a_missing_parameter_is_named():
  state = state_dict("lmufft")
  del state["W_u.bias"]
  with pytest.raises(ValueError, match=r"^W_u.bias missing: expected a state dict of LMU or"):
    from_pytorch_lmu(state, THETA)
