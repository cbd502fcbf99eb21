"""Positions: what each host uses, and how a run goes on, on the same hosts or others."""

import json
from collections import Counter

import pytest
from batches import assert_equal, numbers, take
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from inputs import with_keys

from maxtext_ext.input.filters import Filters
from maxtext_ext.input.mixture import MixtureOrder
from maxtext_ext.input.pipeline import SpecAugment, train_iterator
from maxtext_ext.input.position import Position, for_host

CLIPS = 48  # of conftest.py
NUMBERS = [str(number) for number in range(CLIPS)]
STEPS = 100


class Run:
  """All hosts of a run in one process."""

  def __init__(self, config, tokenizer, hosts, states=None):
    self.tokenizer = tokenizer
    self.hosts = [
      train_iterator(config, tokenizer, host_index=host, host_count=hosts, steps=STEPS)
      for host in range(hosts)
    ]
    if states is not None:
      for batches in self.hosts:
        batches.resume(states)

  def steps(self, count):
    """Numbers of the clips that so many steps of all hosts use."""
    return [
      number
      for _ in range(count)
      for batches in self.hosts
      for number in numbers(next(batches), self.tokenizer)
    ]

  def states(self):
    """Positions of all hosts, as a checkpoint holds them."""
    return [json.loads(json.dumps(batches.get_state())) for batches in self.hosts]

  def close(self):
    for batches in self.hosts:
      batches.close()


def unused(states):
  """The elements that no host has used below `end`, from which on nobody has read; and `end`."""
  alone = for_host([Position.from_json(state) for state in states], 0, 1)
  left = alone.first or alone.waiting
  return left, alone.next


@pytest.fixture(scope="module")
def clip_numbers(config, tokenizer):
  """Of the shards' records in their order: the numbers of their clips."""
  assert config.datasets.data_dir
  return [str(number) for number in [*range(0, CLIPS, 2), *range(1, CLIPS, 2)]]  # two shards


def clips_of(places, config, clip_numbers):
  order = MixtureOrder([CLIPS], [1], config.seed)
  return Counter(clip_numbers[order[place].record] for place in places)


def share_of_epoch(epoch, host, hosts):
  """Number of this host's elements in an epoch."""
  return len([p for p in range(epoch * CLIPS, (epoch + 1) * CLIPS) if p % hosts == host])


@pytest.mark.parametrize("hosts", [1, 2, 4, 5, 50])
def test_every_record_once_an_epoch_in_the_order_of_reading(config, tokenizer, hosts):
  """48 records on 5 hosts: three have 10 and two have 9; each goes on into its own next epoch."""
  one_a_row = with_keys(
    config, rows=1, packing_lookahead=1, read_threads=1, prefetch_batches=int(hosts < 10)
  )
  epochs = [[], []]
  for host in range(hosts):
    batches = train_iterator(one_a_row, tokenizer, host_index=host, host_count=hosts, steps=STEPS)
    shares = [share_of_epoch(epoch, host, hosts) for epoch in range(2)]
    stream = take(batches, sum(shares), tokenizer)
    epochs[0] += stream[: shares[0]]
    epochs[1] += stream[shares[0] :]
    assert batches.metrics()["input/epoch"] == pytest.approx(2, abs=hosts / CLIPS)
    batches.close()
  assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(NUMBERS)
  assert epochs[0] != epochs[1] and epochs[0] != NUMBERS  # shuffled, and again


@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_packing_and_reading_ahead_lose_and_repeat_nothing(config, tokenizer, hosts, clip_numbers):
  run, used = Run(config, tokenizer, hosts), []
  left, end = [0], 0
  while min(*left, end) < 2 * CLIPS:
    used += run.steps(1)
    left, end = unused(run.states())
  run.close()
  later = {*range(2 * CLIPS, end)} - {*left}
  assert Counter(used) - clips_of(later, config, clip_numbers) == dict.fromkeys(NUMBERS, 2)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
  stages=st.lists(st.tuples(st.integers(1, 4), st.integers(0, 6)), min_size=2, max_size=5),
  threads=st.sampled_from([(4, 3), (0, 0)]),
)
def test_nothing_is_lost_or_repeated_when_hosts_come_and_go(
  config, tokenizer, clip_numbers, stages, threads
):
  config = with_keys(config, read_threads=threads[0], prefetch_batches=threads[1])
  states, used = None, []
  for hosts, steps in stages:
    run = Run(config, tokenizer, hosts, states)
    used += run.steps(steps)
    states = run.states()
    run.close()
  left, end = unused(states)
  assert Counter(used) == clips_of({*range(end)} - {*left}, config, clip_numbers)
  # Every epoch before the first unused element has had each record once.
  epochs = min([*left, end]) // CLIPS
  assert all(Counter(used)[number] >= epochs for number in NUMBERS)


@pytest.mark.parametrize("hosts", [1, 3])
def test_hosts_that_stay_give_the_very_next_batches(config, tokenizer, hosts):
  run = Run(config, tokenizer, hosts)
  run.steps(7)
  again = Run(config, tokenizer, hosts, run.states())
  for batches, resumed in zip(run.hosts, again.hosts, strict=True):
    for _ in range(4):
      assert_equal(next(resumed), next(batches))


def test_what_was_taken_over_survives_the_next_kill(config, tokenizer):
  """Two hosts go on for four, and stop before they have used what those had left."""
  four = Run(with_keys(config, packing_lookahead=16), tokenizer, 4)
  four.steps(3)
  two = Run(with_keys(config, packing_lookahead=16), tokenizer, 2, four.states())
  two.steps(2)
  states = two.states()
  assert all(state["first"] for state in states)
  again = Run(with_keys(config, packing_lookahead=16), tokenizer, 2, states)
  for batches, resumed in zip(two.hosts, again.hosts, strict=True):
    for _ in range(8):
      assert_equal(next(resumed), next(batches))
  assert not any(state["first"] for state in again.states())


def test_what_was_left_comes_before_what_is_new(config, tokenizer, clip_numbers):
  config = with_keys(config, packing_lookahead=16)
  two = Run(config, tokenizer, 2)
  two.steps(1)
  left, _ = unused(two.states())
  (alone,) = Run(config, tokenizer, 1, two.states()).hosts
  first = numbers(next(alone), tokenizer)
  assert first[0] == clip_numbers[MixtureOrder([CLIPS], [1], config.seed)[left[0]].record]


@pytest.mark.parametrize(
  "threads",
  [{}, {"read_threads": 0}, {"prefetch_batches": 0}, {"read_threads": 0, "prefetch_batches": 0}],
)
def test_resume_is_bit_identical(config, tokenizer, threads):
  config = with_keys(
    config,
    spec_augment=SpecAugment(spec_augment_mels=20, spec_augment_frames=30),
    curriculum=((0.1, 1), (0.2, 2)),
    **threads,
  )
  batches = train_iterator(config, tokenizer, steps=60)
  states, expected = [], []
  for _ in range(24):  # across both ends of a stage and of an epoch
    states.append(json.dumps(batches.get_state()))
    expected.append(next(batches))
  assert json.loads(states[-1])["next"] > CLIPS
  assert len(states[-1]) < 1_000
  resumed = train_iterator(config, tokenizer, steps=60)
  for start in (0, 5, 6, 13, 22):  # also backwards and forwards on the same iterator
    next(resumed)
    resumed.set_state(json.loads(states[start]))
    assert json.dumps(resumed.get_state()) == states[start]
    for batch in expected[start : start + 4]:
      assert_equal(next(resumed), batch)


@pytest.mark.parametrize(
  "changes", [{"seed": 5}, {"max_tokens": 200}, {"windows_per_row": 3}, {"packing_lookahead": 9}]
)
def test_a_position_of_other_packing_is_refused(config, tokenizer, changes):
  state = train_iterator(config, tokenizer, steps=STEPS).get_state()
  other = train_iterator(with_keys(config, **changes), tokenizer, steps=STEPS)
  (name,) = changes
  with pytest.raises(ValueError, match=f"{name.removeprefix('packing_')} .* -> "):
    other.set_state(state)


def test_a_position_of_another_host_or_release_is_refused(config, tokenizer):
  batches = train_iterator(config, tokenizer, steps=STEPS)
  state = batches.get_state()
  two_hosts = train_iterator(config, tokenizer, steps=STEPS, host_count=2)
  with pytest.raises(ValueError, match="host 0 of 1, this is host 0 of 2"):
    two_hosts.set_state(state)
  del state["format"]
  for go_on in (lambda: batches.set_state(state), lambda: batches.resume([state])):
    with pytest.raises(ValueError, match="has format 1, this version reads 2"):
      go_on()


def test_counts_go_on_with_the_run(config, tokenizer, faulty_dir):
  config = with_keys(config, data_dir=faulty_dir, max_bad_fraction=1.0, packing_lookahead=2)
  two = Run(config, tokenizer, 2)
  two.steps(4)
  counts = sum((Counter(batches.dropped) for batches in two.hosts), Counter())
  three = Run(config, tokenizer, 3, two.states())
  assert [batches.dropped for batches in three.hosts] == [counts, {}, {}]
  assert counts["unreadable"] > 0
  assert three.hosts[0].metrics()["input/dropped"] == counts.total()


@pytest.mark.parametrize("hosts", [1, 2])
def test_what_waits_and_a_new_filter_leaves_out_is_dropped_and_counted(config, tokenizer, hosts):
  run = Run(config, tokenizer, 1)
  run.steps(2)
  (state,) = run.states()
  waiting = len(state["waiting"])
  stricter = with_keys(config, filters=Filters(max_seconds=5.0, min_characters=4))
  again = Run(stricter, tokenizer, hosts, [state])
  again.steps(1)
  dropped = sum(batches.dropped["outside min_characters"] for batches in again.hosts)
  assert dropped > 0
  left = [element for later in again.states() for element in later["waiting"]]
  assert waiting and len(left) <= 8 * hosts


def test_the_only_usable_record_may_be_first_in_one_epoch_and_last_in_the_next(
  config, tokenizer, make_record, write_split, tmp_path
):
  records = [make_record(0, text="a" * 20), *(make_record(number) for number in range(1, 12))]
  write_split(tmp_path, "train", records)
  filters = Filters(max_seconds=5.0, min_characters=20)
  only = with_keys(config, data_dir=str(tmp_path), filters=filters, packing_lookahead=1, rows=1)
  (batches,) = Run(only, tokenizer, 1).hosts
  for _ in range(40):
    next(batches)
