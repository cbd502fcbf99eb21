"""Manifests: read back as written, with totals for people; other files are refused."""

import json

import pytest

from maxtext_ext.records.manifest import (
  Manifest,
  WrittenShard,
  parse_shard_name,
  read_manifest,
  shard_name,
  write_manifest,
)

MANIFEST = Manifest(
  split="dev",
  conversion={"source": "gs://x/שלום", "audio": "pcm16"},
  read=7,
  quarantined=1,
  left_out={"longer than 30 s": 2},
  shards=tuple(
    WrittenShard(
      name=f"dev-0000{i}-of-00002.array_record",
      records=2,
      samples=16_001 + i,
      bytes=65_536,
      crc32c="AAAAAA==",
    )
    for i in range(2)
  ),
)


def test_round_trip(tmp_path):
  write_manifest(str(tmp_path), MANIFEST)
  assert read_manifest(str(tmp_path), "dev") == MANIFEST
  assert read_manifest(str(tmp_path), "train") is None


def test_totals(tmp_path):
  write_manifest(str(tmp_path), MANIFEST)
  content = json.loads((tmp_path / "dev.manifest.json").read_text("utf-8"))
  assert (content["records"], content["bytes"]) == (4, 131_072)
  assert content["seconds"] == MANIFEST.seconds == 32_003 / 16_000
  assert content["shards"][1] == {
    "name": "dev-00001-of-00002.array_record",
    "records": 2,
    "seconds": 16_002 / 16_000,
    "bytes": 65_536,
    "crc32c": "AAAAAA==",
  }


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": "other 9"}', '{"format": 1}'])
def test_another_file_is_refused(tmp_path, content):
  (tmp_path / "dev.manifest.json").write_text(content)
  with pytest.raises(ValueError, match=r"dev\.manifest\.json is not a manifest .* --overwrite"):
    read_manifest(str(tmp_path), "dev")


def test_shard_names_are_inverted():
  name = shard_name("dev-clean", 3, 55)
  assert name == "dev-clean-00003-of-00055.array_record"
  assert parse_shard_name(f"some/where/{name}") == ("dev-clean", 3, 55)
  assert parse_shard_name("train.array_record") is None
