"""JSONL lines and the audio that they name."""

import base64
import gzip
import json

import fsspec
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.records.schema import Record, RecordError
from maxtext_ext.sources import formats, rows
from maxtext_ext.sources.entry import Bad, Good
from maxtext_ext.sources.jsonl import parse_line
from maxtext_ext.sources.lines import Line
from maxtext_ext.sources.options import SourceOptions
from maxtext_ext.sources.rows import Row, read_row
from tests.sources.opening import opener, outcomes, read_entries

open_shards = opener("jsonl")


def read_line(content: bytes, folder: str, options: SourceOptions | None = None) -> Record:
  values = parse_line(Line(number=1, offset=0, content=content))
  return read_row(Row(values=values), folder, options or SourceOptions())


@pytest.fixture
def folder(tmp_path) -> str:
  tone = np.sin(np.arange(800) / 5)
  soundfile.write(tmp_path / "a.wav", tone, 16_000)
  soundfile.write(tmp_path / "b.flac", np.stack([tone, tone], axis=1), 8_000)
  soundfile.write(tmp_path / "silent.wav", 0 * tone, 16_000)
  return str(tmp_path)


def line(**fields: object) -> bytes:
  return json.dumps({"audio": "a.wav", "text": "hi"} | fields).encode()


def test_a_full_line(folder):
  content = line(audio="b.flac", id="x/7", language="Arabic", dataset="mgb2", prompt="names: Noor")
  record = read_line(content, folder)
  assert record.audio.shape == (1_600,) and record.audio.dtype == np.float32
  fields = (record.sample_id, record.text, record.language, record.dataset_name, record.prompt)
  assert fields == ("x/7", "hi", "Arabic", "mgb2", "names: Noor")


def test_defaults(folder):
  record = read_line(line(extra=[1]), folder)
  assert (record.sample_id, record.language, record.dataset_name) == ("a.wav", None, "")
  assert read_line(line(id=12), folder).sample_id == "12"
  assert read_line(line(audio=f"{folder}/a.wav"), "elsewhere").audio.shape == (800,)
  assert read_line(b"\xef\xbb\xbf" + line(), folder).text == "hi"  # a byte order mark
  assert read_line(line(text="\ufeffhi"), folder).text == "hi"


def test_official_form(folder):
  record = read_line(line(text="language Hebrew<asr_text>שלום"), folder)
  assert (record.text, record.language) == ("שלום", "Hebrew")


@pytest.mark.parametrize(
  ("content", "reason", "sample_id"),
  [
    (b"{", "not JSON", ""),
    (b"[" * 100_000, "not JSON", ""),
    (b"[]", "JSON is a list", ""),
    (b'{"audio": "a.wav", "id": "x", "text": "\xff"}', r"not UTF-8 \(byte 0xff at 39\)", "x"),
    (b'\xff{"audio": "a.wav"}', "not UTF-8", ""),
    (b'{"text": "hi", "id": "x"}', "no 'audio'", "x"),
    (line(audio=3), "'audio' is 3, expected a string", ""),
    (line(id=[1]), r"'id' is \[1\], expected a string", ""),
    (line(id=True), "'id' is True", ""),
    (line(text=None), "text is missing or empty", "a.wav"),
    (line(text=" "), "text is missing or empty", "a.wav"),
    (line(text="\u200b"), "text is missing or empty", "a.wav"),
    (line(text="\ufeff\u200f \u3164"), "text is missing or empty", "a.wav"),
    (line(text=["hi"]), "'text' is ", "a.wav"),
    (line(text="language English<asr_text>"), "text is missing or empty", "a.wav"),
    (
      line(text="language English<asr_text>x", language="Arabic"),
      "'Arabic', but the text",
      "a.wav",
    ),
    (line(audio="none.wav"), "none.wav: audio file not found", "none.wav"),
    (line(audio="silent.wav", id="s"), "silent.wav: audio is silent", "s"),
    (line(audio="\0"), "has a null byte", "\0"),
  ],
)
def test_bad_lines(folder, content, reason, sample_id):
  with pytest.raises(RecordError, match=reason) as caught:
    read_line(content, folder)
  assert caught.value.sample_id == sample_id


files_of_lines = st.lists(
  st.tuples(
    st.lists(st.sampled_from(["{}", "", "  ", "[]"]), min_size=1, max_size=12), st.booleans()
  ),
  min_size=1,
  max_size=3,
)


@given(files_of_lines, st.integers(1, 5), st.none() | st.integers(1, 6))
def test_shards_hold_every_line_once_and_in_order(tmp_path_factory, files, per_shard, shards):
  folder = tmp_path_factory.mktemp("lines")
  expected = []
  for number, (lines, newline_at_end) in enumerate(files):
    path = folder / f"{number}.jsonl"
    path.write_text("\n".join(lines) + "\n" * newline_at_end)
    expected += [(str(path), line) for line, text in enumerate(lines, 1) if text.strip()]
  options = SourceOptions(records_per_shard=per_shard, shards=shards)
  if len(expected) < (shards or 1):
    with pytest.raises(ValueError, match=r"no lines|there are only"):
      open_shards(str(folder), options)
    return
  opened = open_shards(str(folder), options)
  read = [[(entry.file, entry.position) for entry in shard.entries()] for shard in opened]
  assert [place for part in read for place in part] == expected
  sizes = [len(part) for part in read]
  if shards:
    assert len(sizes) == shards and max(sizes) - min(sizes) <= 1
  else:
    assert set(sizes[:-1]) <= {per_shard} and sizes[-1] <= per_shard


def test_entries(folder):
  with open(f"{folder}/x.jsonl", "wb") as file:
    file.write(b"\n".join([line(), b"", b"junk", line(audio="b.flac")]))
  (shard,) = open_shards(folder, SourceOptions())
  first, second, third = shard.entries()
  assert isinstance(first, Good) and first.serialized is None and first.record.sample_id == "a.wav"
  assert isinstance(second, Bad) and (second.file, second.position) == (f"{folder}/x.jsonl", 3)
  assert isinstance(third, Good) and (third.position, third.done) == (4, 1.0)


def test_manifests_of_nemo(folder):
  time = np.arange(32_000) / 16_000
  soundfile.write(f"{folder}/long.wav", 0.2 * time, 16_000)
  manifest = [
    {"audio_filepath": "long.wav", "text": "all", "duration": 2.0},
    {"audio_filepath": "long.wav", "text": "part", "offset": 0.5, "duration": 1.25},
    {"audio_filepath": "long.wav", "text": "rest", "offset": 1.5, "speaker": 7, "lang": "en"},
    {"audio_filepath": "long.wav", "text": "rest", "offset": 1.5, "duration": 0},
    {"audio_filepath": "long.wav", "text": "late", "offset": 1.0, "duration": 9.0},
    {"audio_filepath": "long.wav", "text": "when?", "offset": "0:05", "duration": 1.0},
  ]
  with open(f"{folder}/manifest.jsonl", "w") as file:
    file.write("\n".join(map(json.dumps, manifest)))
  (shard,) = open_shards(f"{folder}/manifest.jsonl", SourceOptions())
  *good, late, strange = shard.entries()
  ids = [entry.record.sample_id for entry in good]
  assert ids == ["long.wav", "long.wav#t=0.5,1.75", "long.wav#t=1.5", "long.wav#t=1.5"]
  for entry, (begin, end) in zip(good, [(0, 2), (0.5, 1.75), (1.5, 2), (1.5, 2)], strict=True):
    expected = 0.2 * time[int(begin * 16_000) : int(end * 16_000)]
    np.testing.assert_allclose(entry.record.audio, expected, atol=2**-15)
  assert (good[2].record.speaker, good[2].record.language) == ("7", "English")
  assert late.sample_id == "long.wav#t=1.0,10.0" and "the audio ends 1.00 s behind" in late.reason
  assert "'offset' is '0:05', expected a number of seconds" in strange.reason


@pytest.mark.parametrize(
  ("duration", "seconds"),
  [
    (2.5, 2.5),  # the text is of that part
    (15, 15.0),
    (16, 16.04),  # rounded
    (16.0, 16.04),
    (16.04, 16.04),
    (16.03, 16.03),
    (16_040, 16.04),  # milliseconds
    (0, 16.04),
    (None, 16.04),
    ("0:16", 16.04),
  ],
)
def test_a_duration_alone_counts_from_the_beginning(tmp_path, duration, seconds):
  soundfile.write(tmp_path / "long.wav", 0.2 * np.ones(round(16.04 * 16_000)), 16_000)
  record = read_line(line(audio="long.wav", duration=duration), str(tmp_path))
  assert len(record.audio) == round(seconds * 16_000)
  assert record.sample_id == "long.wav"


def test_keys_and_what_lines_do_not_say(folder):
  options = SourceOptions(
    audio_key="file", text_key="said", id_key="n", language="Hebrew", dataset_name="mine"
  )
  content = line(file="b.flac", said="this", n=5, id="not this", text="nor this")
  record = read_line(content, folder, options)
  assert (record.sample_id, record.text, len(record.audio)) == ("5", "this", 1_600)
  assert (record.language, record.dataset_name) == ("Hebrew", "mine")
  with pytest.raises(RecordError, match="no 'file': expected the path"):
    read_line(line(), folder, options)


def test_sound_at_a_url(folder):
  with open(f"{folder}/a.wav", "rb") as file:
    fsspec.filesystem("memory").pipe("/clips/a.wav", file.read())
  assert len(read_line(line(audio="memory://clips/a.wav"), "memory://lists").audio) == 800
  assert len(read_line(line(), "memory://clips").audio) == 800
  with pytest.raises(RecordError, match=r"memory://clips/b.wav: audio file not found"):
    read_line(line(audio="b.wav"), "memory://clips")


def test_what_to_json_of_datasets_writes_compressed(folder):
  with open(f"{folder}/a.wav", "rb") as file:
    data = base64.b64encode(file.read()).decode()
  samples = np.sin(np.arange(800) / 5).tolist()
  lines = [
    {"audio": {"bytes": None, "path": "a.wav"}, "sentence": "path"},
    {"audio": {"path": "p0", "array": samples, "sampling_rate": 16_000}, "sentence": "array"},
    {"audio": {"bytes": data, "path": None}, "sentence": "bytes"},
    {"audio": samples, "sampling_rate": 16_000, "sentence": "list"},
    {"audio": {"bytes": "?", "path": None}, "sentence": "x"},
    {"audio": {"array": samples}, "sentence": "x"},
    {"audio": {}, "sentence": "x"},
  ]
  content = gzip.compress("".join(json.dumps(each) + "\n" for each in lines).encode())
  for name, data in (("whole", content), ("cut", content[:-9])):
    with open(f"{folder}/{name}.jsonl.gz", "wb") as file:
      file.write(data)
  entries = read_entries("jsonl", f"{folder}/whole.jsonl.gz")
  good, bad = entries[:4], [entry.reason for entry in entries[4:]]
  expected = [("a.wav", "path"), ("p0", "array"), ("whole.jsonl.gz:3", "bytes")]
  assert outcomes(good) == [*expected, ("whole.jsonl.gz:4", "list")]
  for entry in good:
    np.testing.assert_allclose(entry.record.audio, samples, atol=2**-14)
  assert "not base64" in bad[0] and "sampling rate" in bad[1] and "audio is missing" in bad[2]
  *_, last = read_entries("jsonl", f"{folder}/cut.jsonl.gz")
  assert "file is cut or damaged" in last.reason


@pytest.mark.parametrize("part", [{"duration": "0.02"}, {"offset": "0", "duration": "0.02"}])
def test_seconds_that_were_written_as_text(folder, part):
  assert read_line(line(**part), folder).audio.shape == (320,)


@pytest.mark.parametrize("names", [("start", "end"), ("begin", "end")])
def test_a_part_under_other_names_is_told_once(folder, names, caplog, monkeypatch):
  monkeypatch.setattr(rows, "_warned", set())
  part = dict(zip(names, (0.01, 0.02), strict=True))
  for _ in range(2):
    assert read_line(line(**part), folder).audio.shape == (800,)
  assert len(caplog.messages) == 1
  assert f"'{names[0]}' and '{names[1]}' are not read" in caplog.messages[0]


@pytest.mark.parametrize("start", [0.0, 700.0])
def test_the_place_of_a_clip_that_was_cut_out_before_is_fine(folder, start, caplog, monkeypatch):
  monkeypatch.setattr(rows, "_warned", set())
  read_line(line(start=start, end=start + 0.05), folder)
  assert not caplog.messages


@pytest.mark.parametrize("key", ["text", "id"])
def test_a_key_that_no_line_has(folder, key):
  with pytest.raises(RecordError, match=f"no 'nope', which --{key}-key names"):
    read_line(line(), folder, SourceOptions(**{f"{key}_key": "nope"}))


@pytest.mark.parametrize("content", ["[\n", '[{"audio": "a.wav", "text": "x"}]\n', '{\n "audio":'])
def test_a_single_document_is_refused_with_the_remedy(folder, content):
  path = f"{folder}/list.json"
  with open(path, "w") as file:
    file.write(content)
  with pytest.raises(ValueError, match=r"a single JSON document, .* `jq -c") as caught:
    open_shards(path)
  assert path in str(caught.value)


def test_a_folder_of_manifests_of_other_names(folder):
  for name in ("train.json", "b.ndjson"):
    with open(f"{folder}/{name}", "wb") as file:
      file.write(line())
  find = formats.load_format("jsonl").find_files
  assert find(folder, "train") == [f"{folder}/train.json"]
  with open(f"{folder}/a.jsonl", "wb") as file:
    file.write(line())
  assert find(folder, "test") == [f"{folder}/a.jsonl"]
