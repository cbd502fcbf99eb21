"""CSV and TSV files: of Common Voice, of spreadsheets, and broken ones."""

import gzip

import numpy as np
import pytest
import soundfile

from tests.sources.opening import opener, outcomes, read_entries

CV = "client_id\tpath\tsentence_id\tsentence\tup_votes\tlocale\n"


@pytest.fixture
def folder(tmp_path):
  (tmp_path / "clips").mkdir()
  for name in ("a.wav", "clips/a.wav", "clips/b.wav"):
    soundfile.write(tmp_path / name, np.sin(np.arange(1600) / 5), 16_000)
  return tmp_path


def test_common_voice(folder):
  (folder / "train.tsv").write_text(
    CV
    + 'c1\ta.wav\t1\t"Yes," he said.\t2\ten\n'
    + 'c2\tb.wav\t2\tאמר: "שלום\t2\the\n'
    + "c3\tlost.wav\t3\tx\t2\the\n"
  )
  (folder / "dev.tsv").write_text(CV + "c4\ta.wav\t1\tother\t0\the\n")
  good, hebrew, lost = read_entries("csv", folder, "train")
  assert good.record.text == '"Yes," he said.' and good.record.sample_id == "clips/a.wav"
  assert (hebrew.record.text, hebrew.record.language) == ('אמר: "שלום', "Hebrew")
  assert hebrew.record.speaker == "c2"
  assert "clips/lost.wav: audio file not found" in lost.reason and lost.position == 4
  assert outcomes(read_entries("csv", folder, "validation")) == [("clips/a.wav", "other")]


@pytest.mark.parametrize("delimiter", [",", ";", "|", "\t"])
def test_a_table_of_a_spreadsheet(folder, delimiter):
  d = delimiter
  content = (
    f"\ufeffid{d}file_name{d}transcription{d}offset{d}duration\r\n\r\n"
    f'1{d}a.wav{d}"one{d} ""two""\nthree"{d}{d}\r\n'
    f"2{d}a.wav{d}part{d}0.05{d}0.025\r\n"
  )
  (folder / "t.csv.gz").write_bytes(gzip.compress(content.encode()))
  whole, part = read_entries("csv", folder)
  assert whole.record.text == f'one{d} "two"\nthree' and whole.position == 3
  assert (part.record.sample_id, len(part.record.audio), part.position) == ("2", 400, 5)


def test_rows_that_cannot_be_used(folder):
  (folder / "t.csv").write_bytes(
    b"audio,text,id\n"
    b"a.wav,hi,1\n"
    b"a.wav,too,many,2\n"
    b'a.wav,"stray" quote,3\n'
    b"a.wav,\xff\xfe,4\n"
    b",no path,5\n"
    b"a.wav,,6\n"
    b"a.wav," + b"x" * 200_000 + b",7\n"
    b"../../../etc/passwd,x,8\n"
    b"/dev/zero,x,9\n"
    b"a.wav,still here,10\n"
    b'a.wav,"never closed,11\n'
  )
  entries = read_entries("csv", folder)
  expected = [
    "hi",
    "4 fields, expected the 3",
    "check its quotes",
    "not UTF-8",
    "no 'audio'",
    "text is missing",
    "field larger than field limit",
    "not found|cannot decode",
    "cannot",
    "still here",
    "unexpected end of data",
  ]
  assert [entry.position for entry in entries] == list(range(2, 13))
  for (_, got), wanted in zip(outcomes(entries), expected, strict=True):
    assert any(part in got for part in wanted.split("|")), got


def test_shards_hold_every_row_once(folder):
  rows = [f'a.wav,"line\nbreak {i}",{i}' for i in range(7)]
  (folder / "t.csv").write_text("audio,text,id\n" + "\n".join(rows))
  shards = opener("csv")(str(folder / "t.csv"), None)
  assert len(shards) == 1
  entries = read_entries("csv", folder, records_per_shard=3)
  assert [entry.record.sample_id for entry in entries] == [str(i) for i in range(7)]
  assert [entry.position for entry in entries] == [2 + 2 * i for i in range(7)]
  assert [entry.record.text for entry in entries] == [f"line\nbreak {i}" for i in range(7)]


@pytest.mark.parametrize(
  ("content", "reason"),
  [
    (b"", "no column for the audio"),
    (b"name,text\na,b\n", "no column for the audio .*its first row is"),
    (b"audio,said\na,b\n", "no column for the text .*--text-key"),
    (b"audio,text,text\na,b,c\n", "2 columns are called 'text', expected one for the text"),
    (b"audio,text\n", "no lines"),
    ("audio,text\na,b\n".encode("utf-16"), "not UTF-8"),
  ],
)
def test_tables_that_cannot_be_used(folder, content, reason):
  (folder / "t.csv").write_bytes(content)
  with pytest.raises(ValueError, match=f"t.csv.*{reason}"):
    read_entries("csv", folder)


def test_asked_columns(folder):
  (folder / "t.csv").write_text("sound,said\na.wav,hi\n")
  entries = read_entries("csv", folder, audio_key="sound", text_key="said", language="Hebrew")
  assert outcomes(entries) == [("a.wav", "hi")] and entries[0].record.language == "Hebrew"


def test_an_asked_id(folder):
  (folder / "t.csv").write_text("key,audio,text\nk1,a.wav,hi\n,a.wav,ho\n")
  assert outcomes(read_entries("csv", folder, id_key="key")) == [("k1", "hi"), ("a.wav", "ho")]
  with pytest.raises(ValueError, match=r"no column for the id \(nope\)"):
    read_entries("csv", folder, id_key="nope")
