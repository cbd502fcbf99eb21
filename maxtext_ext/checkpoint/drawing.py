"""Initialisation of weights that no checkpoint has, as in a new model."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx

from maxtext_ext import bridge
from maxtext_ext.checkpoint.model_file import BASE
from maxtext_ext.config import load
from maxtext_ext.models.make import make_model


def draw_weights(
  model: Mapping[str, Any], roots: tuple[str, ...], converted: Mapping[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
  """Draws the parameters under some roots with the seed `init_weights_seed`.

  Args:
    model: keys of model.yml.
    roots: first parts of the paths to draw.
    converted: shapes of the parameters that the checkpoints have; all others must be under `roots`.

  Returns:
    float32 arrays by path.
  """
  config = load(BASE, {**model, "weight_dtype": "float32"})
  mesh = bridge.make_mesh(config, jax.devices()[:1])

  def make() -> dict[str, jax.Array]:
    state = nnx.state(make_model(config, mesh), nnx.Param).to_pure_dict()
    return {"/".join(map(str, k)): v for k, v in nnx.traversals.flatten_mapping(state).items()}

  with bridge.mesh_scope(config, mesh):
    shapes = {path: value.shape for path, value in jax.eval_shape(make).items()}
    drawn = [path for path in shapes if path.split("/")[0] in roots]
    expected = {path: shape for path, shape in shapes.items() if path not in drawn}
    assert expected == dict(converted), f"key table: {expected.items() ^ converted.items()}"
    # Only these are computed: what jit does not return is never run.
    values = jax.jit(lambda: {path: make()[path] for path in drawn})()
  return {path: np.asarray(value) for path, value in values.items()}


def seed_of_drawing(model: Mapping[str, Any]) -> int:
  """The seed with which `draw_weights` draws."""
  return int(load(BASE, dict(model)).init_weights_seed)
