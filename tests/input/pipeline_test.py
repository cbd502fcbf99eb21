"""The chains of training and evaluation: what is read, dropped, changed and packed."""

import dataclasses
import itertools
import json
from collections import Counter

import numpy as np
import pytest
from batches import assert_equal, numbers, take, texts
from inputs import with_keys

from maxtext_ext.input.pipeline import (
  Filters,
  HostAugment,
  NoiseOnly,
  SpecAugment,
  eval_iterator,
  fill,
  train_iterator,
)
from maxtext_ext.records.encoded import Encoding, write_encoded
from maxtext_ext.records.reader import RecordSource, find_shards
from maxtext_ext.records.schema import decode_example

CLIPS = 48  # of conftest.py
NUMBERS = [str(number) for number in range(CLIPS)]
STEPS = 100


def one_a_row(config, **changes):
  """Rows of one clip each, in the order of the stream."""
  return with_keys(config, packing_lookahead=1, rows=1, **changes)


def test_rows_are_packed(config, tokenizer):
  batches = train_iterator(config, tokenizer, steps=STEPS)
  filled = [fill(next(batches)) for _ in range(20)]
  assert np.mean([f.token_fill for f in filled]) > 0.8


def test_same_seed_same_batches(config, tokenizer):
  first, second = (train_iterator(config, tokenizer, steps=STEPS) for _ in range(2))
  other = train_iterator(with_keys(config, seed=1), tokenizer, steps=STEPS)
  different = False
  for _ in range(5):
    batch = next(first)
    assert_equal(batch, next(second))
    different |= not np.array_equal(batch["inputs"], next(other)["inputs"])
  assert different


def test_curriculum(config, tokenizer):
  """Until step floor(0.1 * 55) = 5 one word, then until step 11 two, then all."""
  config = with_keys(config, curriculum=((0.1, 1), (0.2, 2)), packing_lookahead=2)
  batches = train_iterator(config, tokenizer, steps=55)
  longest = [max(len(text.split()) for text in texts(next(batches), tokenizer)) for _ in range(30)]
  assert longest[:5] == [1] * 5
  assert max(longest[5:11]) == 2
  assert max(longest[11:]) == 3


@pytest.mark.parametrize("rate", [0.0, 0.9])
def test_a_stage_without_any_text_is_an_error(
  config, tokenizer, tmp_path, make_record, write_split, noise_dir, rate
):
  write_split(tmp_path, "train", [make_record(2), make_record(5)])  # three words each
  config = with_keys(
    config,
    data_dir=str(tmp_path),
    curriculum=((0.5, 2),),
    augment=HostAugment(noise_dir=noise_dir),
    noise_only=NoiseOnly(noise_only_rate=rate, noise_only_seconds=(0.5, 1.0)),
  )
  with pytest.raises(ValueError, match=r"no utterance to use with at most 2 words \(curriculum\)"):
    list(itertools.islice(train_iterator(config, tokenizer, steps=STEPS), 20))


DROPPED = {
  "outside min_seconds": 1,
  "outside max_seconds": 1,
  "unusable": 1,
  "fits no row": 1,
  "unreadable": 2,
}


def test_bad_records_are_dropped_and_counted(config, tokenizer, faulty_dir):
  filters = Filters(min_seconds=0.3, max_seconds=5.0)
  config = with_keys(config, data_dir=faulty_dir, filters=filters)
  batches = eval_iterator(config, tokenizer)
  found = list(itertools.chain(*(numbers(batch, tokenizer) for batch in batches)))
  assert sorted(found) == ["0", "1", "2", "3", "4", "5"]
  assert batches.dropped == DROPPED
  endless = train_iterator(one_a_row(config, max_bad_fraction=1.0), tokenizer, steps=STEPS)
  assert set(take(endless, 6, tokenizer)) == set(found)
  assert take(endless, 6, tokenizer)
  assert endless.dropped.keys() == DROPPED.keys()
  metrics = endless.metrics()
  assert metrics["input/dropped"] == sum(endless.dropped.values())
  assert metrics["input/dropped_outside_max_seconds"] == endless.dropped["outside max_seconds"]


@pytest.mark.parametrize("make", [eval_iterator, lambda *args: train_iterator(*args, steps=STEPS)])
def test_too_many_bad_records_stop_the_run(config, tokenizer, faulty_dir, make):
  config = with_keys(config, data_dir=faulty_dir, max_bad_fraction=0.0)
  with pytest.raises(ValueError, match=r"1 of \d+ records read cannot be used") as caught:
    list(itertools.islice(make(config, tokenizer), 50))
  assert "\n" not in str(caught.value)


def test_texts_that_do_not_suit_are_dropped(config, tokenizer):
  filters = Filters(max_seconds=5.0, min_characters=4, max_characters_per_second=5.0)
  batches = eval_iterator(with_keys(config, filters=filters), tokenizer)
  found = list(itertools.chain(*(texts(batch, tokenizer) for batch in batches)))
  assert found and min(map(len, found)) >= 4
  assert batches.dropped.keys() == {"outside min_characters", "outside max_characters_per_second"}
  assert len(found) + sum(batches.dropped.values()) == CLIPS


@pytest.mark.parametrize("windows", [0, 2])
def test_data_without_a_usable_record_is_an_error(
  config, tokenizer, tmp_path, make_record, write_split, windows
):
  write_split(tmp_path, "train", [make_record(1, seconds=0.2)])
  filters = Filters(min_seconds=0.3, max_seconds=5.0)
  config = with_keys(config, data_dir=str(tmp_path), filters=filters, windows_per_row=windows)
  with pytest.raises(ValueError, match="min_seconds"):
    next(train_iterator(config, tokenizer, steps=STEPS))


def test_a_mixture_reads_each_dataset_from_end_to_end_in_its_share(config, tokenizer, mixture):
  config = one_a_row(config, data_dir="", mixture=mixture)
  batches = train_iterator(config, tokenizer, steps=STEPS)
  found = [int(number) for number in take(batches, 400, tokenizer)]
  parts = [[n for n in found if n // 100 == hundred] for hundred in range(3)]
  for part, length in zip(parts, (20, 10, 4), strict=True):
    epochs = list(itertools.batched(part, length))
    assert {len(set(epoch)) for epoch in epochs[:-1]} == {length}
    assert len(set(epochs)) > 1, "in another order"
  # 20, 11 (one of them bad) and 3 * 4 of 43 elements.
  shares = np.array([len(part) for part in parts]) / len(found)
  np.testing.assert_allclose(shares, np.array([20, 10, 12]) / 42, atol=0.08)
  assert batches.dropped.keys() == {"b: unreadable"}
  epochs = batches.metrics()
  assert epochs["input/dropped_b_unreadable"] == epochs["input/dropped"] > 0
  assert epochs["input/epoch_a"] == pytest.approx(epochs["input/epoch_b"], rel=0.1)
  assert epochs["input/epoch_c"] == pytest.approx(3 * epochs["input/epoch_a"], rel=0.1)


@pytest.mark.parametrize("hosts", [2, 4])
def test_a_mixture_loses_and_repeats_nothing_over_all_hosts(config, tokenizer, mixture, hosts):
  config = one_a_row(config, data_dir="", mixture=mixture, read_threads=1)
  alone = take(train_iterator(config, tokenizer, steps=STEPS), 200, tokenizer)
  shared = []
  for host in range(hosts):
    batches = train_iterator(config, tokenizer, host_index=host, host_count=hosts, steps=STEPS)
    shared += take(batches, 240 // hosts, tokenizer)
  assert not Counter(alone) - Counter(shared), "what one host uses first, all use first"


def test_a_mixture_is_evaluated_on_all_its_folders_or_on_data_dir(config, tokenizer, mixture):
  config = with_keys(config, mixture=mixture)
  everything = eval_iterator(with_keys(config, data_dir=""), tokenizer, "validation")
  found = itertools.chain(*(numbers(batch, tokenizer) for batch in everything))
  assert sorted(map(int, found)) == [0, 1, 2, 100, 101, 102, 200, 201, 202]
  own = itertools.chain(*(numbers(batch, tokenizer) for batch in eval_iterator(config, tokenizer)))
  assert sorted(own) == sorted(NUMBERS)


def test_a_position_of_another_mixture_is_refused(config, tokenizer, mixture):
  config = with_keys(config, data_dir="", mixture=mixture)
  state = train_iterator(config, tokenizer, steps=STEPS).get_state()
  warmer = with_keys(config, mixture_temperature=5.0)
  with pytest.raises(ValueError, match=r"share a .* -> "):
    train_iterator(warmer, tokenizer, steps=STEPS).set_state(state)


def test_noise_alone_is_answered_with_nothing(config, tokenizer, noise_dir):
  config = one_a_row(
    config,
    augment=HostAugment(noise_dir=noise_dir),
    noise_only=NoiseOnly(noise_only_rate=0.25, noise_only_seconds=(0.5, 1.5)),
  )
  batches = train_iterator(config, tokenizer, steps=STEPS)
  read = list(itertools.islice(batches, 160))
  noise = [batch for batch in read if texts(batch, tokenizer) == [""]]
  assert len(noise) / len(read) == pytest.approx(0.25, abs=0.06)
  for batch in noise:
    answer = batch["targets"][batch["targets_segmentation"] != 0].tolist()
    assert tokenizer.decode(answer[:-1]) == "language None<asr_text>"
    assert answer[-1] == tokenizer.im_end_id
    assert 50 <= batch["chunk_frames"].sum() <= 150
  assert len({batch["samples"].tobytes() for batch in noise}) == len(noise), "each is another part"
  words = list(itertools.chain(*(texts(batch, tokenizer) for batch in read)))
  clips = [text.split()[-1] for text in words if text]
  assert {len(set(epoch)) for epoch in itertools.batched(clips[: 2 * CLIPS], CLIPS)} == {CLIPS}
  assert batches.metrics().keys() == {"input/epoch", "input/dropped"}


AUGMENT = {"speed_range": (0.9, 1.1), "gain_db": (-6.0, 6.0), "noise_probability": 0.5}


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_sound_is_new_in_each_epoch_and_the_same_on_any_host(config, tokenizer, noise_dir, dtype):
  config = one_a_row(
    config,
    audio_dtype=dtype,
    augment=HostAugment(noise_dir=noise_dir, **AUGMENT),
    spec_augment=SpecAugment(spec_augment_mels=40, spec_augment_frames=60),
  )

  def sounds_of_epochs(host, hosts):
    batches = train_iterator(config, tokenizer, host_index=host, host_count=hosts, steps=STEPS)
    for epoch, _ in itertools.product(range(2), range(CLIPS // hosts)):
      batch = next(batches)
      (number,) = numbers(batch, tokenizer)
      yield (epoch, number), tuple(batch[k].tobytes() for k in ("chunk_mask", "samples"))

  alone = dict(sounds_of_epochs(0, 1))
  shared = dict(itertools.chain(sounds_of_epochs(0, 2), sounds_of_epochs(1, 2)))
  assert alone == shared
  for kind in range(2):
    same = [alone[0, number][kind] == alone[1, number][kind] for number in NUMBERS]
    assert sum(same) < 3


def test_a_broken_file_of_noise_is_an_error_and_no_bad_record(config, tokenizer, tmp_path):
  (tmp_path / "broken.wav").write_bytes(b"RIFF")
  augment = HostAugment(noise_dir=str(tmp_path), noise_probability=1.0)
  batches = train_iterator(with_keys(config, augment=augment), tokenizer, steps=STEPS)
  with pytest.raises(ValueError, match=r"broken\.wav"):
    next(batches)


def test_speed_changes_the_length_and_the_tokens_with_it(config, tokenizer):
  slow = one_a_row(config, augment=HostAugment(speed_range=(0.8, 0.8)))
  plain, slowed = (
    {numbers(batch, tokenizer)[0]: batch for batch in itertools.islice(batches, CLIPS)}
    for batches in (train_iterator(c, tokenizer, steps=STEPS) for c in (one_a_row(config), slow))
  )
  for number in NUMBERS:
    frames = [batches[number]["chunk_frames"].sum() for batches in (plain, slowed)]
    assert frames[1] == pytest.approx(frames[0] / 0.8, abs=1) or frames[0] <= 50
    pads = (slowed[number]["inputs"] == tokenizer.audio_pad_id).sum()
    assert pads == (slowed[number]["audio_index"] >= 0).sum() > 0
  assert sum(batch["chunk_frames"].sum() for batch in slowed.values()) > sum(
    1.2 * batch["chunk_frames"].sum() for batch in plain.values()
  )


def test_evaluation_hears_the_clips_as_they_are(config, tokenizer, noise_dir):
  augmented = with_keys(
    config,
    augment=HostAugment(noise_dir=noise_dir, **AUGMENT),
    noise_only=NoiseOnly(noise_only_rate=0.5, noise_only_seconds=(1.0, 2.0)),
    spec_augment=SpecAugment(spec_augment_mels=40, spec_augment_frames=60),
    curriculum=((1.0, 1),),
  )
  for batch, plain in itertools.zip_longest(
    eval_iterator(augmented, tokenizer), eval_iterator(config, tokenizer)
  ):
    assert_equal(batch, plain)
    assert not batch["chunk_mask"].any()


def test_everything_at_once_resumes_bit_identically(config, tokenizer, mixture, noise_dir):
  config = with_keys(
    config,
    data_dir="",
    mixture=mixture,
    augment=HostAugment(noise_dir=noise_dir, **AUGMENT),
    noise_only=NoiseOnly(noise_only_rate=0.2, noise_only_seconds=(1.0, 2.0)),
    spec_augment=SpecAugment(spec_augment_mels=40, spec_augment_frames=60),
    filters=Filters(max_seconds=5.0, max_characters_per_second=6.0),
    curriculum=((0.1, 1), (0.2, 2)),
  )
  batches = train_iterator(config, tokenizer, steps=60)
  for _ in range(9):
    next(batches)
  state = json.dumps(batches.get_state())
  resumed = train_iterator(config, tokenizer, steps=60)
  resumed.resume([json.loads(state)])
  for _ in range(6):
    assert_equal(next(resumed), next(batches))
  assert resumed.metrics() == batches.metrics()


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


def test_hosts_are_checked(config, tokenizer):
  with pytest.raises(ValueError, match="host_index=2 of host_count=2"):
    train_iterator(config, tokenizer, steps=STEPS, host_index=2, host_count=2)


def test_a_closed_iterator_says_so(config, tokenizer):
  batches = train_iterator(config, tokenizer, steps=STEPS)
  next(batches)
  batches.close()
  with pytest.raises(ValueError, match="closed"):
    next(batches)


def test_stored_outputs_stand_where_the_encoder_would_put_them(config, tokenizer, data_dir):
  """Batches with and without stored outputs have the same clips in the same places."""
  encoding = Encoding(fingerprint="0" * 64, width=3, dtype="float32")
  outputs = {}
  for shard in find_shards(data_dir, "train"):
    records = [decode_example(data) for data in RecordSource([shard])]
    for record in records:
      shape = (config.geometry.num_tokens(len(record.audio)), 3)
      seed = int(record.sample_id.removeprefix("clip"))
      outputs[record.sample_id] = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    write_encoded(shard, encoding, [outputs[record.sample_id] for record in records])
  sound = train_iterator(config, tokenizer, steps=STEPS)
  stored = train_iterator(dataclasses.replace(config, encoding=encoding), tokenizer, steps=STEPS)
  for _ in range(5):
    with_sound, batch = next(sound), next(stored)
    tokens = batch.pop("encoded")
    assert tokens.shape == (*with_sound.pop("samples").shape[:2], 104, 3)
    assert_equal(batch, with_sound)
    assert stored.records == sound.records
    clips = iter(stored.records)
    for row, index in enumerate(batch["audio_index"]):
      for segment in range(1, batch["inputs_segmentation"][row].max() + 1):
        own = index[(batch["inputs_segmentation"][row] == segment) & (index >= 0)]
        np.testing.assert_array_equal(tokens[row].reshape(-1, 3)[own], outputs[next(clips)])
