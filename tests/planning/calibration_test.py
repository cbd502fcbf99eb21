import dataclasses
import json

import pytest

from maxtext_ext.planning.calibration import (
  CountedRun,
  counted_runs,
  efficiency,
  from_json,
  left_out_error,
)
from maxtext_ext.planning.cost import Cost, StepCost
from maxtext_ext.planning.published import RUNS, TODAY, TOKENS
from maxtext_ext.planning.topology import H100, V4, V5E, V5P, V6E

NOTHING = Cost(flops=0.0, hbm_bytes=0.0, sent_bytes=0.0)


def of_share(share: float, index: int = 0) -> CountedRun:
  """A run that reaches a share of its chip's peak and does nothing but compute."""
  run = RUNS[index]
  flops = share * run.seconds * CountedRun(run=run, cost=_step(0.0)).chip.flops
  return CountedRun(run=run, cost=_step(flops))


def _step(flops: float) -> StepCost:
  computing = dataclasses.replace(NOTHING, flops=flops)
  return StepCost(decoder=computing, encoder=NOTHING, rest=NOTHING)


def test_sizes_and_seconds_are_the_published_ones():
  sizes = {run.name: run.weights / 1e9 for run in RUNS}
  for name, size in sizes.items():
    assert size == pytest.approx(float(name.split("B")[0]), rel=0.03), name
  assert RUNS[0].seconds == pytest.approx(22.5, abs=0.1)


def test_a_run_alone_is_met_exactly():
  run = of_share(0.8)
  assert run.share == pytest.approx(0.8)
  fitted = efficiency(V4, [run, of_share(0.5, 2)])
  assert fitted.share == pytest.approx(0.8)
  assert run.estimate(fitted.share).seconds == pytest.approx(run.run.seconds)


def test_the_error_is_that_of_a_run_which_was_not_used():
  fast, slow = of_share(0.8, 0), of_share(0.4, 1)
  assert left_out_error(fast, [fast, slow]) == pytest.approx(1.0)  # at half the speed
  assert left_out_error(slow, [fast, slow]) == pytest.approx(-0.5)
  fitted = efficiency(V4, [fast, slow])
  assert (fitted.share, fitted.error) == pytest.approx((0.6, 1.0))


def test_a_generation_without_a_run_takes_all_of_them():
  runs = [of_share(0.8, 0), of_share(0.6, 2)]
  fitted = efficiency(H100, runs)
  assert fitted.share == pytest.approx(0.7)
  assert fitted.error == pytest.approx(1 / 3)
  assert "on other chips" in fitted.basis


def test_the_package_holds_the_cost_of_every_run():
  runs = counted_runs()
  assert [run.run for run in runs] == list(RUNS)
  v4 = runs[0]
  assert v4.estimate(1.0).computing == pytest.approx(16.5, abs=0.1)
  (today,) = counted_runs((TODAY,))
  assert today.cost.total.flops == pytest.approx(5.05e15, rel=0.002)
  for run in runs:
    # Six FLOPs a weight and token, and two again, but for the layer's last product.
    needed = 6 * run.run.weights * run.run.rows * TOKENS
    assert 1.2 < run.cost.total.flops / needed < 4 / 3, run.run.name


@pytest.mark.parametrize("chip", [V4, V5E, V5P, V6E, H100], ids=lambda chip: chip.name)
def test_an_estimate_says_how_wrong_it_may_be(chip):
  reached = efficiency(chip)
  assert 0.5 < reached.share <= 1
  assert 0 < reached.error < 0.5
  assert ("on other chips" in reached.basis) == (chip not in (V4, V5E))


def test_the_file_is_read_as_it_was_written():
  run = of_share(0.8)
  text = json.dumps({run.run.name: dataclasses.asdict(run.cost)})
  assert from_json(text) == [run]
