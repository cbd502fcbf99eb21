"""Steps without a finite loss: nothing changes, they are counted, and five in a row end the run."""

import json
import pathlib

import jax
import numpy as np
import pytest

from maxtext_ext.train.loop import main
from maxtext_ext.train.nonfinite import LIMIT, NonFiniteGuard
from tests import tiny
from tests.train.steps import Steps, noise_rows


def bits(state) -> list[bytes]:
  """Every array of a train state, its random keys too."""
  return [
    np.asarray(
      jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x
    ).tobytes()
    for x in jax.tree.leaves(state)
  ]


@pytest.mark.parametrize("pieces", [1, 2])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_step_on_what_is_no_number_changes_nothing(pieces, bad):
  steps = Steps(f"gradient_accumulation_steps={pieces}")
  rows = noise_rows([8, 8])
  assert steps.step(rows)["updates"] == 1
  before = bits(steps.state)
  samples = rows["samples"].copy()
  samples[1, 0, 0, 500] = bad
  metrics = steps.step({**rows, "samples": samples})
  assert not np.isfinite(metrics["loss"]) and metrics["updates"] == 1
  assert bits(steps.state) == before
  metrics = steps.step(rows)
  assert np.isfinite(metrics["loss"]) and metrics["updates"] == 2
  assert bits(steps.state) != before


def test_only_a_row_of_them_ends_the_run():
  watch = NonFiniteGuard()
  for step in range(1, 4 * LIMIT + 1):
    watch.note(step, usable=step % LIMIT == 0, records=["fine"])
  for step in range(101, 100 + LIMIT):
    watch.note(step, usable=False, records=[f"a{step}", f"b{step}"])
  with pytest.raises(ValueError, match=r"last of them 105.* step 101: a101, b101; .*105: c$"):
    watch.note(100 + LIMIT, usable=False, records=["c"])


def test_a_run_whose_weights_explode_stops_and_names_its_records(tmp_path):
  keys = [*tiny.make_run(tmp_path, train=12, test=1), "run_name=a", "steps=30"]
  # Every part of a weight stays below the largest float, their products do not.
  exploding = ("learning_rate=1e30", "warmup_steps_fraction=0", "packing_lookahead=16")
  with pytest.raises(ValueError, match=r"not finite in 5 steps in a row, the last of them 6;") as e:
    main(tiny.DEMO, [*keys, *exploding, "per_device_batch_size=1"])
  assert "step 2: clip0-" in str(e.value) and "step 6: clip0-" in str(e.value)
  lines = pathlib.Path(tmp_path, "runs", "a", "metrics.jsonl").read_text().splitlines()
  found = [json.loads(line, parse_constant=pytest.fail) for line in lines]
  assert [line["skipped_steps"] for line in found] == [0, 1, 2, 3, 4, 5]
  assert "loss" in found[0] and "loss" not in found[1]
  assert len({line["learning_rate"] for line in found[1:]}) == 1, "it has not moved on"
