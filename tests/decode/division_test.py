"""Division of clips among shards and hosts: each clip once, by its id alone."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.decode import division
from maxtext_ext.decode.division import Division, share_of_host

IDS = st.lists(st.text(max_size=4), min_size=1, max_size=60)


@given(ids=IDS, clips_per_shard=st.integers(1, 20))
def test_every_clip_is_in_one_shard(ids: list[str], clips_per_shard: int):
  divided = Division.of(ids, clips_per_shard)
  shards = [divided.places(shard) for shard in range(divided.shards)]
  assert sorted(place for shard in shards for place in shard) == list(range(len(ids)))
  sizes = [len(shard) for shard in shards]
  assert min(sizes) >= 1 and max(sizes) <= min(sizes) + 1 <= clips_per_shard + 1
  assert max(sizes) <= clips_per_shard
  assert all(shard == sorted(shard) for shard in shards)


@given(ids=st.sets(st.text(max_size=4), min_size=1), seed=st.integers(0, 9))
def test_the_order_of_the_source_does_not_matter(ids: set[str], seed: int):
  listed = sorted(ids)
  other = random.Random(seed).sample(listed, len(listed))
  first, second = (Division.of(order, 5) for order in (listed, other))
  assert first.digest == second.digest
  for shard in range(first.shards):
    assert {listed[i] for i in first.places(shard)} == {other[i] for i in second.places(shard)}


@given(ids=st.sets(st.text(max_size=4), min_size=2))
def test_other_ids_have_another_digest(ids: set[str]):
  listed = sorted(ids)
  digests = {Division.of(some, 5).digest for some in (listed, listed[1:], [*listed, listed[0]])}
  assert len(digests) == 3


@given(shards=st.lists(st.integers(), unique=True), hosts=st.integers(1, 9))
def test_hosts_share_all_shards(shards: list[int], hosts: int):
  shares = [share_of_host(shards, host, hosts) for host in range(hosts)]
  assert sorted(shard for share in shares for shard in share) == sorted(shards)
  sizes = [len(share) for share in shares]
  assert max(sizes) <= min(sizes) + 1


def test_there_are_no_more_shards_than_names(monkeypatch: pytest.MonkeyPatch):
  monkeypatch.setattr(division, "MOST_SHARDS", 7)
  divided = Division.of([str(number) for number in range(100)], 2)
  assert divided.shards == 7
  assert sum(len(divided.places(shard)) for shard in range(7)) == 100
