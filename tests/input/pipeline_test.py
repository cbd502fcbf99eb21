import dataclasses
import itertools
import json
import types

import numpy as np
import pytest

from maxtext_ext.input.pipeline import (
  InputConfig,
  SpecAugment,
  decode_iterator,
  eval_iterator,
  fill,
  train_iterator,
)
from maxtext_ext.records.schema import encode_example
from maxtext_ext.text.prompt import parse_output

CLIPS = 48  # of conftest.py
NUMBERS = [str(number) for number in range(CLIPS)]
STEPS = 100


@pytest.fixture(scope="module")
def config(data_dir):
  return InputConfig(
    data_dir=data_dir, rows=2, max_tokens=160, windows_per_row=2, max_seconds=5.0, lookahead=8
  )


def one_a_row(config, **changes):
  """Rows of one clip each, in the order of the stream."""
  return dataclasses.replace(config, lookahead=1, rows=1, **changes)


def texts(batch, tokenizer):
  """Transcripts in a batch, row by row."""
  found = []
  for targets, counted in zip(batch["targets"], batch["targets_segmentation"], strict=True):
    for segment in range(1, counted.max() + 1):
      answer = tokenizer.decode(targets[counted == segment].tolist())
      found.append(parse_output(answer)[1])
  return found


def numbers(batch, tokenizer):
  """Numbers of the clips in a batch."""
  return [text.split()[-1] for text in texts(batch, tokenizer)]


def take(iterator, count, tokenizer):
  """Numbers of at least `count` clips."""
  found = []
  while len(found) < count:
    found += numbers(next(iterator), tokenizer)
  return found


def assert_equal(batch, other):
  assert batch.keys() == other.keys()
  for key, value in batch.items():
    assert value.dtype == other[key].dtype
    np.testing.assert_array_equal(value, other[key], err_msg=key)


@pytest.mark.parametrize("hosts", [1, 2, 4, 5])
def test_every_record_once_an_epoch_over_all_hosts(config, tokenizer, hosts):
  """48 records on 5 hosts: three have 10 and two have 9; each goes on into its own next epoch."""
  epochs = [[], []]
  for host in range(hosts):
    batches = train_iterator(
      one_a_row(config), tokenizer, host_index=host, host_count=hosts, steps=STEPS
    )
    share = len(range(host, CLIPS, hosts))
    stream = take(batches, 2 * share, tokenizer)
    assert len(stream) == 2 * share
    epochs[0] += stream[:share]
    epochs[1] += stream[share:]
    assert batches.get_state()["epoch"] == 2
    batches.close()
  assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(NUMBERS)
  assert epochs[0] != epochs[1] and epochs[0] != NUMBERS  # shuffled, and again


def test_packing_across_epochs_loses_and_repeats_nothing(config, tokenizer):
  batches = train_iterator(config, tokenizer, steps=STEPS)
  found = []
  while min((state := batches.get_state())["waiting"], default=0) < 2 * CLIPS:
    found += numbers(next(batches), tokenizer)
  assert len(found) == state["position"] - len(state["waiting"])
  counts = [found.count(number) for number in NUMBERS]
  assert min(counts) == 2 and max(counts) <= 3  # two whole epochs, and a part of the third


def test_rows_are_packed(config, tokenizer):
  batches = train_iterator(config, tokenizer, steps=STEPS)
  filled = [fill(next(batches)) for _ in range(20)]
  assert np.mean([f.token_fill for f in filled]) > 0.8


def test_same_seed_same_batches(config, tokenizer):
  first, second = (train_iterator(config, tokenizer, steps=STEPS) for _ in range(2))
  other = train_iterator(dataclasses.replace(config, seed=1), tokenizer, steps=STEPS)
  different = False
  for _ in range(5):
    batch = next(first)
    assert_equal(batch, next(second))
    different |= not np.array_equal(batch["inputs"], next(other)["inputs"])
  assert different


@pytest.mark.parametrize(
  "threads",
  [{}, {"read_threads": 0}, {"prefetch_batches": 0}, {"read_threads": 0, "prefetch_batches": 0}],
)
def test_resume_is_bit_identical(config, tokenizer, threads):
  config = dataclasses.replace(
    config,
    spec_augment=SpecAugment(mel_width=20, frame_width=30),
    curriculum=((0.1, 1), (0.2, 2)),
    **threads,
  )
  batches = train_iterator(config, tokenizer, steps=60)
  states, expected = [], []
  for _ in range(24):  # across both ends of a stage and of an epoch
    states.append(json.dumps(batches.get_state()))
    expected.append(next(batches))
  assert json.loads(states[-1])["epoch"] >= 1
  assert len(states[-1]) < 1_000
  resumed = train_iterator(config, tokenizer, steps=60)
  for start in (0, 5, 6, 13, 22):  # also backwards and forwards on the same iterator
    next(resumed)
    resumed.set_state(json.loads(states[start]))
    assert json.dumps(resumed.get_state()) == states[start]
    for batch in expected[start : start + 4]:
      assert_equal(next(resumed), batch)


@pytest.mark.parametrize(
  "changes", [{"seed": 5}, {"max_tokens": 200}, {"windows_per_row": 3}, {"lookahead": 9}]
)
def test_a_position_of_other_packing_is_refused(config, tokenizer, changes):
  state = train_iterator(config, tokenizer, steps=STEPS).get_state()
  other = train_iterator(dataclasses.replace(config, **changes), tokenizer, steps=STEPS)
  with pytest.raises(ValueError, match=f"{next(iter(changes))} .* -> "):
    other.set_state(state)
  two_hosts = train_iterator(config, tokenizer, steps=STEPS, host_count=2)
  with pytest.raises(ValueError, match="hosts 1 -> 2"):
    two_hosts.set_state(state)


def test_curriculum(config, tokenizer):
  """Until step floor(0.1 * 55) = 5 one word, then until step 11 two, then all."""
  config = dataclasses.replace(config, curriculum=((0.1, 1), (0.2, 2)), lookahead=2)
  batches = train_iterator(config, tokenizer, steps=55)
  longest = [max(len(text.split()) for text in texts(next(batches), tokenizer)) for _ in range(30)]
  assert longest[:5] == [1] * 5
  assert max(longest[5:11]) == 2
  assert max(longest[11:]) == 3


def test_a_stage_without_any_text_is_an_error(
  config, tokenizer, tmp_path, make_record, write_split
):
  write_split(tmp_path, "train", [make_record(2), make_record(5)])  # three words each
  config = dataclasses.replace(config, data_dir=str(tmp_path), curriculum=((0.5, 2),))
  with pytest.raises(ValueError, match=r"no utterance to use with at most 2 words \(curriculum\)"):
    next(train_iterator(config, tokenizer, steps=STEPS))


@pytest.fixture(scope="module")
def faulty_dir(tmp_path_factory, make_record, write_split):
  directory = tmp_path_factory.mktemp("faulty")
  good = [make_record(number) for number in range(6)]
  nan = make_record(6)
  nan.audio[100] = np.nan
  bad = [
    b"no example",
    make_record(7, seconds=0.2),
    make_record(8, seconds=5.5),
    nan,
    make_record(9, text="a" * 150),
    encode_example(make_record(10))[:-1_000],
  ]
  write_split(directory, "train", [*bad, *good])
  return str(directory)


DROPPED = {
  "outside min_seconds": 1,
  "outside max_seconds": 1,
  "unusable": 1,
  "fits no row": 1,
  "unreadable": 2,
}


def test_bad_records_are_dropped_and_counted(config, tokenizer, faulty_dir):
  config = dataclasses.replace(config, data_dir=faulty_dir, min_seconds=0.3)
  batches = eval_iterator(config, tokenizer)
  found = list(itertools.chain(*(numbers(batch, tokenizer) for batch in batches)))
  assert sorted(found) == ["0", "1", "2", "3", "4", "5"]
  assert batches.dropped == DROPPED
  endless = train_iterator(one_a_row(config), tokenizer, steps=STEPS)
  assert set(take(endless, 6, tokenizer)) == set(found)
  assert take(endless, 6, tokenizer)
  assert endless.dropped.keys() == DROPPED.keys()


@pytest.mark.parametrize("windows", [0, 2])
def test_data_without_a_usable_record_is_an_error(
  config, tokenizer, tmp_path, make_record, write_split, windows
):
  write_split(tmp_path, "train", [make_record(1, seconds=0.2)])
  config = dataclasses.replace(
    config, data_dir=str(tmp_path), min_seconds=0.3, windows_per_row=windows
  )
  with pytest.raises(ValueError, match="min_seconds"):
    next(train_iterator(config, tokenizer, steps=STEPS))


def test_spec_augment_is_new_in_each_epoch_and_the_same_on_any_host(config, tokenizer):
  config = one_a_row(config, spec_augment=SpecAugment(mel_width=40, frame_width=60))

  def masks_of_epochs(host, hosts):
    batches = train_iterator(config, tokenizer, host_index=host, host_count=hosts, steps=STEPS)
    for epoch, _ in itertools.product(range(2), range(CLIPS // hosts)):
      batch = next(batches)
      (number,) = numbers(batch, tokenizer)
      yield (epoch, number), batch["chunk_mask"].tobytes()

  alone = dict(masks_of_epochs(0, 1))
  shared = dict(itertools.chain(masks_of_epochs(0, 2), masks_of_epochs(1, 2)))
  assert alone == shared
  assert sum(alone[0, number] == alone[1, number] for number in NUMBERS) < 3
  assert not next(eval_iterator(config, tokenizer))["chunk_mask"].any()


@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_evaluation_sees_every_record_once_in_the_same_rows(config, tokenizer, hosts):
  iterators = [
    eval_iterator(config, tokenizer, "train", host_index=host, host_count=hosts)
    for host in range(hosts)
  ]
  batches = [list(iterator) for iterator in iterators]
  assert len({len(of_host) for of_host in batches}) == 1
  found = [numbers(batch, tokenizer) for of_host in batches for batch in of_host]
  assert sorted(itertools.chain(*found)) == sorted(NUMBERS)
  rows = [row.tobytes() for of_host in batches for batch in of_host for row in batch["inputs"]]
  alone = [row.tobytes() for batch in eval_iterator(config, tokenizer) for row in batch["inputs"]]
  empty = np.full(config.max_tokens, tokenizer.pad_id, np.int32).tobytes()
  assert {*rows} - {empty} == {*alone} - {empty}


def test_evaluation_goes_on_from_its_position(config, tokenizer):
  batches = eval_iterator(config, tokenizer)
  next(batches)
  state = json.dumps(batches.get_state())
  rest = list(batches)
  again = eval_iterator(config, tokenizer)
  again.set_state(json.loads(state))
  for batch, expected in itertools.zip_longest(again, rest):
    assert_equal(batch, expected)


@pytest.mark.parametrize("hosts", [1, 2])
def test_decoding_gives_every_clip_once(config, tokenizer, hosts):
  config = dataclasses.replace(config, rows=5, audio_dtype="int16", max_seconds=1.0)
  seen, shapes = {}, []
  for host in range(hosts):
    batches = decode_iterator(config, tokenizer, "train", host_index=host, host_count=hosts)
    all_batches = list(batches)
    assert len(all_batches) == len(batches)
    shapes.append([batch.arrays["samples"].shape for batch in all_batches])
    for batch in all_batches:
      assert batch.arrays["samples"].dtype == np.int16
      real = batch.arrays["inputs_segmentation"].any(axis=1)
      assert real.tolist() == [row < len(batch.utterances) for row in range(5)]
      for row, info in enumerate(batch.utterances):
        length = batch.arrays["inputs_segmentation"][row].sum()
        prompt = batch.arrays["inputs"][row, :length]
        assert prompt[-1] != tokenizer.im_end_id  # the answer is not there
        seen[info.id] = (info.reference.split()[-1], info.dataset, info.language)
  assert seen == {f"clip{n}": (str(n), "noise", ("English", "Hebrew")[n % 2]) for n in range(CLIPS)}
  assert all(shape == shapes[0] for shape in shapes)


def test_decoding_counts_what_it_cannot_read(config, tokenizer, faulty_dir):
  config = dataclasses.replace(config, data_dir=faulty_dir, min_seconds=0.3)
  batches = decode_iterator(config, tokenizer)
  assert sum(len(batch.utterances) for batch in batches) == 9  # of any length
  assert batches.dropped == {"unreadable": 2, "unusable": 1}


def test_windows_are_chosen_from_the_data(config, tokenizer):
  """Some 35 tokens and 2.3 chunks a clip: in 320 tokens 9 clips, and their 21 chunks."""
  config = dataclasses.replace(config, windows_per_row=0, max_tokens=320, max_seconds=16.0)
  chosen = {
    train_iterator(config, tokenizer, steps=STEPS, host_index=host, host_count=2).windows_per_row
    for host in range(2)
  }
  assert chosen <= {2, 3} and len(chosen) == 1
  batch = next(eval_iterator(config, tokenizer))
  assert batch["samples"].shape[1] in chosen


def test_from_config_reads_the_keys_of_a_run():
  config = types.SimpleNamespace(
    data_dir="d",
    max_target_length=512,
    windows_per_row=3,
    min_seconds=0.5,
    max_seconds=20.0,
    data_shuffle_seed=7,
    packing_lookahead=64,
    audio_dtype="int16",
    language_in_prompt=True,
    context="c",
    spec_augment_mels=10,
    spec_augment_frames=8,
    num_mel_bins_for_audio=80,
    curriculum=[[0.18, 1], [0.3, 2]],
  )
  got = InputConfig.from_config(config, split="train", rows=4)
  assert got == InputConfig(
    data_dir="d",
    split="train",
    rows=4,
    max_tokens=512,
    windows_per_row=3,
    min_seconds=0.5,
    max_seconds=20.0,
    seed=7,
    lookahead=64,
    audio_dtype="int16",
    language_in_prompt=True,
    context="c",
    spec_augment=SpecAugment(mel_width=10, frame_width=8, mel_bins=80),
    curriculum=((0.18, 1), (0.3, 2)),
  )
  assert got.for_split("test") == dataclasses.replace(got, split="test")
  assert [got.max_words(step, 100) for step in (0, 17, 18, 29, 30)] == [1, 1, 2, 2, None]


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"rows": 0}, "rows=0"),
    ({"min_seconds": 6.0}, "min_seconds=6"),
    ({"max_seconds": 60.0}, "780 audio tokens, which no row of max_tokens=160"),
    ({"curriculum": ((0.3, 2), (0.2, 3))}, "curriculum"),
    ({"curriculum": ((1.5, 2),)}, "curriculum"),
  ],
)
def test_values_are_checked(config, changes, message):
  with pytest.raises(ValueError, match=message):
    dataclasses.replace(config, **changes)


def test_hosts_are_checked(config, tokenizer):
  with pytest.raises(ValueError, match="host_index=2 of host_count=2"):
    train_iterator(config, tokenizer, steps=STEPS, host_index=2, host_count=2)
  with pytest.raises(ValueError, match="48 records of split 'train' for 49 hosts"):
    train_iterator(config, tokenizer, steps=STEPS, host_count=49)


def test_a_closed_iterator_says_so(config, tokenizer):
  batches = train_iterator(config, tokenizer, steps=STEPS)
  next(batches)
  batches.close()
  with pytest.raises(ValueError, match="closed"):
    next(batches)
