"""LoRA: merged weights give the live logits, whatever the target and the form of the layers."""

import jax
import numpy as np
import pytest
from flax import nnx

from benchmarks.parity.lora import DENSE, MOE, case, configuration, logits_of
from maxtext_ext import bridge
from maxtext_ext.models.lora import (
  TARGETS,
  KernelAxes,
  LoraConfig,
  apply_lora,
  is_target,
  kernel_name,
  kernel_update,
)
from maxtext_ext.models.make import make_model

TOLERANCE = 1e-5  # of the largest logit


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
