"""Conversions into a folder that is not empty."""

import json
import os
import pathlib
import shutil

import pytest

from maxtext_ext.conversion.convert import convert, plan_conversion, run_shard
from maxtext_ext.conversion.selector import Selected, Skipped
from maxtext_ext.sources.options import SourceOptions
from tests.conversion.small_shards import bytes_of, ids_of, options, quarantined, write_shards


@pytest.fixture
def source(tmp_path) -> str:
  return write_shards(tmp_path / "in", ["a", "b", "a"], ["c"])


def everything(record):
  return Selected(record=record, split="train")


def nothing(record):
  return Skipped("not wanted")


def test_a_finished_conversion_is_not_done_again(source, tmp_path):
  out = tmp_path / "out"
  first = convert(source, str(out), options())
  written = {path: os.stat(path).st_mtime_ns for path in out.iterdir()}
  again = convert(source, str(out), options(workers=2, max_bad_fraction=0.9))
  assert again.repeated and not first.repeated
  for name in ("read", "written", "quarantined", "seconds", "shards", "reasons", "left_out"):
    assert getattr(again, name) == getattr(first, name)
  assert {path: os.stat(path).st_mtime_ns for path in out.iterdir()} == written


@pytest.mark.parametrize(
  ("changes", "difference"),
  [
    ({"audio": "pcm16"}, "audio was 'keep', now 'pcm16'"),
    ({"source": SourceOptions(language="Hebrew")}, "language was None, now 'Hebrew'"),
    ({"selector": everything}, "selector was None, now '.*everything'"),
  ],
)
def test_other_options_are_refused(source, tmp_path, changes, difference):
  out = tmp_path / "out"
  convert(source, str(out), options())
  before = bytes_of(out)
  with pytest.raises(ValueError, match=f"another conversion of 'train': {difference}; .*overwrite"):
    convert(source, str(out), options(**changes))
  assert bytes_of(out) == before
  assert not convert(source, str(out), options(**changes, overwrite=True)).repeated


def test_an_unfinished_conversion_keeps_its_place(source, tmp_path):
  out = tmp_path / "out"
  run_shard(plan_conversion(source, str(out), options()).jobs[0])
  with pytest.raises(ValueError, match="audio was 'keep', now 'pcm16'"):
    convert(source, str(out), options(audio="pcm16"))
  shard = out / "train-00000-of-00002.array_record"
  written = shard.stat().st_mtime_ns
  summary = convert(source, str(out), options())
  assert (summary.written, summary.kept) == (3, 1)
  assert shard.stat().st_mtime_ns == written


@pytest.mark.parametrize("damaged", ["train.manifest.json", ".progress-train/plan.json"])
@pytest.mark.parametrize("content", ['{"x', "[1]"])
def test_overwrite_needs_nothing_of_what_is_there(source, tmp_path, damaged, content):
  out = tmp_path / "out"
  convert(source, str(out), options())
  (out / damaged).parent.mkdir(exist_ok=True)
  (out / damaged).write_text(content)
  with pytest.raises(ValueError, match=rf"{damaged} is .*--overwrite"):
    convert(source, str(out), options())
  assert convert(source, str(out), options(overwrite=True)).written == 3


def test_names_that_no_folder_of_shards_has(source):
  with pytest.raises(ValueError, match="OUT is empty"):
    plan_conversion(source, "", options())
  with pytest.raises(ValueError, match="not UTF-8"):
    plan_conversion(source, "out\udce9", options())


@pytest.mark.parametrize("jobs_done", [1, 2])
def test_overwrite_always_begins_anew(source, tmp_path, jobs_done):
  out = tmp_path / "out"
  for job in plan_conversion(source, str(out), options()).jobs[:jobs_done]:
    run_shard(job)
  if jobs_done == 2:
    convert(source, str(out), options())
  shard = out / "train-00000-of-00002.array_record"
  written = shard.stat().st_mtime_ns
  summary = convert(source, str(out), options(overwrite=True))
  assert (summary.written, summary.kept, summary.repeated) == (3, 0, False)
  assert shard.stat().st_mtime_ns != written


def test_overwrite_leaves_nothing_of_the_old(source, tmp_path):
  out = tmp_path / "out"
  convert(source, str(out), options())
  convert(source, str(out), options(splits=("train-clean",)))
  single = os.path.join(source, "1.tfrecord")
  with pytest.raises(ValueError, match="another conversion"):
    convert(single, str(out), options())
  run_shard(plan_conversion(single, str(out), options(overwrite=True)).jobs[0])
  convert(single, str(out), options())
  assert ids_of(out) == [["c"]]
  assert sorted(name for name in os.listdir(out) if "clean" not in name) == [
    ".shards-train",
    "quarantine.jsonl",
    "train-00000-of-00001.array_record",
    "train-00000-of-00001.lengths.npz",
    "train.manifest.json",
  ]
  assert ids_of(out, "train-clean") == [["a", "b"], ["c"]]
  assert [line["split"] for line in quarantined(out)] == ["train-clean"]


def test_a_conversion_of_an_earlier_version_is_complete_as_it_is(source, tmp_path):
  """It noted the source otherwise, knew fewer options, and kept nothing of its shards."""
  out = tmp_path / "out"
  convert(source, str(out), options())
  shutil.rmtree(out / ".shards-train")
  path = out / "train.manifest.json"
  manifest = json.loads(path.read_text())
  manifest["conversion"]["content of the source"] = "0123"
  for key in ("files of the source", "dataset_name"):
    del manifest["conversion"][key]
  path.write_text(json.dumps(manifest))
  assert convert(source, str(out), options()).repeated
  with pytest.raises(ValueError, match="dataset_name was '', now 'mine'"):
    convert(source, str(out), options(source=SourceOptions(dataset_name="mine")))
  later = path.stat().st_mtime_ns + 10**9
  os.utime(pathlib.Path(source) / "1.tfrecord", ns=(later, later))
  with pytest.raises(ValueError, match=r"whose source has changed since, .* with --overwrite"):
    convert(source, str(out), options())


def test_shards_that_were_copied_without_what_they_are_made_of(source, tmp_path):
  out = tmp_path / "out"
  convert(source, str(out), options())
  shutil.rmtree(out / ".shards-train")
  assert convert(source, str(out), options()).repeated
  os.utime(pathlib.Path(source) / "1.tfrecord", ns=(0, 0))
  with pytest.raises(ValueError, match=r"whose source has changed since, .* with --overwrite"):
    convert(source, str(out), options())


def test_shards_from_elsewhere_are_refused(source, tmp_path):
  out = tmp_path / "out"
  out.mkdir()
  shard = out / "train-00000-of-00001.array_record"
  shard.write_bytes(b"mine")
  with pytest.raises(ValueError, match=r"train-00000.* is from elsewhere: .* --overwrite"):
    convert(source, str(out), options())
  assert shard.read_bytes() == b"mine"
  convert(source, str(out), options(splits=("test",)))
  assert shard.read_bytes() == b"mine"
  convert(source, str(out), options(overwrite=True))
  assert not shard.exists()


def test_a_lost_shard_is_made_again(source, tmp_path):
  out = tmp_path / "out"
  convert(source, str(out), options())
  before = bytes_of(out)
  (out / "train-00001-of-00002.array_record").unlink()
  assert not convert(source, str(out), options()).repeated
  assert bytes_of(out) == before


def test_shards_of_an_earlier_version_stay_as_they_are(source, tmp_path):
  """It wrote no lengths; input makes them where it needs them."""
  out = tmp_path / "out"
  convert(source, str(out), options())
  for path in out.glob("*.lengths.npz"):
    path.unlink()
  before = bytes_of(out)
  assert convert(source, str(out), options()).repeated
  assert bytes_of(out) == before


def test_what_killed_processes_leave_is_removed(source, tmp_path):
  out = tmp_path / "out"
  convert(source, str(out), options())
  before = bytes_of(out)
  plan = tmp_path / "plan.json"
  plan.write_text(json.dumps(json.loads((out / "train.manifest.json").read_text())["conversion"]))
  (out / ".progress-train").mkdir()
  shutil.copy(plan, out / ".progress-train" / "plan.json")
  assert convert(source, str(out), options()).repeated, "killed at its last step"
  assert bytes_of(out) == before
  run_shard(plan_conversion(source, str(out), options(overwrite=True)).jobs[0])
  shard = "train-00001-of-00002"
  for name in (
    *(f"{shard}.array_record", f"{shard}.lengths.npz", "quarantine.jsonl", "train.manifest.json"),
  ):
    (out / f"{name}.tmp-4711").touch()
  (out / "test-00000-of-00001.array_record.tmp-4711").touch()
  convert(source, str(out), options())
  (out / "test-00000-of-00001.array_record.tmp-4711").unlink()  # of a split of its own
  assert bytes_of(out) == before


def test_the_output_folder_may_not_be_a_file(source, tmp_path):
  (tmp_path / "out").touch()
  with pytest.raises(ValueError, match="is a file, expected the folder"):
    convert(source, str(tmp_path / "out"), options())


def test_a_selector_has_to_be_known_again(source, tmp_path):
  with pytest.raises(ValueError, match="module-level function or an object of a dataclass"):
    convert(source, str(tmp_path / "out"), options(selector=lambda record: Skipped("")))
  assert not (tmp_path / "out").exists()
