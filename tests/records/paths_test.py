"""Names and folders of records."""

import pytest

from maxtext_ext.records import paths


def test_shard_names_are_inverted():
  name = paths.shard_name("dev-clean", 3, 55)
  assert name == "dev-clean-00003-of-00055.array_record"
  assert paths.parse_shard_name(f"some/where/{name}") == ("dev-clean", 3, 55)
  assert paths.parse_shard_name("train.array_record") is None


@pytest.mark.parametrize(
  ("source", "names"),
  [
    ("a.tfrecord", ["a.tfrecord"]),
    ("", ["a.tfrecord", "b.tfrecord-00000-of-00001"]),
    ("*-of-*", ["b.tfrecord-00000-of-00001"]),
    ("**/*.tfrecord", ["a.tfrecord", "deep [1]/c.tfrecord"]),
    ("deep [1]", ["deep [1]/c.tfrecord"]),
  ],
)
def test_find_files(tmp_path, source, names):
  (tmp_path / "deep [1]").mkdir()
  for name in (
    "a.tfrecord",
    "b.tfrecord-00000-of-00001",
    "notes.txt",
    "half.tfrecord.tmp-7",
    "deep [1]/c.tfrecord",
  ):
    (tmp_path / name).touch()
  found = paths.find_files(str(tmp_path / source), "*.tfrecord*")
  assert found == [str(tmp_path / name) for name in names]


@pytest.mark.parametrize("source", ["none", "*.none", ""])
def test_nothing_found(tmp_path, source):
  with pytest.raises(ValueError, match=r"no input found, expected a file, a folder with \*\.x"):
    paths.find_files(str(tmp_path / source), "*.x")


def test_replacing_is_all_or_nothing(tmp_path):
  target = tmp_path / "new" / "file"
  with paths.replacing(str(target)) as temporary, open(temporary, "w") as file:
    file.write("first")
    assert not target.exists()
  with pytest.raises(KeyboardInterrupt), paths.replacing(str(target)) as temporary:
    with open(temporary, "w") as file:
      file.write("second")
    raise KeyboardInterrupt
  assert target.read_text() == "first"
  assert list(target.parent.iterdir()) == [target]
