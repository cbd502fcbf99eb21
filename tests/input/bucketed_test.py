"""Bucketed batches: rows of one clip, of about one length in a batch."""

import dataclasses
import json
from collections import Counter

import pytest
from batches import assert_equal
from hypothesis import given
from hypothesis import strategies as st
from inputs import with_keys

from maxtext_ext.input.bucketed import bucket_windows, bucketed_fill, bucketed_spec
from maxtext_ext.input.curriculum import Curriculum
from maxtext_ext.input.epochs import steps_of
from maxtext_ext.input.filters import Filters
from maxtext_ext.input.layouts import LAYOUTS
from maxtext_ext.input.pipeline import eval_iterator, train_iterator
from maxtext_ext.text.alphabet import Alphabet

CLIPS = 48  # of conftest.py
NAMES = [f"clip{number}" for number in range(CLIPS)]


@pytest.fixture(scope="module")
def alphabet():
  return Alphabet(" 0123456789abc")


@pytest.fixture(scope="module")
def bucketed(config):
  """Two rows of clips of 0.5 to 3 s, in windows of 1 s."""
  seconds = dataclasses.replace(config.geometry, chunks_per_window=1)
  letters = with_keys(config, template="letters", audio_dtype="int16")
  return dataclasses.replace(letters, layout="bucketed", geometry=seconds, max_tokens=16)


def hosts_of(config, alphabet, hosts, states=None):
  made = [
    train_iterator(config, alphabet, steps=1, host_index=host, host_count=hosts)
    for host in range(hosts)
  ]
  for iterator in made if states else ():
    iterator.resume(states)
  return made


def take(iterators, steps):
  """Ids of the records in so many steps of all hosts."""
  used = []
  for _ in range(steps):
    shapes = set()
    for iterator in iterators:
      shapes.add(next(iterator)["samples"].shape)
      used += iterator.records
    assert len(shapes) == 1, "the hosts run one program"
  return used


def states_of(iterators):
  return [json.loads(json.dumps(iterator.get_state())) for iterator in iterators]


@given(windows=st.integers(1, 10_000))
def test_buckets_are_few_and_leave_at_most_a_third_empty(windows):
  bucket = bucket_windows(windows)
  assert windows <= bucket <= windows * 3 / 2
  assert bucket_windows(bucket) == bucket


def test_batches_are_as_specified_and_hold_their_clips(bucketed, alphabet, make_record):
  (iterator,) = hosts_of(bucketed, alphabet, 1)
  shapes = set()
  for _ in range(12):
    batch = next(iterator)
    windows = batch["samples"].shape[1]
    spec = bucketed_spec(bucketed, 2, windows)
    assert {name: (a.shape, a.dtype.name) for name, a in batch.items()} == {
      name: (a.shape, a.dtype) for name, a in spec.items()
    }
    shapes.add(windows)
    for row, name in enumerate(iterator.records):
      clip = make_record(int(name.removeprefix("clip")))
      counted = batch["targets_segmentation"][row] != 0
      assert alphabet.decode(batch["targets"][row, counted].tolist()) == clip.text
      assert not batch["targets"][row, ~counted].any()
      assert batch["chunk_frames"][row].sum() == len(clip.audio) // 160
      assert bucket_windows(int((batch["chunk_segment"][row] != 0).sum())) == windows
    assert bucketed_fill(batch).chunk_fill >= 2 / 3
  assert shapes == {1, 2, 3}
  largest = LAYOUTS["bucketed"].batch_spec(bucketed, 2)["samples"].shape
  assert largest[1] == bucket_windows(5), "max_seconds=5"


@pytest.mark.parametrize("hosts", [1, 2, 3])
def test_every_record_once_an_epoch_on_one_of_the_hosts(bucketed, alphabet, hosts):
  bucketed = dataclasses.replace(bucketed, rows=1, prefetch_batches=0)
  iterators = hosts_of(bucketed, alphabet, hosts)
  used = Counter()
  while (state := states_of(iterators)[0])["next"] < 2 * CLIPS:
    used.update(take(iterators, 1))
  # What waits, and what of the third epoch was read, is not counted yet or once more.
  assert set(used) == set(NAMES)
  assert used.total() + len(state["waiting"]) == state["next"]
  assert max(used.values()) <= 3 and used.total() >= 2 * CLIPS - 3 * hosts


@pytest.mark.parametrize("hosts", [1, 2])
def test_a_run_goes_on_bit_for_bit(bucketed, alphabet, hosts):
  iterators = hosts_of(bucketed, alphabet, hosts)
  take(iterators, 7)
  resumed = hosts_of(bucketed, alphabet, hosts, states_of(iterators))
  for before, after in zip(iterators, resumed, strict=True):
    for _ in range(8):
      assert_equal(next(after), next(before))
      assert after.records == before.records


def test_other_hosts_with_the_same_global_batch_go_on_with_the_same_clips(bucketed, alphabet):
  two = hosts_of(bucketed, alphabet, 2)
  take(two, 5)
  states = states_of(two)
  one_row = dataclasses.replace(bucketed, rows=1)
  four = hosts_of(one_row, alphabet, 4, states)
  assert take(four, 9) == take(two, 9)


def test_another_seed_gives_another_order(bucketed, alphabet):
  orders = {
    tuple(take(hosts_of(dataclasses.replace(bucketed, seed=seed), alphabet, 1), 5))
    for seed in (0, 0, 1)
  }
  assert len(orders) == 2


@pytest.mark.parametrize("hosts", [1, 2, 5])
def test_evaluation_has_every_clip_once_and_as_many_batches_on_each_host(bucketed, alphabet, hosts):
  names, counts = [], set()
  for host in range(hosts):
    iterator = eval_iterator(bucketed, alphabet, host_index=host, host_count=hosts)
    batches = [iterator.records for _ in iterator]
    counts.add(len(batches))
    names += [name for records in batches for name in records]
  assert len(counts) == 1
  assert sorted(names) == sorted(NAMES)


def test_drops_are_counted_once_over_all_hosts(bucketed, alphabet, faulty_dir):
  keys = {"data_dir": faulty_dir, "min_seconds": 0.3, "max_bad_fraction": 1.0}
  config = with_keys(bucketed, **keys)
  dropped, names = Counter(), []
  for host in range(2):
    iterator = eval_iterator(config, alphabet, host_index=host, host_count=2)
    for _ in iterator:
      names += iterator.records
    dropped.update(iterator.dropped)
  assert sorted(names) == [f"clip{number}" for number in range(6)]
  assert dropped == {
    "outside min_seconds": 1,
    "outside max_seconds": 1,
    "unusable": 1,
    "fits no row": 1,
    "unreadable": 2,
  }


def test_a_slowed_clip_fits_its_bucket(bucketed, alphabet):
  slow = with_keys(bucketed, speed_range=(0.5, 0.9))
  (iterator,) = hosts_of(slow, alphabet, 1)
  assert sorted(set(take([iterator], 60))) == sorted(NAMES)


def test_steps_of_epochs(bucketed, alphabet):
  assert steps_of(3.0, bucketed, alphabet, rows=4) == 3 * CLIPS / 4
  with pytest.raises(ValueError, match="none of 48 records can be used"):
    none = dataclasses.replace(bucketed, filters=Filters(min_seconds=4.0, max_seconds=5.0))
    steps_of(3.0, none, alphabet, rows=4)


def test_a_curriculum_is_refused(bucketed):
  with pytest.raises(ValueError, match="curriculum"):
    dataclasses.replace(bucketed, curriculum=Curriculum(curriculum=[(0.5, 2)]))
