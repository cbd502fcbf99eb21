"""Planning by stored lengths: which records are read, and what happens when lengths are wrong."""

import dataclasses
import os
import threading

import numpy as np
import pytest
from batches import numbers
from inputs import with_keys

from maxtext_ext.input import pipeline
from maxtext_ext.input.filters import Filters
from maxtext_ext.input.pipeline import (
  decode_split,
  eval_iterator,
  train_iterator,
)
from maxtext_ext.records.lengths import LengthsBuilder, lengths_path, read_lengths, write_lengths
from maxtext_ext.records.reader import RecordSource, find_shards
from maxtext_ext.records.split_lengths import find_lengths, find_or_scan_lengths

CLIPS = 48  # of conftest.py
STEPS = 10


@pytest.fixture
def reads(monkeypatch) -> list[int]:
  """Numbers of the records that are read, as they are read."""
  read, lock, found = RecordSource.__getitem__, threading.Lock(), []

  def counted(self, index):
    with lock:
      found.append(index)
    return read(self, index)

  monkeypatch.setattr(RecordSource, "__getitem__", counted)
  return found


@pytest.fixture
def copy(tmp_path, make_record, write_split, config):
  """A split of its own, with lengths that a test may change."""
  write_split(tmp_path, "train", [make_record(number) for number in range(20)])
  find_or_scan_lengths(find_shards(str(tmp_path), "train"))
  return with_keys(config, data_dir=str(tmp_path))


@pytest.mark.parametrize("hosts", [1, 4])
def test_hosts_of_an_evaluation_read_their_own_records_only(config, tokenizer, reads, hosts):
  find_or_scan_lengths(find_shards(config.datasets.data_dir, "train"))
  reads.clear()
  config = with_keys(config, windows_per_row=0)
  for host in range(hosts):
    before = len(reads)
    batches = list(eval_iterator(config, tokenizer, host_index=host, host_count=hosts))
    own = [number for batch in batches for number in numbers(batch, tokenizer)]
    assert len(reads) - before == len(own) < CLIPS * 1.5 / hosts
  assert sorted(reads) == list(range(CLIPS))


def test_nothing_is_read_before_the_first_clip_of_decoding(config, tokenizer, reads):
  find_or_scan_lengths(find_shards(config.datasets.data_dir, "train"))
  reads.clear()
  split = decode_split(config, tokenizer, host_count=4)
  assert len(split) and not reads
  assert len(list(split)) == len(reads) == len(split) < CLIPS / 2


def test_windows_are_chosen_without_reading(config, tokenizer, reads):
  find_or_scan_lengths(find_shards(config.datasets.data_dir, "train"))
  reads.clear()
  train_iterator(with_keys(config, windows_per_row=0), tokenizer, steps=STEPS)
  assert not reads


def test_of_many_records_without_lengths_only_the_sample_is_read(
  copy, tokenizer, reads, monkeypatch
):
  config = with_keys(copy, windows_per_row=0)
  shards = find_shards(config.datasets.data_dir, "train")
  for shard in shards:
    os.remove(lengths_path(shard))
  monkeypatch.setattr(pipeline, "SCANNED", 5)
  monkeypatch.setattr(pipeline, "SAMPLED", 7)
  reads.clear()
  train_iterator(config, tokenizer, steps=STEPS)
  assert len(reads) == 7 and find_lengths(shards) is None


def forge(config, change) -> None:
  """Stores lengths as if the records were others: `change` takes record and number, or None."""
  for shard in find_shards(config.datasets.data_dir, "train"):
    lengths, builder = read_lengths(lengths_path(shard)), LengthsBuilder()
    for number, record in enumerate(lengths.records()):
      builder.add(change(record, number))
    write_lengths(shard, builder.build(lengths.shard_bytes))


@pytest.fixture
def rotten(tmp_path, make_record, write_split, config):
  """Two of twenty records are bad, which their lengths do not say."""
  clips = [make_record(number) for number in range(20)]
  nan = make_record(3)
  nan.audio[100] = np.nan
  write_split(tmp_path, "train", [*clips[:3], nan, *clips[4:19], b"no example"])
  made = with_keys(config, data_dir=str(tmp_path), filters=Filters(max_seconds=9.0))
  find_or_scan_lengths(find_shards(str(tmp_path), "train"))
  unseen = [clips[3], clips[19]]
  forge(made, lambda record, _: record or unseen.pop(0))
  return made


def by_number(batches, tokenizer):
  return sorted(number for batch in batches for number in numbers(batch, tokenizer))


@pytest.mark.parametrize("hosts", [1, 2])
def test_records_that_turn_out_bad_are_dropped_and_counted(rotten, tokenizer, hosts):
  good = sorted(str(number) for number in range(20) if number not in (3, 19))
  evaluated, clips, dropped = [], [], {"unreadable": 0, "unusable": 0}
  for host in range(hosts):
    batches = eval_iterator(rotten, tokenizer, host_index=host, host_count=hosts)
    evaluated += by_number(batches, tokenizer)
    decoded = iter(decode_split(rotten, tokenizer, host_index=host, host_count=hosts))
    assert not decoded.dropped
    clips += [clip.sample_id for clip in decoded]
    for reason, count in decoded.dropped.items():
      dropped[reason] += count
  assert sorted(evaluated) == good
  assert sorted(clips) == sorted(f"clip{number}" for number in good)
  assert dropped == {"unreadable": 1, "unusable": 1}


def test_too_many_that_turn_out_bad_are_an_error(rotten, tokenizer):
  strict = with_keys(rotten, max_bad_fraction=0.0)
  for batches in (eval_iterator(strict, tokenizer), iter(decode_split(strict, tokenizer))):
    with pytest.raises(ValueError, match="cannot be used, more than max_bad_fraction=0"):
      list(batches)


def test_lengths_of_other_records_are_an_error(copy, tokenizer):
  def shorter(record, number):
    return dataclasses.replace(record, audio=record.audio[:100]) if number == 4 else record

  forge(copy, shorter)
  with pytest.raises(ValueError, match=r"its stored lengths .*; remove \*\.lengths\.npz beside"):
    list(eval_iterator(copy, tokenizer))
  long = with_keys(copy, windows_per_row=0)

  def longer(record, number):
    return dataclasses.replace(record, audio=np.zeros(160_000, np.int16)) if number else record

  forge(long, longer)
  with pytest.raises(ValueError, match=r"its stored lengths .*; remove \*\.lengths\.npz beside"):
    list(decode_split(long, tokenizer))


def test_lengths_of_more_records_are_an_error(copy, tokenizer):
  shard = find_shards(copy.datasets.data_dir, "train")[0]
  lengths, builder = read_lengths(lengths_path(shard)), LengthsBuilder()
  for record in [*lengths.records(), *lengths.records()]:
    builder.add(record)
  write_lengths(shard, builder.build(lengths.shard_bytes))
  with pytest.raises(ValueError, match="20 records, but lengths of 30; remove"):
    decode_split(copy, tokenizer)
