import dataclasses

import pytest

from maxtext_ext.planning.calibration import CALIBRATED_FLOPS, MEASURED_SECONDS, efficiency
from maxtext_ext.planning.cost import Cost, StepCost
from maxtext_ext.planning.roofline import step_time
from maxtext_ext.planning.topology import H100, V4, V5E, V5P, V6E

NOTHING = Cost(flops=0.0, hbm_bytes=0.0, sent_bytes=0.0)


def of(**amounts: float) -> Cost:
  return dataclasses.replace(NOTHING, **amounts)


def test_the_calibrated_run_takes_what_was_measured():
  cost = StepCost(decoder=of(flops=CALIBRATED_FLOPS), encoder=NOTHING, rest=NOTHING)
  assert step_time(cost, V4).seconds == pytest.approx(MEASURED_SECONDS)


def test_a_part_takes_as_long_as_its_slowest_resource():
  cost = StepCost(
    decoder=of(flops=1e12, sent_bytes=2 * V4.link_bandwidth),
    encoder=of(hbm_bytes=3 * V4.hbm_bandwidth, sent_bytes=V4.link_bandwidth),
    rest=NOTHING,
  )
  time = step_time(cost, V4)
  assert time.seconds == pytest.approx(5)
  assert (time.memory, time.sending) == pytest.approx((3, 3))
  assert time.computing == pytest.approx(1e12 / (V4.flops * efficiency(V4).share))


@pytest.mark.parametrize("chip", [V4, V5E, V5P, V6E, H100], ids=lambda chip: chip.name)
def test_an_estimate_says_how_wrong_it_may_be(chip):
  reached = efficiency(chip)
  assert 0.7 < reached.share < 1
  assert 0 < reached.error < 0.5
  assert ("published run of this chip" in reached.basis) == (chip in (V6E, H100))
