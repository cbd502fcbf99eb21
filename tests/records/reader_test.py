"""Finding shards, and random access to their records."""

import os
import pickle
from pathlib import Path

import grain
import pytest

from maxtext_ext.files import storage
from maxtext_ext.records.reader import RecordSource, find_shards
from maxtext_ext.records.schema import RecordError
from maxtext_ext.records.writer import ShardWriter


def write(folder, name: str, *records: bytes) -> str:
  path = str(folder / f"{name}.array_record")
  with ShardWriter(path) as writer:
    for data in records:
      writer.write(data)
  return path


def touch(folder, *names: str) -> None:
  folder.mkdir(exist_ok=True)
  for name in names:
    (folder / f"{name}.array_record").touch()


def test_flat_shards(tmp_path):
  touch(tmp_path, "test-00001-of-00002", "test-00000-of-00002", "test-clean-00000-of-00001")
  found = find_shards(str(tmp_path), "test")
  names = ["test-00000-of-00002.array_record", "test-00001-of-00002.array_record"]
  assert found == [str(tmp_path / name) for name in names]


def test_a_folder_for_each_split_may_hold_several_sets(tmp_path):
  touch(
    tmp_path / "train", "mgb2-00000-of-00001", "sada-00000-of-00002", "sada-00001-of-00002", "x"
  )
  assert len(find_shards(str(tmp_path), "train")) == 4


@pytest.mark.parametrize(
  ("names", "reason"),
  [
    ([], "no shards of split 'train', looked for .*train-.* and .*train/"),
    (["test-00000-of-00001"], "no shards of split 'train'"),
    (["train-00000-of-00003", "train-00002-of-00003"], "2 of 3 shards .* number 1 is missing"),
    (["train-00000-of-00001", "train-00000-of-00002"], r"several conversions, of \[1, 2\] shards"),
  ],
)
def test_what_is_not_a_whole_set(tmp_path, names, reason):
  touch(tmp_path, *names)
  with pytest.raises(ValueError, match=reason):
    find_shards(str(tmp_path), "train")


@pytest.mark.parametrize("split", ["", ".", "..", "/", "train/", "../data"])
def test_a_split_without_a_name_is_not_every_split(tmp_path, split):
  folder = tmp_path / "data"
  folder.mkdir()
  for name in ("train", "test"):
    (folder / f"{name}-00000-of-00001.array_record").touch()
  with pytest.raises(ValueError, match="is no name of one"):
    find_shards(str(folder), split)


def test_random_access_over_shards(tmp_path):
  shards = [write(tmp_path, "a", b"0", b"1"), write(tmp_path, "b"), write(tmp_path, "c", b"2")]
  source = RecordSource(shards)
  assert len(source) == 3
  assert [source[i] for i in (2, 0, 1, -1)] == [b"2", b"0", b"1", b"2"]
  for index in (3, -4):
    with pytest.raises(IndexError, match=f"record {index} of 3"):
      source[index]
  assert pickle.loads(pickle.dumps(source))[2] == b"2"


def test_as_a_source_of_grain(tmp_path):
  source = RecordSource([write(tmp_path, "a", *(bytes([i]) for i in range(20)))])
  dataset = grain.MapDataset.source(source).shuffle(seed=1)
  order = [dataset[i] for i in range(len(dataset))]
  assert sorted(order) == [bytes([i]) for i in range(20)] != order


def test_what_cannot_be_opened(tmp_path):
  with pytest.raises(ValueError, match="no such shard"):
    RecordSource([str(tmp_path / "none.array_record")])
  (tmp_path / "x.array_record").write_bytes(b"junk")
  with pytest.raises(ValueError, match="expected whole ArrayRecord files"):
    RecordSource([str(tmp_path / "x.array_record")])


def test_shards_at_a_bucket(gcs, tmp_path):
  records = [bytes([i]) * 200_000 for i in range(20)]
  for number in range(2):
    name = f"train-{number:05d}-of-00002"
    path = write(tmp_path, name, *records[number * 10 : number * 10 + 10])
    gcs.put(f"gs://bucket/data/{name}.array_record", Path(path).read_bytes())
  shards = find_shards("gs://bucket/data", "train")
  assert shards == [f"gs://bucket/data/train-0000{i}-of-00002.array_record" for i in range(2)]
  source = pickle.loads(pickle.dumps(RecordSource(shards)))
  dataset = grain.MapDataset.source(source).shuffle(seed=1).to_iter_dataset()
  read = list(dataset)  # by grain's threads
  assert sorted(read) == records != read
  with pytest.raises(ValueError, match="no such shard"):
    RecordSource([*shards, "gs://bucket/data/none.array_record"])
  gcs.put(shards[1], b"junk")
  with pytest.raises(ValueError, match="expected whole ArrayRecord files"):
    RecordSource(shards)


@pytest.mark.parametrize("where", ["disk", "bucket"])
def test_a_damaged_record_leaves_the_others(gcs, tmp_path, where):
  records = [os.urandom(90_000) for _ in range(3)]
  path = Path(write(tmp_path, "test-00000-of-00001", *records))
  content = bytearray(path.read_bytes())
  content[140_000:140_100] = bytes(100)
  path.write_bytes(content)
  if where == "bucket":
    gcs.put("gs://bucket/test-00000-of-00001.array_record", bytes(content))
    path = "gs://bucket/test-00000-of-00001.array_record"
  source = RecordSource([str(path)])
  assert (source[0], source[2]) == (records[0], records[2])
  with pytest.raises(RecordError, match=r"record 1 of the shards from .* on is damaged \(Corrupt"):
    source[1]


def test_a_record_that_is_damaged_on_its_way_is_read_again(gcs, tmp_path):
  records = [os.urandom(90_000) for _ in range(3)]
  path = write(tmp_path, "test-00000-of-00001", *records)
  gcs.put("gs://bucket/test-00000-of-00001.array_record", Path(path).read_bytes())
  source = RecordSource(["gs://bucket/test-00000-of-00001.array_record"])
  spoilt = []

  def spoil(data: bytes) -> bytes:
    if spoilt or len(data) < 60_000:
      return data
    spoilt.append(len(data))
    return data[:30_000] + bytes(100) + data[30_100:]

  gcs.on_download = spoil
  assert source[1] == records[1]
  assert spoilt


def test_a_bucket_without_credentials(gcs, tmp_path, monkeypatch):
  gcs.put("gs://bucket/x.array_record", b"")
  monkeypatch.delenv("CLOUD_STORAGE_EMULATOR_ENDPOINT")
  monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
  monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))  # where gcloud keeps them
  monkeypatch.setenv("NO_GCE_CHECK", "true")
  with pytest.raises(PermissionError, match="needs Google credentials, found none; sign in"):
    RecordSource(["gs://bucket/x.array_record"])


def test_other_urls():
  storage.write_bytes("memory://root/x.array_record", b"")
  with pytest.raises(ValueError, match="local shards and from gs://"):
    RecordSource(["memory://root/x.array_record"])
