"""`data verify`: whole data passes, and each way in which it is not is named."""

import json
import os
import pathlib

import numpy as np
import pytest

from maxtext_ext.conversion.convert import convert, plan_conversion, run_shard
from maxtext_ext.conversion.verify import print_report, verify
from maxtext_ext.records.schema import Record, encode_example
from maxtext_ext.records.writer import ShardWriter
from tests.conversion.small_shards import RAMP, encoded, options, write_shards

NAMES = [f"train-0000{i}-of-00003.array_record" for i in range(3)]


@pytest.fixture
def data(tmp_path) -> pathlib.Path:
  noise = np.random.default_rng(0).uniform(-1, 1, 4_000).astype(np.float32)
  shards = [[encoded(f"{shard}-{i}", noise) for i in range(4)] for shard in range(3)]
  source = write_shards(tmp_path / "in", *shards)
  convert(source, str(tmp_path / "out"), options())
  return tmp_path / "out"


def problems(path: pathlib.Path, **changes) -> list[str]:
  return [problem for split in verify(str(path), **changes) for problem in split.all_problems]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("audio", ["keep", "pcm16", "flac"])
def test_whole_data(tmp_path, audio, workers, capsys):
  source = write_shards(tmp_path / "in", ["a", "b", "b"], ["c", "a"], [])
  for split in ("train", "test"):
    convert(source, str(tmp_path / "out"), options(audio=audio, splits=(split,)))
  told = []
  found = verify(str(tmp_path / "out"), workers=workers, progress=told.append)
  assert [(each.split, len(each.shards)) for each in found] == [("test", 3), ("train", 3)]
  for each in found:
    assert each.has_manifest and not each.all_problems
    assert [(shard.records, shard.samples) for shard in each.shards] == [(2, 320), (1, 160), (0, 0)]
  assert told[-1].read == 6
  assert told[-1].seconds == pytest.approx(0.06)
  assert print_report(found)
  printed = capsys.readouterr()
  assert printed.out.count("whole") == 2 and not printed.err


def test_a_bit_of_a_record(data, capsys):
  path = data / NAMES[1]
  content = bytearray(path.read_bytes())
  content[20_000] ^= 1
  path.write_bytes(content)
  found = problems(data)
  assert found[0].startswith(f"{NAMES[1]}: CRC32C is ")
  assert f"record {20_000 // 15_000}: Corrupted" in found[1]
  assert len(found) == 2
  assert not print_report(verify(str(data)))
  printed = capsys.readouterr()
  assert "2 bad" in printed.out
  assert [line for line in printed.err.splitlines() if line.startswith("bad: ")] == [
    f"bad: {problem}" for problem in found
  ]


def test_a_file_that_is_cut(data):
  os.truncate(data / NAMES[2], 40_000)
  first, second = problems(data)
  assert first.startswith(f"{NAMES[2]}: 40000 bytes, the manifest says ")
  assert second.startswith(f"{NAMES[2]}: cannot open")


def test_missing_and_extra_shards(data):
  (data / NAMES[0]).rename(data / "train-00007-of-00008.array_record")
  assert problems(data) == [
    f"{NAMES[0]} is missing",
    "train-00007-of-00008.array_record is not in train.manifest.json",
  ]


def test_shards_that_changed_places(data):
  (data / NAMES[0]).rename(data / "x")
  (data / NAMES[1]).rename(data / NAMES[0])
  (data / "x").rename(data / NAMES[1])
  found = problems(data)
  assert len(found) == 2 and all("CRC32C is" in problem for problem in found)


def test_counts_of_the_manifest(data):
  path = data / "train.manifest.json"
  manifest = json.loads(path.read_text())
  manifest["shards"][0]["records"] += 1
  manifest["shards"][2]["seconds"] += 1.0
  path.write_text(json.dumps(manifest))
  assert problems(data) == [
    f"{NAMES[0]}: 4 records, the manifest says 5",
    f"{NAMES[2]}: 1.0 s of audio, the manifest says 2.0",
  ]


def test_without_a_manifest(data, capsys):
  (data / "train.manifest.json").unlink()
  found = verify(str(data))
  assert print_report(found)
  printed = capsys.readouterr()
  assert "readable, no manifest" in printed.out
  assert "'train': no manifest" in printed.err
  (data / NAMES[1]).unlink()
  assert any("number 1 is missing" in problem for problem in problems(data))


def test_an_unfinished_conversion(data):
  source = str(data.parent / "in")
  run_shard(plan_conversion(source, str(data), options(splits=("test",))).jobs[0])
  found = problems(data)
  assert "the conversion of 'test' is not finished; run its command again" in found
  assert len(found) == 2  # and a shard is missing


def test_records_that_conversion_would_not_write(tmp_path):
  """Also files of other names; of many bad records the first few are listed."""
  with ShardWriter(str(tmp_path / "mine.array_record")) as writer:
    writer.write(encoded("good"))
    writer.write(encoded("silent", 0 * RAMP))
    nan = np.full(160, np.nan, np.float32)
    writer.write(encode_example(Record(sample_id="nan", audio=nan, text="x")))
    writer.write(encoded("loud", np.float32(1e29) * RAMP))
    for _ in range(20):
      writer.write(b"junk")
  found = problems(tmp_path)
  assert "mine.array_record: record 1: audio is silent" in found[0]
  assert "record 2: audio has 160 NaN" in found[1]
  assert "record 3: audio has a peak of 5e+28, expected at most 1" in found[2]
  assert "record 4: not a tf.train.Example" in found[3]
  assert found[-1] == "mine.array_record: and 13 more bad records"
  assert len(found) == 11


def test_all_shards_are_missing(data):
  for name in NAMES:
    (data / name).unlink()
  assert problems(data) == [f"{name} is missing" for name in NAMES]


def test_no_workers(data):
  with pytest.raises(ValueError, match="workers is 0, expected 1 or more"):
    verify(str(data), workers=0)


def test_nothing_to_verify(tmp_path):
  with pytest.raises(ValueError, match="no shards, expected a folder"):
    verify(str(tmp_path))


def test_a_manifest_that_is_none(data):
  (data / "train.manifest.json").write_text("{}")
  with pytest.raises(ValueError, match=r"train\.manifest\.json is not a manifest"):
    verify(str(data))


def test_lengths_of_another_shard_and_damaged_ones(data):
  lengths = [data / name.replace(".array_record", ".lengths.npz") for name in NAMES]
  lengths[0].write_bytes(lengths[1].read_bytes())
  lengths[1].write_bytes(b"x")
  lengths[2].unlink()  # as beside shards of an earlier version
  first, second = problems(data)
  assert first.startswith(f"{NAMES[0]}: {lengths[0].name} is not of this shard; remove it")
  assert second.startswith(f"{NAMES[1]}: {lengths[1]}: not a file of lengths")
