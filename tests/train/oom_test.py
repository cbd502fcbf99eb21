"""A program that does not fit into memory: what XLA itself says then, and what a run does."""

import jax
import jax.numpy as jnp
import pytest

from maxtext_ext import parallel
from maxtext_ext.config import load
from maxtext_ext.train import loop, oom
from maxtext_ext.train.loop import main
from tests import tiny
from tests.train.loop_test import LAYERS, losses, relative_difference


def out_of_memory(x: jax.Array) -> jax.Array:
  """Needs 70 TB; to be compiled."""
  large = jax.lax.broadcasted_iota(jnp.float32, (2**44,), 0)
  return jax.lax.sort(large * x)[3]


def provoke(function) -> jax.errors.JaxRuntimeError:
  with pytest.raises(jax.errors.JaxRuntimeError) as error:
    jax.block_until_ready(jax.jit(function)(1.0))
  return error.value


@pytest.fixture(scope="module")
def error():
  return provoke(out_of_memory)


@pytest.mark.parametrize(
  ("rows", "pieces", "expected"),
  [(4, 1, (2, 2)), (2, 3, (1, 6)), (6, 1, (3, 2)), (3, 2, (1, 6)), (9, 1, (3, 3))],
)
def test_rows_shrink_and_pieces_grow_alike(error, rows, pieces, expected):
  keys = [f"per_device_batch_size={rows}", f"gradient_accumulation_steps={pieces}"]
  config = load(tiny.DEMO, keys)
  smaller = oom.with_fewer_rows(config, error)
  assert (smaller.per_device_batch_size, smaller.gradient_accumulation_steps) == expected
  same = load(tiny.DEMO, [f"per_device_batch_size={expected[0]}", f"{keys[1][:-1]}{expected[1]}"])
  for key in ("micro_batch_size_to_train_on", "global_batch_size_to_load"):
    assert getattr(smaller, key) == getattr(same, key)


@pytest.mark.parametrize(
  ("keys", "message"),
  [
    (["on_oom=fail"], "per_device_batch_size=4 .* and on_oom=fail"),
    (["per_device_batch_size=1"], ".* one row a pass: lower max_target_length"),
  ],
)
def test_what_cannot_shrink_is_said(error, keys, message):
  with pytest.raises(ValueError, match=f"out of memory at {message}"):
    oom.with_fewer_rows(load(tiny.DEMO, keys), error)


CTC = ("speech_model=ctc", "max_seconds=10", "per_device_batch_seconds=40", "curriculum=[]")


def test_seconds_shrink_and_pieces_grow(error):
  config = load(tiny.DEMO, CTC)
  smaller = oom.with_fewer_rows(config, error)
  assert (smaller.per_device_batch_seconds, smaller.gradient_accumulation_steps) == (20, 2)
  for before, after in ((config, smaller), (smaller, oom.with_fewer_rows(smaller, error))):
    rows = [c.global_batch_size_to_load // c.per_device_batch_size for c in (before, after)]
    assert rows[1] == 2 * rows[0], "of which batches are multiples"


@pytest.mark.parametrize(
  ("keys", "message"),
  [
    (["on_oom=fail"], "per_device_batch_seconds=40 .* and on_oom=fail"),
    (["max_seconds=30"], ".* one clip of max_seconds=30 a pass: lower max_seconds"),
  ],
)
def test_seconds_that_cannot_shrink_are_said(error, keys, message):
  with pytest.raises(ValueError, match=f"out of memory at {message}"):
    oom.with_fewer_rows(load(tiny.DEMO, tiny.last_wins([*CTC, *keys])), error)


def test_another_error_is_left_alone():
  def fails(x):
    return jax.pure_callback(lambda x: 1 / 0, jax.ShapeDtypeStruct((), jnp.float32), x)

  other = provoke(fails)
  with pytest.raises(jax.errors.JaxRuntimeError, match="ZeroDivisionError"):
    oom.with_fewer_rows(load(tiny.DEMO), other)


@pytest.mark.slow
def test_a_run_goes_on_with_the_same_batches(tmp_path, monkeypatch, caplog):
  """Out of memory at its first step, and again at its fourth, after a checkpoint."""
  caplog.set_level("WARNING", "maxtext_ext")
  # The programs of loop_test, but for one.
  keys = [*tiny.make_run(tmp_path, train=24, test=1), *LAYERS, "learning_rate_schedule_steps=6"]
  keys += ["per_device_batch_size=4", "steps=5", "checkpoint_period=2"]
  plain = main(tiny.DEMO, [*keys, "run_name=plain"])
  batches = []

  def to_device(batch, placement):
    batches.append(batch)
    if len(batches) in (1, 5):
      jax.block_until_ready(jax.jit(out_of_memory)(1.0))
    return parallel.to_device(batch, placement)

  monkeypatch.setattr(loop, "to_device", to_device)
  shrunk = main(tiny.DEMO, [*keys, "run_name=shrunk"])
  assert "batch_size=4 gradient_accumulation_steps=1; continuing with 2 and 2" in caplog.text
  assert "batch_size=2 gradient_accumulation_steps=2; continuing with 1 and 4" in caplog.text
  assert len(batches) == 1 + 4 + 3
  for again, first in ((1, 0), (5, 3), (6, 4)):
    assert all((batches[again][key] == batches[first][key]).all() for key in batches[first])
  assert relative_difference(losses(shrunk.run_dir), losses(plain.run_dir)) < 1e-5
