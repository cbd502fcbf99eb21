import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maxtext_ext.input.datasets import Datasets, NamedData
from maxtext_ext.input.mixture import Element, MixtureOrder, SequentialOrder

BLOCK = 1024
GOLDEN_SMALL = [(1, 16, 6), (0, 111, 0), (1, 16, 21), (0, 112, 1), (1, 16, 1), (1, 16, 34)]
GOLDEN_LARGE = [2658, 72547, 847618, 779859]
SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=4)


@settings(max_examples=20)
@given(lengths=SIZES, seed=st.integers(0, 2**31), data=st.data())
def test_each_dataset_is_read_from_end_to_end_again_and_again(lengths, seed, data):
  proportions = data.draw(
    st.lists(st.integers(1, 20), min_size=len(lengths), max_size=len(lengths))
  )
  order = MixtureOrder(lengths, proportions, seed)
  elements = [order[place] for place in range(2 * BLOCK)]
  for dataset, length in enumerate(lengths):
    mine = [e for e in elements if e.dataset == dataset]
    assert [e.epoch for e in mine] == [turn // length for turn in range(len(mine))]
    for epoch in itertools.batched(mine, length):
      assert len({e.record for e in epoch}) == len(epoch)
      assert {e.record for e in epoch} <= set(range(length))
    assert order.epochs(2 * BLOCK)[dataset] == len(mine) / length


@settings(max_examples=20)
@given(
  proportions=st.lists(st.integers(1, 10**13), min_size=1, max_size=5), blocks=st.integers(1, 9)
)
def test_each_dataset_has_its_share_of_every_block(proportions, blocks):
  order = MixtureOrder([7] * len(proportions), proportions, seed=1)
  met = Counter()
  for block in range(blocks):
    met.update(order[place].dataset for place in range(block * BLOCK, (block + 1) * BLOCK))
    for dataset, proportion in enumerate(proportions):
      expected = (block + 1) * BLOCK * proportion / sum(proportions)
      assert abs(met[dataset] - expected) < len(proportions)


def test_a_single_dataset_is_a_new_permutation_in_every_epoch():
  order = MixtureOrder([50], [1], seed=3)
  elements = [order[place] for place in range(150)]
  epochs = [elements[i : i + 50] for i in (0, 50, 100)]
  for number, epoch in enumerate(epochs):
    assert {e.epoch for e in epoch} == {number}
    assert sorted(e.record for e in epoch) == list(range(50))
  records = [tuple(e.record for e in epoch) for epoch in epochs]
  assert len({*records, tuple(range(50))}) == 4
  assert [MixtureOrder([50], [7], seed=3)[place] for place in range(150)] == elements
  assert [MixtureOrder([50], [1], seed=4)[place] for place in range(150)] != elements


def test_every_host_meets_every_dataset_in_proportion():
  """Two datasets in turns would give two hosts one dataset each."""
  order = MixtureOrder([1_000, 1_000, 100], [1, 1, 2], seed=0)
  for hosts, host in itertools.chain(*([(h, i) for i in range(h)] for h in (2, 4, 8))):
    met = Counter(order[place].dataset for place in range(host, 16 * BLOCK, hosts))
    shares = [met[dataset] / sum(met.values()) for dataset in range(3)]
    assert shares == pytest.approx([0.25, 0.25, 0.5], abs=0.04), (host, hosts)


def test_datasets_of_one_length_are_shuffled_apart():
  order = MixtureOrder([100, 100], [1, 1], seed=0)
  elements = [order[place] for place in range(BLOCK)]
  first, second = ([e.record for e in elements if e.dataset == d][:100] for d in range(2))
  assert first != second


@pytest.mark.parametrize("length", [1, 2, 1_000, 2**14, 2**14 + 1])
def test_permutations_of_any_length(length):
  order = MixtureOrder([length], [1], seed=0)
  records = {order[place].record for place in range(length, 2 * length)}
  assert records == set(range(length))


def test_the_order_is_that_of_earlier_releases():
  """Else a run would go on in another order than it began, and nobody would notice."""
  small, large = MixtureOrder([3, 40], [1, 2], seed=5), MixtureOrder([10**6], [1], seed=5)
  assert [tuple(small[place]) for place in range(1_000, 1_006)] == GOLDEN_SMALL
  assert [large[place].record for place in (0, 1, 10**6, 10**7)] == GOLDEN_LARGE


def test_by_length_all_end_their_epochs_together():
  lengths = (700, 48, 276)  # 1024 in all: a block
  data = [NamedData(name=name, data_dir="x") for name in "abc"]
  proportions = Datasets(mixture=data).proportions(lengths)
  order = MixtureOrder(lengths, proportions, seed=5)
  elements = [order[place] for place in range(BLOCK)]
  assert {e.epoch for e in elements} == {0}
  assert len(set(elements)) == BLOCK


def test_in_turn():
  order = SequentialOrder(8)
  assert [order[place] for place in range(2)] == [Element(0, 0, 0), Element(0, 0, 1)]
  assert order.epochs(4) == (0.5,)
