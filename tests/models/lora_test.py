"""LoRA: merged weights give the live logits, whatever the target and the form of the layers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from maxtext_ext import bridge
from maxtext_ext.config import load
from maxtext_ext.models.lora import (
  TARGETS,
  KernelAxes,
  LoraConfig,
  apply_lora,
  is_target,
  kernel_name,
  kernel_update,
  merge_kernel,
)
from maxtext_ext.models.speech_lm import make_model
from tests import tiny

TOLERANCE = 1e-5  # of the largest logit
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


def logits_of(config, mesh, graphdef, rest):
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
  return Case(scanned, moe)


@pytest.mark.parametrize("scanned", [False, True], ids=["unscanned", "scanned"])
@pytest.mark.parametrize(
  ("moe", "target"),
  [(False, target) for target in DENSE] + [(True, target) for target in MOE],
  ids=lambda value: {False: "dense", True: "moe"}.get(value, value),
)
def test_merged_logits_equal_live_ones(moe, target, scanned):
  made = case(scanned, moe)
  live, merged = (made.logits(params) for params in made.live_and_merged(target))
  scale = np.abs(live).max()
  assert np.abs(live - made.new_logits).max() > 0.01 * scale, "the update shows"
  assert np.abs(live - merged).max() / scale < TOLERANCE


def test_a_new_adapter_changes_nothing():
  made = case(True, False)
  config = configuration("scan_layers=true")
  mesh = bridge.make_mesh(config)
  with bridge.mesh_scope(config, mesh):
    graphdef, plain, rest = nnx.split(make_model(config, mesh), nnx.Param, ...)
  adapted = dict(nnx.to_flat_state(made.params))
  for path, variable in nnx.to_flat_state(plain):
    np.testing.assert_array_equal(adapted[path].get_value(), variable.get_value())
  plain_logits = logits_of(config, mesh, graphdef, rest)(plain)
  np.testing.assert_allclose(made.new_logits, plain_logits, atol=1e-6 * np.abs(plain_logits).max())


AXES = {
  "linear": (KernelAxes(batch=0, inputs=1, stack=None), (5, 7)),
  "several outputs": (KernelAxes(batch=0, inputs=1, stack=None), (5, 2, 3)),
  "several inputs": (KernelAxes(batch=0, inputs=2, stack=None), (2, 3, 5)),
  "stacked first": (KernelAxes(batch=0, inputs=1, stack=0), (4, 5, 7)),
  "several inputs, stacked": (KernelAxes(batch=0, inputs=2, stack=1), (2, 4, 3, 5)),
  "several outputs, stacked": (KernelAxes(batch=0, inputs=1, stack=1), (5, 4, 2, 3)),
  "experts": (KernelAxes(batch=1, inputs=1, stack=None), (4, 5, 7)),
  "experts, stacked": (KernelAxes(batch=1, inputs=1, stack=1), (4, 6, 5, 7)),
}


@pytest.mark.parametrize("name", AXES)
def test_kernel_update_is_the_product_of_every_slice(name):
  axes, shape = AXES[name]
  rng = np.random.default_rng(0)
  a, b = (rng.normal(size=size) for size in axes.adapters(shape, 3))
  update = kernel_update(a, b, axes, 0.5)
  assert update.shape == shape

  def slices(x, batch):
    x = x if axes.stack is None else np.moveaxis(x, axes.stack, 0)
    return x.reshape(-1, *x.shape[batch + (axes.stack is not None) :])

  for w, u, v in zip(*(slices(x, axes.batch) for x in (update, a, b)), strict=True):
    product = 0.5 * u.reshape(-1, 3) @ v.reshape(3, -1)
    np.testing.assert_allclose(w.reshape(product.shape), product, atol=1e-12)


@pytest.mark.parametrize(("scanned", "moe"), [(True, False), (True, True), (False, False)])
def test_adapters_lie_on_the_mesh_as_their_kernels_do(scanned, moe):
  made = case(scanned, moe)
  variables = dict(nnx.to_flat_state(made.params))

  def names(path):
    metadata = variables[path].get_metadata()
    own = metadata["out_sharding"]
    assert len(own) == variables[path].get_value().ndim
    return own

  for path, axes in made.kernels.items():
    a, b = (names((*path[:-1], path[-1] + end)) for end in ("_lora_a", "_lora_b"))
    assert (a, b) == axes.adapters(names(path), None)
    assert type(variables[(*path[:-1], path[-1] + "_lora_a")]) is nnx.LoRAParam


def test_every_linear_map_of_the_layers_is_some_target():
  named = {name for moe in (False, True) for name in map(kernel_name, case(True, moe).kernels)}
  assert named == {kernel_name(path) for path in case(False, False).kernels} | {
    name for name in named if "moe" in name
  }
  for name in named:
    assert sum(is_target(name, [target]) for target in TARGETS) == 1


@pytest.mark.parametrize(
  ("targets", "message"),
  [
    (("attention", "experts"), "'experts' names no kernel .*decoder/layers/mlp/wi_0"),
    (("decoder/.*/quer",), "names no kernel"),
    (("(",), "no regex"),
    ((), "empty"),
  ],
)
def test_wrong_targets_are_clear_errors(targets, message):
  config = configuration("scan_layers=true")
  mesh = bridge.make_mesh(config)
  with bridge.mesh_scope(config, mesh), pytest.raises(ValueError, match=message):
    lora = LoraConfig(rank=2, alpha=4.0, targets=targets)
    model = nnx.eval_shape(lambda: make_model(config, mesh))
    apply_lora(model, lora, jax.random.key(0))


def test_a_regex_adapts_one_kernel():
  config = configuration("lora_rank=2", "lora_targets=[decoder/.*/query]")
  mesh = bridge.make_mesh(config)
  with bridge.mesh_scope(config, mesh):
    params = nnx.state(nnx.eval_shape(lambda: make_model(config, mesh)), nnx.LoRAParam)
  assert {path[-2] for path, _ in nnx.to_flat_state(params)} == {"query"}
  assert len(nnx.to_flat_state(params)) == 2 * config.num_decoder_layers
