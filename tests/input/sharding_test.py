import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.input.sharding import HostShard, reshard


@pytest.mark.parametrize(
  ("share", "elements"),
  [
    (HostShard.of_host(1, 3), [1, 4, 7, 10]),
    (HostShard((2, 5, 9), 12, 4), [2, 5, 9, 12, 16]),
    (HostShard((), 0, 1, end=3), [0, 1, 2]),
    (HostShard((), 7, 2, end=6), []),
  ],
)
def test_elements_of_a_share(share, elements):
  assert [share[i] for i in range(min(len(share), len(elements)))] == elements
  for count in range(len(elements)):
    rest = share.after(count)
    assert len(rest) == len(share) - count or len(share) > 2**60
    assert [rest[i] for i in range(len(elements) - count)] == elements[count:]


def test_a_share_ends_only_where_it_is_told():
  assert len(HostShard.of_host(3, 4)) > 10**17
  assert len(HostShard((1, 2), 5, 4, end=10)) == 4


# Of each stage of a run: how many elements each host reads, and how many of those read still wait.
STAGES = st.lists(
  st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9)), min_size=1, max_size=5),
  min_size=1,
  max_size=5,
)


@given(stages=STAGES)
def test_nothing_is_lost_or_read_twice_whatever_the_hosts(stages):
  shares, waiting, used = [HostShard.of_host(0, 1)], [], []
  for stage in stages:
    shares = [reshard(shares, waiting, host, len(stage)) for host in range(len(stage))]
    waiting = []
    for host, (count, kept) in enumerate(stage):
      read = [shares[host][i] for i in range(count)]
      shares[host] = shares[host].after(count)
      waiting += read[max(0, count - kept) :]
      used += read[: max(0, count - kept)]
  assert len(used) == len(set(used))
  alone = reshard(shares, waiting, 0, 1)
  assert list(alone.first) == sorted(alone.first)
  assert sorted([*used, *alone.first]) == list(range(alone.next))
  assert alone.stride == 1


@given(hosts=st.integers(1, 6), taken=st.lists(st.integers(0, 20), min_size=6, max_size=6))
def test_what_was_left_is_read_before_anything_new_and_by_all(hosts, taken):
  old = [HostShard.of_host(host, 6).after(taken[host]) for host in range(6)]
  new = [reshard(old, [], host, hosts) for host in range(hosts)]
  foremost = max(share.next for share in old)
  assert sorted(share.next for share in new) == [foremost + host for host in range(hosts)]
  assert all(element < foremost for share in new for element in share.first)
  lengths = [len(share.first) for share in new]
  assert max(lengths) - min(lengths) <= 1
  merged = itertools.zip_longest(*(share.first for share in new))
  in_turn = [element for turn in merged for element in turn if element is not None]
  assert in_turn == sorted(in_turn), "the oldest first, in turn"
