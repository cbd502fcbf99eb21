"""Checks of outputs, before a command works for an hour."""

import os

import pytest

from maxtext_ext.files.outputs import (
  require_apart,
  require_file_place,
  require_folder_place,
  require_outside,
)


def test_an_output_over_an_input_is_refused_by_any_name(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "a.json").write_text("a")
  (tmp_path / "link.json").symlink_to("a.json")
  (tmp_path / "folder").symlink_to(".")
  os.link(tmp_path / "a.json", tmp_path / "hard.json")
  for output in ("a.json", "./a.json", "link.json", "hard.json", "folder/a.json"):
    for known in ("a.json", str(tmp_path / "link.json")):
      with pytest.raises(ValueError, match=f"^{output} would overwrite {known}, which is read; "):
        require_apart(["new.json", output], ["other.json", known])
  require_apart(["b.json", "gs://bucket/a.json", "a.json.html"], ["a.json", "gs://bucket/b.json"])


@pytest.mark.parametrize("output", ["gs://b/x/a.json", "gcs://b/x/a.json", "gs://b/x//y/../a.json"])
def test_names_in_buckets(output):
  with pytest.raises(ValueError, match=r"would overwrite gs://b/x/a\.json"):
    require_apart([output], ["gs://b/x/a.json", "x/a.json"])
  require_apart(["gs://c/x/a.json"], ["gs://b/x/a.json"])


def test_what_is_read_is_not_in_a_folder_that_is_emptied(tmp_path):
  (tmp_path / "out").mkdir()
  (tmp_path / "link").symlink_to("out")
  for path in ("out/a.jsonl", "link/b/a.jsonl", "out"):
    with pytest.raises(ValueError, match="which is emptied first"):
      require_outside(str(tmp_path / path), str(tmp_path / "out"))
  require_outside(str(tmp_path / "outer.jsonl"), str(tmp_path / "out"))


def test_where_files_can_be_made(tmp_path):
  (tmp_path / "file").write_text("")
  require_file_place(str(tmp_path / "new" / "deeper" / "a.html"))
  require_file_place(str(tmp_path / "file"))  # it is replaced
  require_file_place("gs://bucket/a.html")
  require_folder_place(str(tmp_path / "new"))
  require_folder_place("gs://bucket/folder")
  for path in ("new/", ""):
    with pytest.raises(ValueError, match="expected the name of a file to write, got a folder"):
      require_file_place(os.path.join(tmp_path, path))
  with pytest.raises(ValueError, match="name of a file"):
    require_file_place("gs://bucket/")
  for check, path in ((require_file_place, "file/a.html"), (require_folder_place, "file")):
    with pytest.raises(ValueError, match="/file: expected a folder to write to, got a file"):
      check(str(tmp_path / path))


def test_a_folder_without_permission(tmp_path, monkeypatch):
  monkeypatch.setattr(os, "access", lambda path, mode: path != str(tmp_path))  # root has all
  with pytest.raises(
    ValueError, match=f"a/b: cannot be written to, by the permissions of {tmp_path}"
  ):
    require_folder_place(str(tmp_path / "a" / "b"))
