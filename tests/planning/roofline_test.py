import dataclasses

import pytest

from maxtext_ext.planning.cost import Cost, StepCost
from maxtext_ext.planning.roofline import step_time
from maxtext_ext.planning.topology import V4

NOTHING = Cost(flops=0.0, hbm_bytes=0.0, sent_bytes=0.0)


def of(**amounts: float) -> Cost:
  return dataclasses.replace(NOTHING, **amounts)


def test_a_part_takes_as_long_as_its_slowest_resource():
  cost = StepCost(
    decoder=of(flops=1e12, sent_bytes=2 * V4.link_bandwidth),
    encoder=of(hbm_bytes=3 * V4.hbm_bandwidth, sent_bytes=V4.link_bandwidth),
    rest=NOTHING,
  )
  time = step_time(cost, V4, 0.8)
  assert time.seconds == pytest.approx(5)
  assert (time.memory, time.sending) == pytest.approx((3, 3))
  assert time.computing == pytest.approx(1e12 / (0.8 * V4.flops))
  assert time.bound in ("memory", "sending")


def test_a_lower_share_of_the_peak_takes_longer():
  cost = StepCost(decoder=of(flops=V4.flops), encoder=NOTHING, rest=of(flops=V4.flops))
  assert step_time(cost, V4, 1.0).seconds == pytest.approx(2)
  assert step_time(cost, V4, 0.5).seconds == pytest.approx(4)
