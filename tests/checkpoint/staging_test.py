"""The folder of a conversion: where its record is looked for, and how it gets to a bucket."""

import pathlib

import gcs_server
import pytest
from etils import epath

from maxtext_ext.checkpoint import staging


@pytest.mark.parametrize("path", ["/", "/nowhere", "/nowhere/runs/one", "gs://", "gs://bucket"])
def test_a_base_is_not_looked_for_above_the_highest_folder(monkeypatch, path):
  asked = []

  def exists(file):
    asked.append(str(file))
    return False

  monkeypatch.setattr(type(epath.Path(path)), "exists", exists)
  with pytest.raises(ValueError, match=r"no hf/conversion.json there.*--base"):
    staging.find_base(path)
  assert all(file.startswith(path.split("/runs")[0] + "/") for file in asked)


def test_a_base_is_found_from_the_items_of_a_step(tmp_path):
  (tmp_path / "hf").mkdir()
  (tmp_path / "hf" / staging.RECORD).write_text("{}")
  assert staging.find_base(str(tmp_path / "0" / "items")) == str(tmp_path)


def test_what_is_filled_here_gets_to_a_bucket_with_its_folders(monkeypatch):
  with gcs_server.serving(monkeypatch, "bucket"):
    with staging.new_folder("gs://bucket/out", local=True) as folder:
      for name in ("top.json", "lm/config.json", "lm/deep/file"):
        file = pathlib.Path(folder, name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    for name in ("top.json", "lm/config.json", "lm/deep/file"):
      assert epath.Path(f"gs://bucket/out/{name}").read_text() == name
