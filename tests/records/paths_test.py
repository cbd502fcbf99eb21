"""Names of shards."""

from maxtext_ext.records import paths


def test_shard_names_are_inverted():
  name = paths.shard_name("dev-clean", 3, 55)
  assert name == "dev-clean-00003-of-00055.array_record"
  assert paths.parse_shard_name(f"some/where/{name}") == ("dev-clean", 3, 55)
  assert paths.parse_shard_name("train.array_record") is None
