"""Files, folders and globs, and files that appear whole: on disk, in memory, at gs://."""

import os

import pytest

from maxtext_ext.files import storage


@pytest.mark.parametrize(
  ("source", "names"),
  [
    ("a.tfrecord", ["a.tfrecord"]),
    ("", ["a.tfrecord", "b.tfrecord-00000-of-00001"]),
    ("*-of-*", ["b.tfrecord-00000-of-00001"]),
    ("**/*.tfrecord", ["a.tfrecord", "deep [1]/c.tfrecord"]),
    ("deep [1]", ["deep [1]/c.tfrecord"]),
    ("half.tfrecord.tmp-7", ["half.tfrecord.tmp-7"]),
  ],
)
def test_find_files(root, source, names):
  for name in (
    "a.tfrecord",
    "b.tfrecord-00000-of-00001",
    "notes.txt",
    "half.tfrecord.tmp-7",
    "deep [1]/c.tfrecord",
  ):
    storage.write_bytes(storage.join(root, name), b"content")
  found = storage.find_files(storage.join(root, source) if source else root, "*.tfrecord*")
  assert found == [storage.join(root, name) for name in names]


@pytest.mark.parametrize("source", ["none", "*.none", ""])
def test_nothing_found(root, source):
  with pytest.raises(ValueError, match=r"no input found, expected a file, a folder with \*\.x"):
    storage.find_files(storage.join(root, source), "*.x")


def test_list_folder(root):
  assert storage.list_folder(root) == storage.list_folder(storage.join(root, "none")) == []
  for name in ("b.x", "a.x", "c.y", "sub/d.x"):
    storage.write_bytes(storage.join(root, name), b"")
  assert storage.list_folder(root, ".x") == [storage.join(root, name) for name in ("a.x", "b.x")]
  assert storage.list_folder(storage.join(root, "sub/")) == [storage.join(root, "sub/d.x")]


def test_walk(root):
  assert storage.walk(root) == {}
  storage.write_bytes(storage.join(root, "a.txt"), b"123456789")
  storage.write_bytes(storage.join(root, "b", "c", "d.txt"), b"")
  found = storage.walk(root + "/")
  assert {name: info.size for name, info in found.items()} == {"a.txt": 9, "b/c/d.txt": 0}
  # Of these digits it is 0xE3069283, the check value of every CRC32C.
  known = "4waSgw==" if root.startswith("gs://") else None
  assert found["a.txt"].crc32c == known


def test_links_in_a_folder_are_followed_but_not_round(tmp_path):
  (tmp_path / "in" / "a").mkdir(parents=True)
  (tmp_path / "other").mkdir()
  for name in ("in/a/1.wav", "other/2.wav"):
    (tmp_path / name).write_bytes(b"123")
  (tmp_path / "in" / "a" / "up").symlink_to("..")
  (tmp_path / "in" / "self").symlink_to(".")
  (tmp_path / "in" / "b").symlink_to("../other")
  (tmp_path / "in" / "gone.wav").symlink_to("nowhere.wav")
  (tmp_path / "in" / "round.wav").symlink_to("round.wav")
  found = storage.walk(str(tmp_path / "in"))
  assert sorted(found) == ["a/1.wav", "b/2.wav", "gone.wav", "round.wav"]
  assert found["b/2.wav"].size == 3


def test_what_is_there(root):
  file, folder, nothing = (storage.join(root, name) for name in ("sub/file", "sub", "su"))
  storage.write_bytes(file, b"12345")
  assert [storage.exists(path) for path in (file, folder, nothing)] == [True, True, False]
  assert [storage.is_file(path) for path in (file, folder, nothing)] == [True, False, False]
  assert storage.size_of(file) == 5
  for look in (storage.size_of, storage.open_read, storage.read_bytes):
    with pytest.raises(FileNotFoundError, match="su"):
      look(nothing)


def test_reading(root):
  path = storage.join(root, "file")
  content = bytes(range(256)) * 100_000  # several blocks of a request
  storage.write_bytes(path, content)
  assert storage.read_bytes(path) == content
  with storage.open_read(path) as file:
    assert file.readline() == content[:11]
    assert file.seek(-5, 2) == len(content) - 5
    assert file.read(100) == content[-5:]
    assert file.seek(9_000_000) == file.tell()
    assert file.read(16_000_000) == content[9_000_000:25_000_000]
  with storage.local_copy(path) as copy, open(copy, "rb") as file:
    assert file.read() == content


def test_lines(root):
  path = storage.join(root, "file")
  storage.write_bytes(path, b"one\n\ntwo\nthree")
  with storage.open_read(path) as file:
    assert list(file) == [b"one\n", b"\n", b"two\n", b"three"]


def test_replacing_is_all_or_nothing(root):
  folder = storage.join(root, "new")
  target = storage.join(folder, "file")
  with storage.atomic_write(target) as temporary:
    with open(temporary, "w") as file:
      file.write("first")
    assert not storage.exists(target)
  with pytest.raises(KeyboardInterrupt), storage.atomic_write(target) as temporary:
    with open(temporary, "w") as file:
      file.write("second")
    raise KeyboardInterrupt
  assert storage.read_bytes(target) == b"first"
  with storage.atomic_write(target) as temporary, open(temporary, "w") as file:
    file.write("third")
  assert storage.read_bytes(target) == b"third"
  storage.write_bytes(target, b"")
  assert storage.read_bytes(target) == b""
  assert storage.list_folder(folder) == [target]


def test_versions(root):
  paths = [storage.join(root, name) for name in "ab"]
  for path in paths:
    storage.write_bytes(path, b"12")
  first = storage.versions(paths)
  assert first == storage.versions(paths)
  storage.write_bytes(paths[0], b"34")
  second = storage.versions(paths)
  assert first[0] != second[0] and first[1] == second[1]
  with pytest.raises(FileNotFoundError):
    storage.versions([storage.join(root, "none")])


def test_leftovers(tmp_path):
  (tmp_path / "a.x.tmp-123").touch()
  (tmp_path / "b.x").touch()
  assert storage.stale_temporaries(str(tmp_path)) == {str(tmp_path / "a.x.tmp-123"): "a.x"}


def test_removing(root):
  folder = storage.join(root, "sub")
  first, second = storage.join(folder, "a"), storage.join(folder, "b")
  storage.write_bytes(first, b"")
  storage.write_bytes(second, b"")
  storage.remove(first)
  storage.remove(first)
  assert storage.list_folder(folder) == [second]
  storage.remove_folder(folder)
  storage.remove_folder(folder)
  assert not storage.exists(folder)


@pytest.mark.parametrize(
  ("parts", "path"),
  [
    (("a", "b", "c.x"), "a/b/c.x"),
    (("", "c.x"), "c.x"),
    (("a/", "c.x"), "a/c.x"),
    (("a", "/b", "c.x"), "/b/c.x"),
    (("gs://a/b", "c.x"), "gs://a/b/c.x"),
    (("gs://a/b", "/c.x"), "/c.x"),
    (("a", "gs://b", "c.x"), "gs://b/c.x"),
    (("gs://a", "gs://b/c.x"), "gs://b/c.x"),
  ],
)
def test_join(parts, path):
  assert storage.join(*parts) == path


def test_versions_change_when_a_file_does(tmp_path):
  paths = [tmp_path / "a", tmp_path / "b"]
  for path in paths:
    path.write_bytes(b"xy")
    os.utime(path, ns=(1, 1))
  names = [str(path) for path in paths]
  before = storage.versions(names)
  assert before == storage.versions(names)
  os.utime(paths[1], ns=(2, 2))
  after = storage.versions(names)
  assert after[0] == before[0] and after[1] != before[1]


def test_versions_wherever_the_files_are(root):
  names = [storage.join(root, name) for name in ("a", "b")]
  for name in names:
    storage.write_bytes(name, b"xy")
  before = storage.versions(names)
  assert before == storage.versions(names)
  storage.write_bytes(names[1], b"xyz")
  after = storage.versions(names)
  assert after[0] == before[0] and after[1] != before[1]


def test_leftovers_are_what_a_killed_process_was_writing(tmp_path):
  assert storage.stale_temporaries(str(tmp_path / "nowhere")) == {}
  with storage.atomic_write(str(tmp_path / "x.json")) as temporary:
    (tmp_path / "y.json").touch()
    open(temporary, "w").close()
    assert storage.stale_temporaries(str(tmp_path)) == {temporary: "x.json"}
  assert storage.stale_temporaries(str(tmp_path)) == {}
