"""Bucketed batches: rows of one clip, of about one length in a batch."""

import dataclasses
import json
from collections import Counter

import pytest
from batches import assert_equal
from inputs import with_keys

from maxtext_ext.input.bucketed import bucketed_fill, bucketed_spec
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
      assert (batch["chunk_segment"][row] != 0).sum() == windows, "whole seconds have a bucket each"
    assert bucketed_fill(batch).chunk_fill == 1
  assert shapes == {1, 2, 3}
  largest = LAYOUTS["bucketed"].batch_spec(bucketed, 2)["samples"].shape
  assert largest[1] == 5, "max_seconds=5"


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


@pytest.mark.parametrize("seconds", [0.0, 6.0])
@pytest.mark.parametrize("hosts", [1, 2])
def test_a_run_goes_on_bit_for_bit(bucketed, alphabet, hosts, seconds):
  bucketed = with_keys(bucketed, per_device_batch_seconds=seconds, speed_range=(0.8, 1.2))
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


def test_rows_are_as_long_as_their_clips_at_the_speed_of_their_epoch(bucketed, alphabet):
  fine = dataclasses.replace(bucketed.geometry, frames_per_chunk=8, min_samples=1_600)
  keys = {"speed_range": (0.5, 1.5), "per_device_batch_seconds": 6.0, "geometry": fine}
  (iterator,) = hosts_of(with_keys(bucketed, **keys), alphabet, 1)
  names, fills, seconds = set(), [], []
  for _ in range(60):
    fill = bucketed_fill(next(iterator))
    names |= set(iterator.records)
    fills.append(fill.chunk_fill)
    seconds.append(fill.audio_seconds / fill.chunk_fill)
  assert names == set(NAMES)
  assert sum(fills) / len(fills) > 0.95
  assert min(seconds) > 3 and max(seconds) <= 6.1


@pytest.mark.parametrize("hosts", [1, 2])
def test_clips_that_cannot_be_aligned_are_left_out_and_named(
  bucketed, alphabet, tmp_path, make_record, write_split, hosts
):
  # Half a second gives 7 tokens: 4 letters need them, with a blank between equal ones.
  texts = {"fits": "aabb", "short": "aaaaa", "long": "aaaabbbb"}
  clips = [
    make_record(i, seconds=0.5, sample_id=k, text=t) for i, (k, t) in enumerate(texts.items())
  ]
  write_split(tmp_path, "train", clips)
  config = with_keys(bucketed, data_dir=str(tmp_path), prefetch_batches=0)
  iterators = hosts_of(config, alphabet, hosts)
  named = []
  for _ in range(2):
    assert set(take(iterators, 1)) == {"fits"}
    (once,) = {each.unaligned for each in iterators}
    named += [drop.sample_id for drop in once]
  assert set(named) == {"short", "long"}
  dropped = [each.dropped.get("cannot be aligned", 0) for each in iterators]
  assert sum(dropped) == len(named), "counted once, over all hosts"
  assert "0.5 s give 7 frames, and its targets need 9" in str([d.detail for d in once])


def test_steps_of_epochs(bucketed, alphabet):
  assert steps_of(3.0, bucketed, alphabet, rows=4) == 3 * CLIPS / 4
  with pytest.raises(ValueError, match="none of 48 records can be used"):
    none = dataclasses.replace(bucketed, filters=Filters(min_seconds=4.0, max_seconds=5.0))
    steps_of(3.0, none, alphabet, rows=4)


def test_a_curriculum_is_refused(bucketed):
  with pytest.raises(ValueError, match="curriculum"):
    dataclasses.replace(bucketed, curriculum=Curriculum(curriculum=[(0.5, 2)]))
