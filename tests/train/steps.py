"""Training steps on rows of noise, without files: for tests of their arithmetic."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from maxtext_ext import bridge
from maxtext_ext.config import load
from maxtext_ext.models.make import make_model
from maxtext_ext.parallel import to_device
from maxtext_ext.train.optimizer import make_optimizer
from maxtext_ext.train.step import eval_step, make_init_fn, train_step
from tests import tiny

LENGTH, AUDIO = 64, 26  # text tokens of a row; audio tokens among them, of two seconds
KEYS = (
  *tiny.SHAPE,
  "base_num_decoder_layers=1",
  "encoder_layers_for_audio=1",
  f"max_target_length={LENGTH}",
  "matmul_precision=highest",
  "warmup_steps_fraction=0.0",
  "enable_checkpointing=false",
)


def noise_rows(targets: list[int], *, real: list[int] | None = None, seed: int = 0) -> dict:
  """Rows with two seconds of noise each, so many target tokens and so many tokens that are real."""
  rng = np.random.default_rng(seed)
  rows = len(targets)
  real = real or [LENGTH] * rows
  place = np.arange(LENGTH)
  index = np.full((rows, LENGTH), -1, np.int32)
  index[:, 2 + np.arange(AUDIO)] = np.arange(AUDIO)
  frames = np.zeros((rows, 1, 8), np.int32)
  frames[:, :, :2] = 100
  real_RL = place < np.asarray(real)[:, None]
  ends = np.asarray(real)[:, None]
  counted_RL = (place < ends) & (place >= ends - np.asarray(targets)[:, None])
  return {
    "inputs": np.where(real_RL, rng.integers(10, 500, (rows, LENGTH)), 0).astype(np.int32),
    "inputs_position": np.where(real_RL, place, 0).astype(np.int32),
    "inputs_segmentation": real_RL.astype(np.int32),
    "targets": rng.integers(10, 500, (rows, LENGTH)).astype(np.int32),
    "targets_segmentation": counted_RL.astype(np.int32),
    "audio_index": index,
    "samples": rng.normal(0, 0.1, (rows, 1, 8, 16_240)).astype(np.float32),
    "chunk_frames": frames,
    "chunk_segment": (frames > 0).astype(np.int32),
  }


class Steps:
  """A model of a tiny run, its train state, and its two steps, compiled."""

  def __init__(self, *keys: str) -> None:
    self.config = load(tiny.DEMO, [*KEYS, *keys])
    self.mesh = bridge.make_mesh(self.config)
    self.schedule, tx = make_optimizer(self.config, self.mesh)
    init_fn = make_init_fn(self.config, lambda: make_model(self.config, self.mesh), tx)
    with bridge.mesh_scope(self.config, self.mesh):
      self.graphdef = nnx.graphdef(nnx.eval_shape(init_fn))
    self.state, shardings, _ = bridge.init_train_state(self.config, self.mesh, None, init_fn)
    self.train, self.evaluate = bridge.jit_steps(
      self.config, self.mesh, self.graphdef, self.state, shardings, train_step, eval_step
    )

  def saved(self) -> nnx.State:
    """A copy of the state; a step uses up the one that it is given."""
    return jax.tree.map(jnp.copy, self.state)

  def step(self, batch: dict[str, np.ndarray]) -> dict[str, float]:
    """Takes one step; returns its metrics."""
    with bridge.mesh_scope(self.config, self.mesh):
      self.state, metrics = self.train(self.state, self._placed(batch))
    return {key: float(value) for key, value in metrics.items()}

  def loss(self, batch: dict[str, np.ndarray]) -> float:
    """Loss without an update, in nats a target token."""
    with bridge.mesh_scope(self.config, self.mesh):
      metrics = self.evaluate(self.state, self._placed(batch))
    return float(metrics["total"] / metrics["target_tokens"])

  def lower(self, batch: dict[str, np.ndarray]) -> Any:
    """The train step for such a batch, lowered: `as_text`, `cost_analysis`."""
    with bridge.mesh_scope(self.config, self.mesh):
      return self.train.lower(self.state, jax.tree.map(jnp.asarray, batch))

  @property
  def params(self) -> dict[tuple, np.ndarray]:
    """The parameters now, by path."""
    return self._arrays(self.state["model"].filter(nnx.Param))

  @property
  def optimizer(self) -> dict[tuple, np.ndarray]:
    """The optimizer's state now, by path."""
    return self._arrays(self.state["optimizer"])

  def _placed(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    return to_device(batch, bridge.input_sharding(self.config, self.mesh))

  def _arrays(self, state: Any) -> dict[tuple, np.ndarray]:
    return {path: np.asarray(v.get_value()) for path, v in nnx.to_flat_state(state)}
