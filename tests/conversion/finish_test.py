"""Work after the shards: ids over all of them, quarantine, splits, the rate of bad ones."""

import dataclasses
import json
import os
import random
import shutil
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maxtext_ext.conversion.convert import (
  TooManyBadError,
  convert,
  finish,
  plan_conversion,
  run_shard,
)
from maxtext_ext.conversion.selector import Selected, Skipped
from maxtext_ext.files import storage
from maxtext_ext.records.lengths import lengths_path
from maxtext_ext.records.manifest import read_manifest
from maxtext_ext.records.reader import find_shards
from maxtext_ext.records.schema import Record
from maxtext_ext.records.split_lengths import find_lengths, find_or_scan_lengths
from tests.conversion.small_shards import (
  RAMP,
  bytes_of,
  encoded,
  ids_of,
  options,
  quarantined,
  write_shards,
)


@settings(max_examples=30)
@given(
  shards=st.lists(st.lists(st.sampled_from("abcdefg"), max_size=6), min_size=1, max_size=4),
  order=st.randoms(use_true_random=False),
)
def test_the_first_of_an_id_stays_whatever_the_order_of_work(tmp_path_factory, shards, order):
  folder = tmp_path_factory.mktemp("ids")
  out = folder / "out"
  plan = plan_conversion(write_shards(folder / "in", *shards), str(out), options())
  jobs = list(plan.jobs)
  order.shuffle(jobs)
  summary = finish(plan, [run_shard(job) for job in jobs])
  seen: dict[str, tuple[int, int]] = {}
  expected, again = [], []
  for shard, ids in enumerate(shards):
    expected.append([name for name in dict.fromkeys(ids) if name not in seen])
    for position, name in enumerate(ids):
      if name in seen:
        again.append((f"{folder}/in/{shard}.tfrecord", position, name))
      seen.setdefault(name, (shard, position))
  assert ids_of(out) == expected
  lines = quarantined(out)
  assert [(line["file"], line["position"], line["id"]) for line in lines] == again
  for line in lines:
    assert line["reason"].startswith(f"duplicate id: '{line['id']}' is at {folder}/in/")
  manifest = read_manifest(str(out), "train")
  assert [shard.records for shard in manifest.shards] == [len(ids) for ids in expected]
  assert manifest.seconds == summary.seconds == pytest.approx(0.01 * len(seen))
  assert (summary.read, summary.written) == (sum(map(len, shards)), len(seen))


def test_the_first_place_is_named(tmp_path):
  source = write_shards(tmp_path / "in", ["x", "a"], ["y", "a", "a"], ["a"])
  convert(source, str(tmp_path / "out"), options())
  places = [line["reason"].partition(" is at ")[2] for line in quarantined(tmp_path / "out")]
  where = [f"{source}/0.tfrecord:1", f"{source}/1.tfrecord:1", f"{source}/0.tfrecord:1"]
  assert places == [f"{place} already" for place in where]


def test_killed_after_it_wrote_shards_anew(tmp_path):
  """Then their records are gone already, and the quarantine file has to name them all the same."""
  source = write_shards(tmp_path / "in", ["a", "b"], ["b", "c"], ["c", b"junk", "a", "d"])
  out = tmp_path / "out"
  plan = plan_conversion(source, str(out), options())
  results = [run_shard(job) for job in plan.jobs]
  shutil.copytree(out / ".progress-train", tmp_path / "progress")
  finish(plan, results)
  expected = bytes_of(out)
  assert len(quarantined(out)) == 4
  shutil.copytree(tmp_path / "progress", out / ".progress-train")
  (out / "train.manifest.json").unlink()
  (out / "quarantine.jsonl").unlink()
  summary = convert(source, str(out), options())
  assert (summary.written, summary.quarantined) == (4, 4)
  assert bytes_of(out) == expected


@dataclasses.dataclass(frozen=True)
class ByFirstLetter:
  """a: train, b: dev, with another text; others are left out."""

  def __call__(self, record: Record) -> Selected | Skipped:
    letter = record.sample_id[0]
    if letter == "a":
      return Selected(record=record, split="train")
    if letter == "b":
      return Selected(record=dataclasses.replace(record, text="changed"), split="dev")
    return Skipped(f"letter {letter}")


@pytest.mark.parametrize("workers", [1, 2])
def test_several_splits_in_one_pass(tmp_path, workers):
  foreign = encoded("a1") + b"\x2a\x01\x00"  # a field that is not in the schema
  source = write_shards(
    tmp_path / "in", [foreign, "b1", "c1", "b1"], ["d1", "c1", "c1", "b1", "b2", b"?"]
  )
  out = tmp_path / "out"
  choose = options(splits=("train", "dev"), selector=ByFirstLetter(), workers=workers)
  summary = convert(source, str(out), choose)
  assert summary.left_out == {"letter c": 3, "letter d": 1}
  assert (summary.read, summary.written, summary.quarantined) == (10, 3, 3)
  assert ids_of(out, "train") == [["a1"], []]
  assert ids_of(out, "dev") == [["b1"], ["b2"]]
  assert {line["split"] for line in quarantined(out)} == {"train+dev"}
  names = [path.rpartition("/")[2].partition("-of")[0] for path in summary.shards]
  assert names == ["train-00000", "train-00001", "dev-00000", "dev-00001"]
  again = convert(source, str(out), choose)
  assert again == dataclasses.replace(summary, repeated=True)
  assert read_manifest(str(out), "dev").left_out == summary.left_out


def test_a_record_that_the_selector_hands_back_is_copied(tmp_path):
  foreign = encoded("a1") + b"\x2a\x01\x00"
  source = write_shards(tmp_path / "in", [foreign, "b1"])
  choose = options(splits=("train", "dev"), selector=ByFirstLetter())
  convert(source, str(tmp_path / "out"), choose)
  from maxtext_ext.records.reader import RecordSource, find_shards
  from maxtext_ext.records.schema import decode_example

  (copied,), (changed,) = (
    RecordSource(find_shards(str(tmp_path / "out"), split)) for split in ("train", "dev")
  )
  assert copied == foreign
  assert decode_example(changed).text == "changed"


def test_a_split_that_was_not_announced(tmp_path):
  source = write_shards(tmp_path / "in", ["b1"])
  choose = options(splits=("train", "test"), selector=ByFirstLetter())
  with pytest.raises(ValueError, match=r"chose split 'dev', expected one of \['train', 'test'\]"):
    convert(source, str(tmp_path / "out"), choose)


class TestBadRate:
  @pytest.mark.parametrize("workers", [1, 2])
  def test_at_the_end(self, tmp_path, workers):
    source = write_shards(tmp_path / "in", ["a", b"?", "b"], ["c", "a"])
    out = tmp_path / "out"
    with pytest.raises(TooManyBadError) as caught:
      convert(source, str(out), options(max_bad_fraction=0.39, workers=workers))
    assert "2 of 5 records are bad (40.0%), over max_bad_fraction=0.39" in caught.value.summary
    assert [reason.partition(": ")[0] for reason in caught.value.reasons] == [
      f"{source}/0.tfrecord:1",
      f"{source}/1.tfrecord:1",
    ]
    assert all(reason in str(caught.value) for reason in caught.value.reasons)
    assert len(quarantined(out)) == 2
    assert read_manifest(str(out), "train") is None
    shard = out / "train-00000-of-00002.array_record"
    written = shard.stat().st_mtime_ns
    assert convert(source, str(out), options(max_bad_fraction=0.4)).quarantined == 2
    assert shard.stat().st_mtime_ns == written, "what was done is kept"

  @pytest.mark.parametrize("workers", [1, 2])
  def test_during_the_run(self, tmp_path, workers):
    """Of 1,000 records 10 may be bad before the rate of a short beginning means anything."""
    bad = [b"?"] * 40_000
    source = write_shards(tmp_path / "in", ["a", *bad], ["b", *bad])
    out = tmp_path / "out"
    with pytest.raises(TooManyBadError) as caught:
      convert(source, str(out), options(max_bad_fraction=0.01, workers=workers))
    assert len(caught.value.reasons) == 10
    assert "0.tfrecord:1:" in caught.value.reasons[0]
    assert not (out / "quarantine.jsonl").exists()
    if workers == 1:
      assert "11 of 12 records" in caught.value.summary


def test_counts_over_random_shards_agree_with_the_files(tmp_path):
  rng = random.Random(0)
  kinds = [lambda i: f"a{i}", lambda i: f"b{rng.randrange(9)}", lambda i: f"c{i}", lambda i: b"?"]
  shards = [[rng.choice(kinds)(f"{n}-{i}") for i in range(20)] for n in range(4)]
  shards[2].append(encoded("a-silent", np.zeros_like(RAMP)))
  out = tmp_path / "out"
  choose = options(splits=("train", "dev"), selector=ByFirstLetter())
  summary = convert(write_shards(tmp_path / "in", *shards), str(out), choose)
  ids = [name for split in ("train", "dev") for shard in ids_of(out, split) for name in shard]
  assert len(ids) == len(set(ids)) == summary.written
  assert (
    summary.read == 81 == summary.written + len(quarantined(out)) + sum(summary.left_out.values())
  )
  for split in ("train", "dev"):
    manifest = json.loads((out / f"{split}.manifest.json").read_text())
    assert [shard["records"] for shard in manifest["shards"]] == list(map(len, ids_of(out, split)))
    assert sum(shard["bytes"] for shard in manifest["shards"]) == manifest["bytes"]


def test_conversions_that_end_at_once_keep_each_others_lines(tmp_path):
  out = tmp_path / "out"
  plans = [
    plan_conversion(write_shards(tmp_path / split, ["a", "a"]), str(out), options(splits=(split,)))
    for split in ("train", "test")
  ]
  results = [[run_shard(job) for job in plan.jobs] for plan in plans]
  with ThreadPoolExecutor() as pool:
    with storage.folder_lock(str(out)):
      ended = [pool.submit(finish, *both) for both in zip(plans, results, strict=True)]
      assert not wait(ended, timeout=0.5).done
      assert not (out / "quarantine.jsonl").exists()
    assert [future.result().quarantined for future in ended] == [1, 1]
  assert sorted(line["split"] for line in quarantined(out)) == ["test", "train"]


@pytest.mark.parametrize("audio", ["keep", "pcm16", "flac"])
def test_lengths_are_those_of_the_shards(tmp_path, audio):
  """Also of shards that are written anew without ids that occur twice."""
  source = write_shards(
    tmp_path / "in", ["a", encoded("b", RAMP[:100], " two words ")], ["b", "c"], ["a"], []
  )
  out = tmp_path / "out"
  convert(source, str(out), options(audio=audio))
  shards = find_shards(str(out), "train")
  lengths = find_lengths(shards)
  assert lengths is not None and lengths.samples.tolist() == [160, 100, 160]
  assert lengths.characters.tolist() == [2, 9, 2]
  written = [(out / path).read_bytes() for path in map(lengths_path, shards)]
  for path in map(lengths_path, shards):
    os.remove(path)
  find_or_scan_lengths(shards)
  assert [(out / path).read_bytes() for path in map(lengths_path, shards)] == written
