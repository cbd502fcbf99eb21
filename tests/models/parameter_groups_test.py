"""Parts that train and parts that are frozen: gradients, optimizer state, rates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from maxtext_ext import bridge
from maxtext_ext.config import ConfigError, load
from maxtext_ext.models.make import make_model
from maxtext_ext.models.parameter_groups import group_of
from maxtext_ext.models.speech_lm import SpeechLM
from maxtext_ext.train.optimizer import make_optimizer
from tests import tiny
from tests.models.mixture_test import MIXTURE
from tests.train.steps import Steps, noise_rows

LORA = ("lora_rank=3", "lora_targets=[attention,projector,audio_tower]")
ROOTS = SpeechLM.GROUPS
BATCH = noise_rows([3, 20])


def moved(before: dict, after: dict) -> dict[str, set[str]]:
  """Parts whose parameters moved, all or some of them, and which did not."""
  found: dict[str, set[str]] = {"moved": set(), "still": set()}
  for path, value in after.items():
    same = np.array_equal(before[path], value)
    found["still" if same else "moved"].add(group_of(path, ROOTS))
  return found


@pytest.mark.parametrize(
  ("keys", "expected"),
  [
    ((), {"encoder", "projector", "lm"}),
    (LORA, {"encoder", "projector", "lm", "adapters"}),
    (MIXTURE, {"encoder", "projector", "lm", "router"}),
  ],
  ids=["dense", "lora", "mixture"],
)
def test_every_parameter_has_one_part(keys, expected):
  config = load(tiny.DEMO, [*tiny.SHAPE, *keys])
  mesh = bridge.make_mesh(config)
  with bridge.mesh_scope(config, mesh):
    params = nnx.state(nnx.eval_shape(lambda: make_model(config, mesh)), nnx.Param)
  assert {group_of(path, ROOTS) for path, _ in nnx.to_flat_state(params)} == expected


@pytest.mark.parametrize(
  ("path", "part"),
  [
    ("speech_encoder/layers/fc1/kernel", "encoder"),
    ("speech_encoder/layers/fc1/kernel_lora_a", "adapters"),
    ("speech_encoder/embed_positions", "fixed"),
    ("projector/linear_1/bias", "projector"),
    ("token_embedder/embedding", "lm"),
    ("decoder/logits_dense/kernel", "lm"),
    ("decoder/layers/moe_block/gate/kernel", "router"),
    ("decoder/layers_3/moe_block/wi_0", "lm"),
    ("decoder/layers/moe_block/wi_0_lora_b", "adapters"),
  ],
)
def test_part_of_a_path(path, part):
  assert group_of(path.split("/"), ROOTS) == part


@pytest.mark.parametrize(
  "keys",
  [
    ("train_parts={encoder: 1.0e-3, projector: 1.0e-2}",),
    ("train_parts={adapters: 1.0e-2, projector: 1.0e-3}", *LORA),
    ("train_parts={lm: 1.0e-3, router: 0}", *MIXTURE, "scan_layers=true"),
  ],
  ids=["encoder and projector", "adapters and projector", "all but the router"],
)
def test_a_frozen_part_stays_and_has_no_optimizer_state(keys):
  steps = Steps(*keys, "adam_weight_decay=0.5")
  trains = {part for part, rate in steps.config.train_parts.items() if rate}
  before = steps.params
  steps.step(BATCH)
  steps.step(BATCH)
  found = moved(before, steps.params)
  assert found["moved"] == trains
  assert found["still"] == {group_of(path, ROOTS) for path in before} - trains
  moments = [path for path, x in steps.optimizer.items() if x.ndim]
  of = [path[path.index("mu" if "mu" in path else "nu") + 1 :] for path in moments]
  expected = [path for path in before if group_of(path, ROOTS) in trains]
  assert sorted(of, key=str) == sorted(expected * 2, key=str)


def test_no_gradient_is_computed_for_frozen_parts():
  """The encoder runs forward, and backward only where it trains."""
  parts = ("train_parts={lm: 1.0e-3}", "train_parts={lm: 1.0e-3, encoder: 1.0e-3}")
  runs = [Steps("remat_policy=none", each) for each in parts]
  texts = [run.lower(BATCH).as_text() for run in runs]
  assert [text.count("stablehlo.convolution") for text in texts] == [3, 3]
  frozen, trained = (text.count("stablehlo.dot_general") for text in texts)
  kernels = sum(group_of(p, ROOTS) == "encoder" and p[-1] == "kernel" for p in runs[0].params)
  # Every kernel has a gradient, and what it multiplies has one too but for the sound itself.
  assert trained - frozen >= 2 * kernels - 1


def test_each_part_moves_at_its_own_rate_along_one_schedule():
  """The updates of a part are those of an optimizer at that part's rate."""
  keys = ["steps=4", "lr_schedule_type=cosine", "warmup_steps_fraction=0.5"]
  rates = {"encoder": 4e-3, "projector": 1e-3, "lm": 2e-3}
  given = ", ".join(f"{part}: {rate}" for part, rate in rates.items())
  config = load(tiny.DEMO, [*keys, f"train_parts={{{given}}}"])
  mesh = bridge.make_mesh(config)
  schedule, tx = make_optimizer(config, mesh)
  params = {"speech_encoder": {"kernel": jnp.ones(3)}, "projector": {"kernel": jnp.ones(2)}}
  params["decoder"] = {"layers": {"kernel": jnp.full(2, 3.0)}}

  def updates(tx):
    state, found = tx.init(params), []
    for step in range(4):
      grads = jax.tree.map(lambda x, step=step: x * (step - 1.3), params)
      update, state = tx.update(grads, state, params)
      found.append(update)
    return found

  mixed = updates(tx)
  for part, root in zip(rates, params, strict=True):
    alone_schedule, alone = bridge.make_optimizer(
      bridge.replace(config, learning_rate=rates[part]), mesh
    )
    for step, (ours, theirs) in enumerate(zip(mixed, updates(alone), strict=True)):
      for a, b in zip(jax.tree.leaves(ours[root]), jax.tree.leaves(theirs[root]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, err_msg=f"{part}, step {step}")
    assert float(alone_schedule(1)) == pytest.approx(rates[part] / 2)
  assert float(schedule(1)) == pytest.approx(2e-3)


@pytest.mark.parametrize(
  ("keys", "message"),
  [
    (["train_parts={decoder: 1}"], "decoder is no part, expected some of encoder, projector, lm"),
    (["train_parts={adapters: 1}"], "there are none: give lora_rank"),
    (["train_parts={router: 1}"], "a model without experts has none"),
    (["train_parts={lm: -1}"], "expected a learning rate above 0"),
    (["train_parts={lm: 0}"], "expected a learning rate above 0"),
    (["train_parts={lm: fast}"], "train_parts.lm: "),
    (["train_parts={lm: 1}", "lora_rank=2"], "add adapters to train_parts, or give lora_rank=0"),
  ],
  ids=str,
)
def test_parts_that_cannot_train_are_one_line(keys, message):
  with pytest.raises(ConfigError, match=message) as error:
    load(tiny.DEMO, keys)
  assert "\n" not in str(error.value)
