"""Records of runs in their log folders."""

import tempfile
from pathlib import Path

import pytest
from orchestration import run_record


def test_only_one_program_has_the_folder_of_a_run(tmp_path: Path):
  assert run_record.claim(tmp_path / "run")
  assert not run_record.claim(tmp_path / "run")


def test_files_of_others_are_no_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
  monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
  for name, text in (("a", "not JSON"), ("b", "[1]"), ("c", '{"began": "yesterday"}')):
    (tmp_path / name).mkdir()
    (tmp_path / name / "run.json").write_text(text)
  (tmp_path / "d/run.json").mkdir(parents=True)
  for name in ("mine", "group/ours"):
    run_record.write(tmp_path / name, run_name=name, began=1.0, state="ended")
  assert [each["run_name"] for each in run_record.all_runs()] == ["mine", "group/ours"]
