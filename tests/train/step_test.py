"""One step: what it adds up to however its rows are cut, at which precision, and what is random."""

import re

import numpy as np
import pytest

from maxtext_ext.models.parameter_groups import group_of
from maxtext_ext.models.speech_lm import SpeechLM
from tests.models.mixture_test import MIXTURE
from tests.train.steps import LENGTH, Steps, noise_rows

# A step of plain gradient descent moves the weights by their gradient, times a rate so large that
# the rounding of the weights does not count.
GRADIENT = ("opt_type=sgd", "learning_rate=100", "lr_schedule_type=wsd")
UNEVEN = noise_rows([1, 30, 0, 9], real=[LENGTH, LENGTH, 30, 40])


def gradients(steps: Steps, batch: dict) -> tuple[dict[str, float], dict[tuple, np.ndarray]]:
  """The metrics of a step, and how it moved the weights."""
  before = steps.params
  metrics = steps.step(batch)
  return metrics, {path: before[path] - value for path, value in steps.params.items()}


def assert_close(ours: dict[tuple, np.ndarray], theirs: dict[tuple, np.ndarray]) -> None:
  """Equal to the rounding of float32 sums: 1e-5 of the largest value of an array.

  Where the sum is of terms that cancel, as for the bias of the keys, 1e-7 of the largest of all.
  """
  assert ours.keys() == theirs.keys()
  largest = max(float(np.abs(value).max()) for value in theirs.values())
  for path, value in theirs.items():
    atol = max(1e-5 * float(np.abs(value).max()), 1e-7 * largest)
    np.testing.assert_allclose(ours[path], value, rtol=0, atol=atol, err_msg=str(path))


@pytest.mark.slow
def test_micro_batches_add_up_to_the_large_batch():
  """With targets and tokens as uneven as can be, parts at rates of their own, and every loss."""
  keys = (
    *GRADIENT,
    *MIXTURE,
    "base_num_decoder_layers=1",
    "scan_layers=true",
    "gradient_clipping_threshold=0",
    "train_parts={lm: 100, router: 50, projector: 25}",
    "router_aux_loss_coef=0.1",
  )
  large, expected = gradients(Steps(*keys, "num_vocab_tiling=1"), UNEVEN)
  assert large["target_tokens"] == 40
  assert any(
    np.abs(x).max() > 0
    for path, x in expected.items()
    if group_of(path, SpeechLM.GROUPS) == "router"
  )
  steps = Steps(*keys, "num_vocab_tiling=4", "gradient_accumulation_steps=4")
  start = steps.saved()
  small, found = gradients(steps, UNEVEN)
  assert small == pytest.approx(large, rel=1e-5)
  assert_close(found, expected)

  # What stands in padding is no token, to the router's loss either.
  other = {key: value.copy() for key, value in UNEVEN.items()}
  other["inputs"][UNEVEN["inputs_segmentation"] == 0] = 77
  steps.state = start
  again, _ = gradients(steps, other)
  assert again["router_aux_loss"] == pytest.approx(small["router_aux_loss"], rel=1e-6)
  assert again["loss"] == pytest.approx(small["loss"], rel=1e-6)


def test_dropout_of_adapters_follows_from_the_number_of_the_update():
  keys = ("lora_rank=4", "lora_targets=[attention,projector,audio_tower]", "scan_layers=true")
  keys = (*keys, "opt_type=sgd", "learning_rate=0.1", "lr_schedule_type=wsd")
  batch = noise_rows([9, 30])
  steps = Steps(*keys, "lora_dropout=0.5")
  steps.step(batch)  # B is zero before, and hides what A sees
  start, dry = steps.saved(), steps.loss(batch)
  first, moves = gradients(steps, batch)
  steps.state = start
  start = steps.saved()
  again, same = gradients(steps, batch)
  assert again == first
  assert all(np.array_equal(moves[path], value) for path, value in same.items())
  assert first["loss"] != pytest.approx(dry, rel=1e-6), "evaluation drops nothing"
  number = start["optimizer"]["step"]
  start["optimizer"]["step"] = number.replace(number.get_value() + 1)
  steps.state = start
  later, _ = gradients(steps, batch)
  assert later["loss"] != first["loss"], "another update has other masks"


@pytest.mark.slow
def test_weights_and_optimizer_are_float32_while_products_are_bfloat16():
  keys = ("dtype=bfloat16", "weight_dtype=float32", "matmul_precision=default")
  steps = Steps(*keys, "learning_rate=1.0e-5")
  batch = noise_rows([9, 30])
  text = steps.lower(batch).as_text()
  products = re.findall(r"(?:dot_general|convolution).*?: \((.*?)\) -> ", text)
  wide = [types for types in products if "bf16" not in types]
  # log-mel, rotary positions and the softmax of the encoder stay wide
  assert len(wide) < 0.1 * len(products), wide
  before = steps.params
  steps.step(batch)
  moments = [x for path, x in steps.optimizer.items() if {"mu", "nu"} & set(path)]
  assert moments and all(x.dtype == np.float32 for x in moments)
  assert all(x.dtype == np.float32 for x in steps.params.values())
  # An update far under the rounding of bfloat16 is kept.
  moved = [np.abs(x - before[path]).max() for path, x in steps.params.items()]
  assert min(moved) > 0 and max(moved) < 1e-4


def test_without_recomputation_there_are_fewer_products():
  def products(policy: str) -> int:
    steps = Steps("scan_layers=false", f"remat_policy={policy}")
    return steps.lower(noise_rows([9])).as_text().count("dot_general")

  # Of a decoder layer at least seven, of an encoder layer six.
  assert products("none") <= products("full") - 13


@pytest.mark.slow
def test_what_is_kept_of_the_forward_pass_changes_nothing():
  batch = noise_rows([9, 30])
  keys = (*GRADIENT, "scan_layers=true", "gradient_clipping_threshold=0")
  kept, expected = gradients(Steps(*keys, "remat_policy=none"), batch)
  for policy in ("full", "save_qkv_proj"):
    metrics, found = gradients(Steps(*keys, f"remat_policy={policy}"), batch)
    assert metrics == pytest.approx(kept, rel=1e-5)
    assert_close(found, expected)
