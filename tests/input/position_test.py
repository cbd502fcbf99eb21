import dataclasses
import json

import pytest

from maxtext_ext.input.drops import DropCounter
from maxtext_ext.input.position import Position, for_host


def positions(hosts, step=4):
  tally = {**DropCounter(1.0).get_state(), "read": 100, "dropped": {"fits no row": 1}}
  return [
    Position(
      host=host,
      hosts=hosts,
      step=step,
      first=(),
      next=20 * hosts + host,
      waiting=(host, hosts + host),
      tally=tally,
      identity={"records": 7},
    )
    for host in range(hosts)
  ]


def test_json_and_back():
  (position,) = positions(1)
  assert Position.from_json(json.loads(json.dumps(position.to_json()))) == position


@pytest.mark.parametrize("state", [{"step": 3, "position": 7}, {"format": 3, "step": 3}])
def test_another_format_is_a_clear_error(state):
  with pytest.raises(ValueError, match=f"has format {state.get('format', 1)}, .* reads 2"):
    Position.from_json(state)


def test_as_many_hosts_go_on_as_they_were():
  then = positions(3)
  assert [for_host(then, host, 3) for host in range(3)] == then


@pytest.mark.parametrize(("old", "new"), [(2, 1), (1, 3), (4, 2), (3, 4)])
def test_other_hosts_share_out_what_was_left(old, new):
  then = positions(old)
  now = [for_host(then, host, new) for host in range(new)]
  left = sorted(element for position in then for element in position.waiting)
  left += [20 * old + host for host in range(old - 1)]  # unread, but behind the foremost
  assert [p.first for p in now] == [tuple(left[host::new]) for host in range(new)]
  assert [p.next for p in now] == [21 * old - 1 + host for host in range(new)]
  assert [(p.host, p.hosts, p.step) for p in now] == [(host, new, 4) for host in range(new)]
  assert not any(p.waiting for p in now)


def test_counts_of_all_go_to_the_first_and_what_waits_is_counted_again():
  first, second = (for_host(positions(3), host, 2).tally for host in range(2))
  assert (first["read"], first["dropped"]) == (3 * 100 - 6, {"fits no row": 3})
  assert (second["read"], second["dropped"]) == (0, {})


@pytest.mark.parametrize(
  "damaged",
  [
    [],
    positions(3)[:2],
    [*reversed(positions(2))],
    [positions(2)[0], *positions(2, step=5)[1:]],
  ],
)
def test_positions_that_do_not_belong_together_are_refused(damaged):
  with pytest.raises(ValueError, match="one of every host at one step"):
    for_host(damaged, 0, 1)


def test_what_changed_is_named():
  (position,) = positions(1)
  position.require_same({"records": 7})
  with pytest.raises(ValueError, match=r"records 7 -> 8, seed None -> 1"):
    position.require_same({"records": 8, "seed": 1})
  renamed = dataclasses.replace(position, identity={"records a": 7})
  with pytest.raises(ValueError, match="records None -> 7, records a 7 -> None"):
    renamed.require_same({"records": 7})
