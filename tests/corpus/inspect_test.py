"""The command on real shards: what it reads, prints and writes."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from maxtext_ext.cli import main as cli
from maxtext_ext.corpus import inspect
from maxtext_ext.corpus.inspect import find_shards, read_rows, survey_shards
from maxtext_ext.corpus.issues import find
from maxtext_ext.corpus.statistics import by_field, summarize
from maxtext_ext.files import storage
from maxtext_ext.pages.duration import format_duration
from maxtext_ext.records.manifest import shard_name
from maxtext_ext.records.schema import Record, encode_example
from maxtext_ext.records.writer import ShardWriter
from tests import tiny
from tests.page import Page


def write_shard(path: pathlib.Path, records: list[Record], broken: int = 0) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  with ShardWriter(str(path)) as writer:
    for record in records:
      writer.write(encode_example(record))
    for _ in range(broken):
      writer.write(b"not an example")


@pytest.fixture
def data(tmp_path) -> pathlib.Path:
  folder = tmp_path / "data"
  tiny.write_split(folder, "train", tiny.records(14, seed=1), shards=3)
  write_shard(folder / shard_name("test", 0, 1), tiny.records(5, seed=2), broken=2)
  line = {"split": "train", "id": "x", "file": "in.jsonl", "position": 3, "reason": "no text"}
  (folder / "quarantine.jsonl").write_text(json.dumps(line) + "\n")
  return folder


def test_every_record_of_every_split_is_read(data):
  told: list[tuple[float, float]] = []
  shards = find_shards(str(data))
  survey = survey_shards(shards, progress=lambda done, seconds: told.append((done, seconds)))
  assert [shard.split for shard in shards] == ["test", "train", "train", "train"]
  splits = by_field(survey, "split")
  for split, expected in (("train", tiny.records(14, seed=1)), ("test", tiny.records(5, seed=2))):
    assert splits[split].records == len(expected)
    assert splits[split].seconds == pytest.approx(sum(record.seconds for record in expected))
  assert survey.unreadable == {"test": 2}
  assert all("test-00000-of-00001.array_record, record" in text for text in survey.problems)
  assert told == sorted(told)
  assert told[-1][0] < 1


def test_rows_lead_back_to_their_records(data):
  shards = find_shards(str(data))
  survey = survey_shards(shards)
  rows = [17, 0, 5, 18, 3]
  for row, record in zip(rows, read_rows(shards, survey, rows), strict=True):
    assert len(record.audio) == survey.rows["samples"][row]
    assert len(record.text) == survey.rows["characters"][row]


@pytest.mark.integration_test
def test_several_processes_find_the_same(data):
  shards = find_shards(str(data))
  one, several = survey_shards(shards), survey_shards(shards, workers=2)
  assert one.rows.tobytes() == several.rows.tobytes()
  assert (one.groups, one.characters, one.unreadable) == (
    several.groups,
    several.characters,
    several.unreadable,
  )


@pytest.mark.parametrize(("sample", "taken"), [(4, 4), (6, 6), (2, 2), (1000, 19)])
def test_a_sample_takes_the_same_records_every_time(data, sample, taken):
  first, second = (survey_shards(find_shards(str(data), sample)) for _ in range(2))
  assert first.rows.tobytes() == second.rows.tobytes()
  assert len(first.rows) + first.unreadable.total() == taken + (2 if sample == 1000 else 0)
  assert len(np.unique(first.rows[["shard", "position"]])) == len(first.rows)


def test_a_damaged_shard_does_not_hide_the_others(data):
  path = data / shard_name("train", 1, 3)
  content = bytearray(path.read_bytes())
  middle = len(content) // 2
  content[middle : middle + 8] = b"\xff" * 8
  path.write_bytes(content)
  (data / shard_name("train", 2, 3)).write_bytes(b"")
  survey = survey_shards(find_shards(str(data)))
  assert survey.unreadable["train"] >= 2
  assert summarize(survey.rows).records == 19 - 4 - (survey.unreadable["train"] - 1)
  assert any("cannot open" in problem for problem in survey.problems)


@pytest.mark.parametrize(
  "layout", ["train/a.array_record", "train/train-00000-of-00001.array_record"]
)
def test_splits_in_folders_of_their_own(tmp_path, layout):
  write_shard(tmp_path / layout, tiny.records(2))
  write_shard(tmp_path / "dev" / "b.array_record", tiny.records(3))
  splits = by_field(survey_shards(find_shards(str(tmp_path))), "split")
  assert {name: summary.records for name, summary in splits.items()} == {"train": 2, "dev": 3}


def test_one_shard(data):
  path = str(data / shard_name("test", 0, 1))
  assert [shard.path for shard in find_shards(path)] == [path]


def test_no_shards(tmp_path):
  with pytest.raises(ValueError, match="no shards, expected one"):
    find_shards(str(tmp_path))


@pytest.mark.parametrize("sample", [0, -3])
def test_a_sample_of_nothing(data, sample):
  with pytest.raises(ValueError, match=f"sample is {sample}, expected"):
    find_shards(str(data), sample)


def test_no_workers(data):
  with pytest.raises(ValueError, match="workers is 0, expected at least 1"):
    survey_shards(find_shards(str(data)), workers=0)


def test_a_folder_is_no_page(data):
  with pytest.raises(ValueError, match="is a folder, expected the name of the page"):
    inspect.main(str(data), str(data))


def test_the_page_takes_no_place_of_the_data(data):
  shard = next(data.glob("*.array_record"))
  before = shard.read_bytes()
  with pytest.raises(ValueError, match="would overwrite"):
    inspect.main(str(data), str(shard))
  assert shard.read_bytes() == before


def test_nothing_readable(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  write_shard(tmp_path / "data" / shard_name("train", 0, 1), [], broken=3)
  with pytest.raises(ValueError, match=r"no record can be read, of 3; the first: .*not a tf"):
    inspect.main("data")
  assert not (tmp_path / "inspect.html").exists()


def test_names_cannot_steer_the_terminal(tmp_path, capsys):
  (clip,) = tiny.records(1)
  odd = Record(
    sample_id="a", audio=clip.audio, text="[red]x", dataset_name="\x1b[2J[b]d", language="\u202eL"
  )
  write_shard(tmp_path / shard_name("train", 0, 1), [odd])
  inspect.main(str(tmp_path), str(tmp_path / "page.html"))
  output = capsys.readouterr().out
  assert "\x1b" not in output
  assert "\\x1b[2J[b]d" in output
  assert "\\u202eL" in output


@pytest.mark.integration_test
def test_the_command(data, tmp_path):
  finished = subprocess.run(
    [sys.executable, "-m", "maxtext_ext.cli", "data", "inspect", str(data)],
    cwd=tmp_path,
    capture_output=True,
    text=True,
  )
  assert finished.returncode == 0, finished.stderr
  lines = finished.stdout.splitlines()
  survey = survey_shards(find_shards(str(data)))
  for split in ("train", "test"):
    (line,) = [line.split() for line in lines if line.split()[:1] == [split]]
    summary = by_field(survey, "split")[split]
    assert line[1] == str(summary.records)
    assert " ".join(line[2:4]) == format_duration(summary.seconds)
    assert line[4:9] == [
      f"{summary.shortest:.2f}",
      "/",
      f"{summary.median:.2f}",
      "/",
      f"{summary.longest:.2f}",
    ]
    assert line[-1] == str(survey.unreadable[split])
  for finding in find(survey):
    assert any(line.split() == [f"{len(finding.rows):,}", *finding.name.split()] for line in lines)
  assert lines[-1] == "inspect.html: pictures, characters and players"
  page = Page((tmp_path / "inspect.html").read_text(encoding="utf-8"))
  assert page.inside("h1") == [str(data)]
  assert "1 in quarantine" in page.inside("tile")
  assert [tag for tag, _ in page.elements].count("audio") >= 12


def test_the_page_goes_where_it_is_told(data, tmp_path, capsys):
  with pytest.raises(SystemExit) as stopped:
    cli(["data", "inspect", str(data), "--html", str(tmp_path / "a" / "b.html"), "--sample", "4"])
  assert not stopped.value.code
  assert "A sample" in (tmp_path / "a" / "b.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("sample", [None, 8])
def test_shards_at_a_url(data, root, sample):
  for path in data.iterdir():
    storage.write_bytes(storage.join(root, path.name), path.read_bytes())
  here, there = find_shards(str(data), sample), find_shards(root, sample)
  survey = survey_shards(there)
  assert survey.rows.tobytes() == survey_shards(here).rows.tobytes()
  (record,) = read_rows(there, survey, [3])
  assert len(record.audio) == survey.rows["samples"][3]
