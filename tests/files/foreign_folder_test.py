"""Files of a foreign folder: regular ones inside it, and the links of the hub's cache."""

import os

import pytest

from maxtext_ext.files import foreign_folder


@pytest.fixture
def folder(tmp_path):
  (tmp_path / "outside.json").write_text("secret")
  made = tmp_path / "model"
  made.mkdir()
  (made / "a.json").write_text("{}")
  return made


def test_a_file_is_found_and_a_missing_one_is_none(folder):
  assert foreign_folder.find(str(folder), "a.json").read_text() == "{}"
  assert foreign_folder.find(str(folder), "b.json") is None
  os.symlink("a.json", folder / "inner.json")
  assert foreign_folder.find(str(folder), "inner.json").read_text() == "{}"


@pytest.mark.parametrize("name", ["", ".", "..", "../outside.json", "/etc/passwd", "a\\b", "a\0"])
def test_a_name_that_is_a_path_is_refused(folder, name):
  with pytest.raises(ValueError, match="expected one without a folder"):
    foreign_folder.find(str(folder), name)


ODD = {
  "link out": (lambda f: os.symlink("../outside.json", f), "is a link to .*outside.json, expected"),
  "absolute link": (lambda f: os.symlink("/etc/passwd", f), "is a link to /etc/passwd"),
  "link of a link": (
    lambda f: (os.symlink("../outside.json", f.parent / "l"), os.symlink("l", f)),
    "is a link to .*outside.json",
  ),
  "broken link": (lambda f: os.symlink("nowhere", f), "a link that leads nowhere"),
  "loop": (lambda f: os.symlink(f.name, f), "a link that leads nowhere"),
  "pipe": (os.mkfifo, "is no regular file"),
  "device": (lambda f: os.symlink("/dev/zero", f), "is a link to /dev/zero"),
}


@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_regular_file_of_the_folder_is_refused(folder, kind):
  make, message = ODD[kind]
  make(folder / "x.json")
  with pytest.raises(ValueError, match=message):
    foreign_folder.find(str(folder), "x.json")
  with pytest.raises(ValueError, match=message):
    foreign_folder.list_files(str(folder), (".json",))


def test_hidden_files_other_endings_and_folders_are_not_listed(folder):
  (folder / ".b.json").write_text("")
  (folder / "c.py").write_text("")
  (folder / "d.json").mkdir()
  assert [file.name for file in foreign_folder.list_files(str(folder), (".json",))] == ["a.json"]


@pytest.mark.parametrize("shared", [False, True], ids=["own blobs", "shared blobs"])
def test_the_links_of_the_hubs_cache_are_followed(tmp_path, shared):
  """snapshots/COMMIT/a -> blobs/HASH, which may be a link into the whole cache's blobs."""
  repository = tmp_path / "models--org--name"
  snapshot = repository / "snapshots" / "c0ffee"
  snapshot.mkdir(parents=True)
  (repository / "blobs").mkdir()
  (tmp_path / "blobs" / "ab").mkdir(parents=True)
  if shared:
    (tmp_path / "blobs" / "ab" / "abc").write_text("{}")
    os.symlink("../../blobs/ab/abc", repository / "blobs" / "123")
  else:
    (repository / "blobs" / "123").write_text("{}")
  os.symlink("../../blobs/123", snapshot / "a.json")
  os.symlink("../../../outside.json", snapshot / "b.json")
  (tmp_path / "outside.json").write_text("secret")
  linked = tmp_path / "linked"
  os.symlink(snapshot, linked)
  for folder in (snapshot, linked):
    assert foreign_folder.find(str(folder), "a.json").read_text() == "{}"
    with pytest.raises(ValueError, match="is a link to"):
      foreign_folder.find(str(folder), "b.json")
