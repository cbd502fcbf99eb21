"""Archives and tables laid out as on the hub in speechcolab/gigaspeech."""

import csv
import io
import tarfile

import pytest

from maxtext_ext.sources.entry import Bad
from tests.sources.manifests import sound_bytes
from tests.sources.opening import opener, outcomes, read_entries

COLUMNS = ("sid", "speaker", "begin_time", "end_time", "text_tn", "aid", "title", "category")


def write_chunk(data, part, number, clips, *, additional="", members=None):
  """An archive of the clips (id, text), and its table."""
  name = f"{part}_chunks_{number:04d}"
  folder = data / "audio" / f"{part}_files{additional}"
  folder.mkdir(parents=True, exist_ok=True)
  with tarfile.open(folder / f"{name}.tar.gz", "w:gz") as archive:
    for sid, content in members or [(sid, sound_bytes(0, 1, "WAV")) for sid, _ in clips]:
      info = tarfile.TarInfo(f"{name}/{sid}.wav")
      info.size = len(content)
      archive.addfile(info, io.BytesIO(content))
  tables = data / "metadata" / f"{part}_metadata{additional}"
  tables.mkdir(parents=True, exist_ok=True)
  with open(tables / f"{name}_metadata.csv", "w", encoding="utf-8", newline="") as file:
    writer = csv.DictWriter(file, COLUMNS)
    writer.writeheader()
    for sid, text in clips:
      row = dict.fromkeys(COLUMNS, "0") | {"sid": sid, "text_tn": text, "speaker": "N/A"}
      writer.writerow(row | {"title": 'A "title", with\na line break', "category": ""})
  return folder / f"{name}.tar.gz", tables / f"{name}_metadata.csv"


def clips(prefix, count):
  return [(f"{prefix}_S{index:07d}", f"{prefix} SAYS {index} <PERIOD>") for index in range(count)]


@pytest.fixture
def folder(tmp_path):
  data = tmp_path / "gigaspeech" / "data"
  write_chunk(data, "xs", 0, clips("POD1", 2))
  write_chunk(data, "xs", 1, clips("POD2", 1))
  write_chunk(data, "s", 0, clips("YOU3", 2), additional="_additional")
  write_chunk(data, "dev", 0, clips("YOU4", 1))
  return data.parent


def test_a_subset_holds_the_smaller_ones(folder):
  xs = outcomes(read_entries("gigaspeech", f"{folder}:xs#train"))
  assert xs == [*clips("POD1", 2), *clips("POD2", 1)]
  assert outcomes(read_entries("gigaspeech", f"{folder}:s")) == [*xs, *clips("YOU3", 2)]
  assert outcomes(read_entries("gigaspeech", f"{folder}:s#validation")) == clips("YOU4", 1)
  assert outcomes(read_entries("gigaspeech", f"{folder}/data:xs")) == xs
  assert len(opener("gigaspeech")(f"{folder}:s")) == 3
  assert outcomes(read_entries("gigaspeech", f"{folder}:xs", shards=1)) == xs


@pytest.mark.parametrize(
  ("place", "said"),
  [
    (":xxl#train", "subset is xxl, expected one of"),
    (":xs#test", "no archives data/audio/test_files/test_chunks_*.tar.gz"),
    (":m", "no archives data/audio/m_files_additional"),
  ],
)
def test_what_is_not_there(folder, place, said):
  with pytest.raises(ValueError, match=said.replace("*", r"\*")):
    opener("gigaspeech")(f"{folder}{place}")


def test_a_missing_table(folder):
  (folder / "data/metadata/xs_metadata/xs_chunks_0001_metadata.csv").unlink()
  with pytest.raises(ValueError, match="1 of 2 tables are missing; copy the folder metadata"):
    opener("gigaspeech")(f"{folder}:xs")


def test_clips_and_rows_that_do_not_match_are_quarantined(tmp_path):
  members = [("A", sound_bytes(0, 1, "WAV")), ("B", b"RIFF broken"), ("X", sound_bytes(0, 1))]
  rows = [("A", "GOOD"), ("B", "BROKEN"), ("C", "GONE"), ("D", "GONE TOO")]
  write_chunk(tmp_path, "dev", 0, rows, members=members)
  found = dict(outcomes(read_entries("gigaspeech", f"{tmp_path}:xs#validation")))
  assert found.pop("A") == "GOOD"
  assert found.keys() == {"B", "C", "D", "X"}
  assert "audio" in found["B"]
  assert "has no row of it" in found["X"]
  assert all("has no such clip" in found[name] for name in "CD")


def test_a_table_of_another_form(tmp_path):
  _, table = write_chunk(tmp_path, "dev", 0, clips("A", 1))
  table.write_text("id,text\nA_S0000000,HELLO\n", encoding="utf-8")
  (entry,) = read_entries("gigaspeech", f"{tmp_path}:xs#validation")
  assert isinstance(entry, Bad) and "has no column sid" in entry.reason
  table.write_bytes(b"sid,text_tn\nA_S0000000,\xff\n")
  (entry,) = read_entries("gigaspeech", f"{tmp_path}:xs#validation")
  assert isinstance(entry, Bad) and "cannot be read" in entry.reason


def test_a_cut_archive(tmp_path):
  chunk, _ = write_chunk(tmp_path, "dev", 0, clips("A", 3))
  chunk.write_bytes(chunk.read_bytes()[:-100])
  entries = read_entries("gigaspeech", f"{tmp_path}:xs#validation")
  reasons = [entry.reason for entry in entries if isinstance(entry, Bad)]
  assert reasons and all("dev_chunks_0000.tar.gz" in reason for reason in reasons)
  assert {name for name, _ in outcomes(entries) if name} == {sid for sid, _ in clips("A", 3)}
