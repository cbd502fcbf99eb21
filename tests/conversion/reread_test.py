"""Mended inputs are read again: the result is that of a conversion that begins anew."""

import json
import os
import pathlib
import shutil

import numpy as np
import pytest
import soundfile

from maxtext_ext.conversion.convert import convert, plan_conversion, run_shard
from maxtext_ext.sources.named_files import current_versions, noting
from maxtext_ext.sources.options import SourceOptions
from maxtext_ext.sources.rows import from_working_folder
from tests.conversion.small_shards import (
  bytes_of,
  encoded,
  ids_of,
  options,
  quarantined,
  write_shards,
)

JSONL = options(source_format="jsonl", source=SourceOptions(records_per_shard=2))


class Corpus:
  """A manifest of some lines in a folder, and the conversion of it."""

  def __init__(self, folder: pathlib.Path, names: str) -> None:
    self.folder = folder / "clips"
    self.folder.mkdir()
    self.out = folder / "out"
    self._anew = folder / "anew"
    self.lines = [{"audio": f"{name}.wav", "text": name} for name in names]
    self.save()

  def save(self) -> None:
    content = "".join(json.dumps(line) + "\n" for line in self.lines)
    (self.folder / "lines.jsonl").write_text(content)

  def record(self, name: str, level: float = 0.5, frames: int = 800) -> None:
    tone = level * np.sin(np.arange(frames) / 5)
    soundfile.write(self.folder / f"{name}.wav", tone, 16_000)

  def convert(self):
    """Converts, and holds the result against one that begins anew."""
    summary = convert(str(self.folder), str(self.out), JSONL)
    shutil.rmtree(self._anew, ignore_errors=True)
    convert(str(self.folder), str(self._anew), JSONL)
    assert bytes_of(self.out) == bytes_of(self._anew)
    return summary

  def times(self) -> list[int]:
    return [path.stat().st_mtime_ns for path in sorted(self.out.glob("*.array_record"))]


@pytest.fixture
def corpus(tmp_path) -> Corpus:
  corpus = Corpus(tmp_path, "abcdef")
  for name in "abef":
    corpus.record(name)
  return corpus


def test_sound_files_that_were_missing(corpus):
  assert corpus.convert().quarantined == 2
  before = corpus.times()
  for name in "cd":
    corpus.record(name)
  summary = corpus.convert()
  assert (summary.quarantined, summary.written, summary.kept) == (0, 6, 2)
  assert quarantined(corpus.out) == []
  after = corpus.times()
  assert [old == new for old, new in zip(before, after, strict=True)] == [True, False, True]
  assert corpus.convert().repeated


def test_a_sound_file_that_comes_in_the_working_folder(monkeypatch, tmp_path):
  """Covers the working folder, where paths of Kaldi and Lhotse may start too."""
  monkeypatch.chdir(tmp_path)
  with noting() as versions:
    assert from_working_folder("c.wav", "clips") == "c.wav"
  assert current_versions(versions, allow_urls=False) == versions
  (tmp_path / "c.wav").touch()
  assert current_versions(versions, allow_urls=False) != versions
  with noting() as versions:
    assert from_working_folder("c.wav", "clips") == str(tmp_path / "c.wav")
  (tmp_path / "clips").mkdir()
  (tmp_path / "clips/c.wav").touch()
  assert current_versions(versions, allow_urls=False) != versions
  assert from_working_folder("c.wav", "clips") == "c.wav"


def test_what_is_not_mended_is_not_read_again(corpus):
  corpus.convert()
  before = bytes_of(corpus.out)
  summary = corpus.convert()
  assert summary.repeated and len(summary.reasons) == 2
  assert bytes_of(corpus.out) == before


def test_a_corrected_line(corpus):
  corpus.convert()
  before = corpus.times()
  corpus.lines[2]["audio"] = "somewhere/../a.wav"
  corpus.lines[2]["id"] = "a again"
  corpus.save()
  (corpus.folder / "somewhere").mkdir()
  summary = corpus.convert()
  assert (summary.written, summary.quarantined, summary.kept) == (5, 1, 2)
  after = corpus.times()
  # The lines behind it have moved, and are the same.
  assert [old == new for old, new in zip(before, after, strict=True)] == [True, False, True]


@pytest.mark.parametrize("change", ["added", "removed", "moved", "blank"])
def test_other_lines(corpus, change):
  corpus.convert()
  match change:
    case "added":
      corpus.lines.append({"audio": "a.wav", "text": "g", "id": "g"})
    case "removed":
      del corpus.lines[3]
    case "moved":
      corpus.lines.reverse()
  corpus.save()
  if change == "blank":
    path = corpus.folder / "lines.jsonl"
    path.write_text("\n" + path.read_text())
  assert not corpus.convert().repeated


def test_a_manifest_that_was_only_touched(corpus):
  corpus.convert()
  before = corpus.times()
  os.utime(corpus.folder / "lines.jsonl", ns=(0, 0))
  assert convert(str(corpus.folder), str(corpus.out), JSONL).repeated
  assert corpus.times() == before


def test_sound_that_changes_after_the_conversion(corpus):
  corpus.convert()
  before = corpus.times()
  corpus.record("f", level=0.25)
  assert corpus.convert().kept == 2
  assert [old == new for old, new in zip(before, corpus.times(), strict=True)] == [
    True,
    True,
    False,
  ]
  (corpus.folder / "e.wav").unlink()
  assert corpus.convert().quarantined == 3


def test_sound_that_changes_while_a_conversion_is_broken_off(corpus):
  for job in plan_conversion(str(corpus.folder), str(corpus.out), JSONL).jobs[:2]:
    run_shard(job)
  for name in "abef":
    corpus.record(name, level=0.25)
  summary = corpus.convert()
  assert (summary.kept, summary.read) == (1, 6), "that of c and d, which are still missing"


def test_ids_that_are_free_again(corpus):
  """A record left out since an earlier shard had its id comes back when that one is corrected."""
  corpus.lines[4]["id"] = "a.wav"
  corpus.save()
  summary = corpus.convert()
  assert "duplicate id: 'a.wav'" in summary.reasons[-1]
  assert corpus.convert().repeated
  corpus.lines[0]["id"] = "first"
  corpus.save()
  summary = corpus.convert()
  assert (summary.kept, summary.written) == (1, 4)
  assert ids_of(corpus.out) == [["first", "b.wav"], [], ["a.wav", "f.wav"]]


def test_too_many_bad_records_are_corrected(corpus):
  few = options(
    source_format="jsonl", max_bad_fraction=0.1, source=SourceOptions(records_per_shard=2)
  )
  with pytest.raises(ValueError, match="2 of 6 records are bad"):
    convert(str(corpus.folder), str(corpus.out), few)
  for name in "cd":
    corpus.record(name)
  assert convert(str(corpus.folder), str(corpus.out), few).kept == 2
  assert corpus.convert().repeated


def test_one_file_of_many(tmp_path):
  source = write_shards(tmp_path / "in", ["a", b"junk"], ["c"], ["d"])
  out = tmp_path / "out"
  assert convert(source, str(out), options()).quarantined == 1
  write_shards(tmp_path / "in", ["a", encoded("b")])
  summary = convert(source, str(out), options())
  assert (summary.kept, summary.written, summary.quarantined) == (2, 4, 0)
  convert(source, str(tmp_path / "anew"), options())
  assert bytes_of(out) == bytes_of(tmp_path / "anew")


def test_urls_are_read_when_they_are_allowed(corpus):
  corpus.lines[0]["audio"] = "http://127.0.0.1:1/a.wav"
  corpus.lines[2]["audio"] = "ftp://127.0.0.1/a.wav"
  corpus.save()
  corpus.convert()
  reasons = [line["reason"] for line in quarantined(corpus.out)]
  assert "nothing is fetched unasked" in reasons[0] and "scheme ftp://" in reasons[1]
  asked = options(source_format="jsonl", source=SourceOptions(records_per_shard=2, allow_urls=True))
  for _ in range(2):  # what was not there is tried again
    assert convert(str(corpus.folder), str(corpus.out), asked).kept == 2
    assert "cannot fetch it" in quarantined(corpus.out)[0]["reason"]
  assert corpus.convert().kept == 2
