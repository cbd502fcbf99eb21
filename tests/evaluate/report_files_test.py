"""Places of a report that would be written over something else."""

import pytest

from maxtext_ext.evaluate.report_files import check_place, report_files


def test_names():
  assert report_files("gs://b/r.html") == ("gs://b/r.html", "gs://b/r.json", "gs://b/r.md")
  for name in ("r.json", "r.md", "r.jsonl", "r.csv"):
    with pytest.raises(ValueError, match=r"name it \.html"):
      report_files(name)


def test_a_folder_of_inputs_keeps_its_files_and_gets_a_report(tmp_path):
  page = tmp_path / "dataset.html"
  check_place(page, [tmp_path])
  (tmp_path / "dataset.json").write_text("{}")
  with pytest.raises(ValueError, match=r"dataset\.json is in .*, which is read"):
    check_place(page, [tmp_path])
  page.write_text("<!doctype html>")  # an earlier report
  check_place(page, [tmp_path])
