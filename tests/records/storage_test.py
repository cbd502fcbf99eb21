"""Files, folders and globs, and files that appear whole."""

import pytest

from maxtext_ext.records import storage


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
  found = storage.find_files(str(tmp_path / source), "*.tfrecord*")
  assert found == [str(tmp_path / name) for name in names]


@pytest.mark.parametrize("source", ["none", "*.none", ""])
def test_nothing_found(tmp_path, source):
  with pytest.raises(ValueError, match=r"no input found, expected a file, a folder with \*\.x"):
    storage.find_files(str(tmp_path / source), "*.x")


def test_replacing_is_all_or_nothing(tmp_path):
  target = tmp_path / "new" / "file"
  with storage.replacing(str(target)) as temporary, open(temporary, "w") as file:
    file.write("first")
    assert not target.exists()
  with pytest.raises(KeyboardInterrupt), storage.replacing(str(target)) as temporary:
    with open(temporary, "w") as file:
      file.write("second")
    raise KeyboardInterrupt
  assert target.read_text() == "first"
  assert list(target.parent.iterdir()) == [target]
