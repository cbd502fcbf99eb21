"""Merged LoRA weights against live adapters, of dense models and mixtures of experts."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks.parity import tiny
from benchmarks.parity.compare import relative
from maxtext_ext import bridge
from maxtext_ext.config import load
from maxtext_ext.models.lora import LoraConfig, apply_lora, is_target, kernel_name, merge_kernel
from maxtext_ext.models.make import make_model

RANK, ALPHA = 3, 7.5
DENSE = ("attention", "ffn", "audio_tower", "projector")
MOE = ("attention", "experts")
MOE_SHAPE = (
  "decoder_block=qwen3_moe",
  "num_experts=4",
  "num_experts_per_tok=2",
  "base_moe_mlp_dim=24",
  "norm_topk_prob=true",
  "megablox=false",
  "sparse_matmul=false",
)


def configuration(*keys: str) -> bridge.Config:
  """The tiny model's, in full precision."""
  return load(tiny.DEMO, [*tiny.SHAPE, "matmul_precision=highest", *keys])


def batch() -> dict[str, jax.Array]:
  """One row: 26 audio tokens of two noisy seconds, and text around them."""
  rng = np.random.default_rng(0)
  length, audio = 48, np.arange(26)
  index = np.full((1, length), -1, np.int32)
  index[0, 5 + audio] = audio
  frames = np.zeros((1, 1, 8), np.int32)
  frames[0, 0, :2] = 100
  made = {
    "inputs": rng.integers(10, 500, (1, length)).astype(np.int32),
    "inputs_position": np.arange(length, dtype=np.int32)[None],
    "inputs_segmentation": np.ones((1, length), np.int32),
    "audio_index": index,
    "samples": rng.normal(0, 0.1, (1, 1, 8, 16_240)).astype(np.float32),
    "chunk_frames": frames,
    "chunk_segment": (frames > 0).astype(np.int32),
  }
  return jax.tree.map(jnp.asarray, made)


def logits_of(
  config: bridge.Config, mesh: jax.sharding.Mesh, graphdef: nnx.GraphDef, rest: nnx.State
) -> Callable[[nnx.State], np.ndarray]:
  """A compiled function from parameters to the logits of `batch`."""
  jitted = jax.jit(lambda params, rows: nnx.merge(graphdef, params, rest, copy=True)(rows))

  def run(params: nnx.State) -> np.ndarray:
    with bridge.mesh_scope(config, mesh):
      return np.asarray(jitted(params, batch()))

  return run


class Case:
  """An adapted model with its A and B random, and its logits as a function of its parameters."""

  def __init__(self, scanned: bool, moe: bool) -> None:
    self.targets = MOE if moe else DENSE
    keys = [f"scan_layers={scanned}", *(MOE_SHAPE if moe else ())]
    config = configuration(*keys)
    self.lora = LoraConfig(rank=RANK, alpha=ALPHA, targets=self.targets)
    mesh = bridge.make_mesh(config)
    with bridge.mesh_scope(config, mesh):
      model = make_model(config, mesh)
      self.kernels = apply_lora(model, self.lora, jax.random.key(1))
      graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    self.logits = logits_of(config, mesh, graphdef, rest)
    self.new_logits = self.logits(params)
    rng = np.random.default_rng(2)
    for path, variable in nnx.to_flat_state(params):
      if path[-1].endswith("_lora_b"):
        variable.set_value(jnp.asarray(rng.normal(0, 0.2, variable.get_value().shape), jnp.float32))
    self.params = params

  def live_and_merged(self, target: str) -> tuple[nnx.State, nnx.State]:
    """The parameters with adapters of one target only: live, and merged with B = 0."""
    values = {path: v.get_value() for path, v in nnx.to_flat_state(self.params)}
    live, merged = dict(values), dict(values)
    for path, axes in self.kernels.items():
      a, b = ((*path[:-1], path[-1] + end) for end in ("_lora_a", "_lora_b"))
      merged[b] = jnp.zeros_like(values[b])
      if is_target(kernel_name(path), [target]):
        merged[path] = merge_kernel(values[path], values[a], values[b], axes, self.lora.scale)
      else:
        live[b] = merged[b]
    return self._state(live), self._state(merged)

  def _state(self, values: dict) -> nnx.State:
    return nnx.from_flat_state(
      {path: v.replace(values[path]) for path, v in nnx.to_flat_state(self.params)}
    )


@functools.cache
def case(scanned: bool, moe: bool) -> Case:
  """A case, made once."""
  return Case(scanned, moe)


def merged_error(moe: bool, target: str) -> float:
  """Largest error of logits with merged weights against live adapters, both forms of layers."""
  errors = []
  for scanned in (True, False):
    made = case(scanned, moe)
    live, merged = (made.logits(params) for params in made.live_and_merged(target))
    errors.append(relative(merged, live))
  return max(errors)
