"""The optimizer of the shipped configuration: schedule and weight decay."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from maxtext_ext import bridge
from maxtext_ext.config import load
from maxtext_ext.models.make import make_model
from maxtext_ext.train.optimizer import make_optimizer
from tests import tiny


def test_weight_decay_spares_norms_and_biases():
  config = load(tiny.DEMO, [*tiny.SHAPE, "warmup_steps_fraction=0.0"])
  mesh = bridge.make_mesh(config)
  with bridge.mesh_scope(config, mesh):
    params = nnx.state(make_model(config, mesh), nnx.Param)
  params = jax.tree.map(jnp.ones_like, params)
  _, tx = bridge.make_optimizer(config, mesh)
  updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
  decayed, spared = set(), set()
  for path, update in jax.tree_util.tree_leaves_with_path(updates):
    name = jax.tree_util.keystr(path, simple=True, separator="/").removesuffix("/value")
    (decayed if float(jnp.abs(update).max()) > 0 else spared).add(name.rsplit("/", 1)[-1])
  assert decayed == {"kernel", "embedding"}
  assert spared == {"scale", "bias"}


@pytest.mark.parametrize(
  ("step", "expected"), [(0, 0.0), (10, 0.5), (20, 1.0), (1000, 0.1)], ids=str
)
def test_cosine_schedule_of_speech_yml(step, expected):
  keys = ["steps=1001", "learning_rate=1.0", "lr_schedule_type=cosine"]
  keys += ["warmup_steps_fraction=0.02", "learning_rate_final_fraction=0.1"]
  config = load(tiny.DEMO, keys)
  schedule, _ = bridge.make_optimizer(config, bridge.make_mesh(config))
  assert float(schedule(step)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("devices", "expected"), [(0, 0.5), (1, 0.5), (4, 0.125)])
def test_rates_for_other_devices_are_scaled(devices, expected):
  keys = ["learning_rate=0.1", "train_parts={projector: 0.5, lm: 0.1}", "warmup_steps_fraction=0"]
  config = load(tiny.DEMO, [*keys, f"learning_rate_devices={devices}"])
  schedule, _ = make_optimizer(config, bridge.make_mesh(config))  # one device
  assert float(schedule(0)) == pytest.approx(expected)
