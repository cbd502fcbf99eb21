import json
import logging

import pytest

from maxtext_ext.input.drops import Drop, DropCounter


def drop(tally, count, *, bad=True, start=0, reason="unreadable"):
  for number in range(start, start + count):
    tally.count()
    tally.drop(Drop(reason, f"clip{number}: broken", bad=bad))


@pytest.mark.parametrize(
  ("fraction", "read", "most"),
  [(0.01, 0, 10), (0.01, 2_990, 30), (0.0, 0, 0), (0.002, 400, 2)],
)
def test_more_bad_records_than_the_fraction_are_an_error(fraction, read, most):
  """Under 1000 records count as 1000."""
  tally = DropCounter(fraction)
  for _ in range(read):
    tally.count()
  drop(tally, most)
  with pytest.raises(ValueError, match=f"{most + 1} of {read + most + 1} records .*={fraction:g}"):
    drop(tally, 1, start=most)


def test_the_error_shows_the_first_ten():
  tally = DropCounter(0.02)
  with pytest.raises(ValueError, match="max_bad_fraction") as caught:
    drop(tally, 30)
  shown = "; ".join(f"clip{number}: broken" for number in range(10))
  assert str(caught.value).endswith(f"The first: {shown}")


def test_records_that_do_not_suit_the_run_are_no_error():
  tally = DropCounter(0.0)
  drop(tally, 2_000, bad=False, reason="outside max_seconds")
  assert tally.dropped == {"outside max_seconds": 2_000}


def test_any_fraction_of_one_is_never_an_error():
  tally = DropCounter(1.0)
  drop(tally, 3_000)
  assert tally.dropped == {"unreadable": 3_000}


def test_only_the_first_of_a_reason_is_told(caplog, monkeypatch):
  logger = logging.getLogger("maxtext_ext.input.drops")
  monkeypatch.setattr(logger, "propagate", False)  # other tests change the root's handlers
  monkeypatch.setattr(logger, "handlers", [caplog.handler])
  caplog.set_level(logging.WARNING, logger=logger.name)
  tally = DropCounter(1.0)
  drop(tally, 3)
  drop(tally, 2, bad=False, reason="fits no row")
  assert [record.message.split(";")[0] for record in caplog.records] == [
    "dropped (unreadable): clip0: broken",
    "dropped (fits no row): clip0: broken",
  ]


def test_counts_go_on_and_add_up():
  tallies = [DropCounter(0.01), DropCounter(0.01)]
  drop(tallies[0], 7)
  drop(tallies[1], 3, start=7)
  drop(tallies[1], 5, bad=False, reason="fits no row")
  states = [json.loads(json.dumps(tally.get_state())) for tally in tallies]
  whole = DropCounter(0.01)
  whole.set_state(DropCounter.sum_states(states))
  assert whole.dropped == {"unreadable": 10, "fits no row": 5}
  with pytest.raises(ValueError, match="11 of 16 records") as caught:
    drop(whole, 1, start=10)
  shown = "; ".join(f"clip{number}: broken" for number in range(10))
  assert str(caught.value).endswith(f"The first: {shown}")
  assert DropCounter.sum_states([]) == DropCounter(1.0).get_state()
