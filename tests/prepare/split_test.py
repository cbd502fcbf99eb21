import collections
import math

import hypothesis.strategies as st
import pytest
from hypothesis import given

from maxtext_ext.prepare.split import Split

KEYS = st.text(min_size=1, max_size=40)


@given(st.lists(st.integers(1, 99), min_size=1, max_size=4), st.integers(0, 2**31), KEYS)
def test_every_key_has_one_of_the_parts_and_keeps_it(weights, seed, key):
  shares = tuple((f"part{index}", each / sum(weights)) for index, each in enumerate(weights))
  split = Split(shares=shares, seed=seed)
  assert split.part_of(key) in split.parts
  assert Split(shares=shares, seed=seed).part_of(key) == split.part_of(key)


@given(st.lists(KEYS, unique=True, min_size=1), st.lists(KEYS, unique=True), st.randoms())
def test_adding_and_reordering_data_moves_nothing(first, added, random):
  split = Split()
  before = {key: split.part_of(key) for key in first}
  everything = [*first, *added]
  random.shuffle(everything)
  after = {key: split.part_of(key) for key in everything}
  assert {key: after[key] for key in first} == before


@given(KEYS, st.floats(0.01, 0.4), st.floats(0.01, 0.4))
def test_a_larger_last_share_keeps_what_it_had(key, one, other):
  small, large = sorted((one, other))
  narrow = Split(shares=(("train", 1 - small), ("validation", small)))
  wide = Split(shares=(("train", 1 - large), ("validation", large)))
  if narrow.part_of(key) == "validation":
    assert wide.part_of(key) == "validation"


@pytest.mark.parametrize("seed", [0, 1, 42])
def test_the_shares_come_out_within_four_standard_deviations(seed):
  split = Split(shares=(("train", 0.8), ("validation", 0.15), ("test", 0.05)), seed=seed)
  count = 20_000
  found = collections.Counter(split.part_of(f"clip-{index}") for index in range(count))
  for name, share in split.shares:
    deviation = math.sqrt(count * share * (1 - share))
    assert abs(found[name] - count * share) < 4 * deviation, name


def test_seeds_cut_independently():
  keys = [f"clip-{index}" for index in range(20_000)]
  chosen = [
    {key for key in keys if Split(seed=seed).part_of(key) == "validation"} for seed in (42, 43)
  ]
  expected = 0.05 * 0.05 * len(keys)
  assert abs(len(chosen[0] & chosen[1]) - expected) < 5 * math.sqrt(expected)


def test_these_keys_stay_where_they_were_published():
  """Data sets that were written with this split must keep it in every later version."""
  found = "".join(Split(seed=42).part_of(f"clip-{index}")[0] for index in range(60))
  assert found == PUBLISHED
  assert Split().part_of("\ud800") in ("train", "validation")


PUBLISHED = "ttttttttttttttttttttttvtttvttttttttttttttttttttttttttttttttt"


@pytest.mark.parametrize(
  "shares",
  [
    (),
    (("train", 0.9),),
    (("train", 0.9), ("validation", 0.2)),
    (("train", 1.0), ("validation", 0.0)),
    (("train", 1.5), ("validation", -0.5)),
    (("train", 0.5), ("train", 0.5)),
  ],
)
def test_shares_that_make_no_whole_are_refused(shares):
  with pytest.raises(ValueError, match="add up to 1"):
    Split(shares=shares)
