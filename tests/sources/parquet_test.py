"""Parquet files as datasets writes them, in their other shapes, and broken ones."""

import io
import json
import re

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from maxtext_ext.sources.entry import Bad, Good
from maxtext_ext.sources.options import SourceOptions
from tests.sources.opening import opener

PLAIN = SourceOptions()
open_shards = opener("parquet")
TONE = (0.3 * np.sin(np.arange(800) / 5)).astype(np.float32)
HF_AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def sound(samples: np.ndarray = TONE, rate: int = 16_000, kind: str = "WAV") -> bytes:
  file = io.BytesIO()
  soundfile.write(file, samples, rate, format=kind)
  return file.getvalue()


def write(path, columns: dict[str, pa.Array], features=None, **options) -> str:
  table = pa.table(columns)
  if features:  # as datasets leaves it in the schema
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    table = table.replace_schema_metadata(metadata)
  pq.write_table(table, path, **options)
  return str(path)


def read(source: str, options: SourceOptions = PLAIN) -> list[Good | Bad]:
  return [entry for shard in open_shards(source, options) for entry in shard.entries()]


def hf_audio(*rows: dict | None) -> pa.Array:
  return pa.array(rows, HF_AUDIO)


def numbered(path, count: int, start: int = 0, **options) -> str:
  """Rows that cannot be decoded, which is quick, but can be told apart."""
  rows = [{"bytes": b"junk", "path": None} for _ in range(count)]
  texts = [f"text {start + row}" for row in range(count)]
  ids = [f"id {start + row}" for row in range(count)]
  return write(path, {"id": ids, "audio": hf_audio(*rows), "text": texts}, **options)


def test_as_datasets_writes_it(tmp_path):
  path = write(
    tmp_path / "train-00000-of-00001.parquet",
    {
      "audio": hf_audio(
        {"bytes": sound(), "path": "clips/a.wav"},
        {"bytes": sound(np.stack([TONE, TONE], axis=1), 8_000, "FLAC"), "path": None},
        {"bytes": None, "path": "b.wav"},
        {"bytes": None, "path": None},
        None,
      ),
      "sentence": ["שלום", "two", "three", "four", "five"],
      "client_id": ["s1", "s1", None, "s3", "s4"],
      "locale": ["he", "he", "en", "en", "en"],
      "up_votes": [1, 2, 3, 4, 5],
      "embedding": [[1.0] * 9] * 5,
    },
    features={
      "audio": {"sampling_rate": 16_000, "_type": "Audio"},
      "sentence": {"dtype": "string", "_type": "Value"},
    },
  )
  (tmp_path / "b.wav").write_bytes(sound())
  first, second, third, fourth, fifth = read(path, SourceOptions(dataset_name="cv"))
  record = first.record
  assert (record.sample_id, record.text, record.language) == ("clips/a.wav", "שלום", "Hebrew")
  assert (record.speaker, record.dataset_name) == ("s1", "cv")
  np.testing.assert_allclose(record.audio, TONE, atol=2**-15)
  assert (first.file, first.position, first.done) == (path, 0, 0.2)
  assert second.record.sample_id == "train-00000-of-00001.parquet:1"
  assert second.record.audio.shape == (1_600,)
  assert (third.record.sample_id, third.record.speaker) == ("b.wav", None)
  np.testing.assert_allclose(third.record.audio, TONE, atol=2**-15)
  assert isinstance(fourth, Bad) and "neither bytes nor a path" in fourth.reason
  assert isinstance(fifth, Bad) and "audio is missing" in fifth.reason
  assert (fifth.position, fifth.done) == (4, 1.0)
  assert fifth.sample_id == "train-00000-of-00001.parquet:4"


def _array(samples: object, kind: pa.DataType) -> pa.Array:
  audio = pa.struct([("array", kind), ("sampling_rate", pa.int64())])
  return pa.array([{"array": samples, "sampling_rate": 16_000}], audio)


SHAPES = {
  "bytes": pa.array([sound()]),
  "large bytes": pa.array([sound()], pa.large_binary()),
  "view of bytes": pa.array([sound()], pa.binary_view()),
  "path": pa.array(["a.wav"]),
  "struct of bytes": pa.array([{"bytes": sound()}]),
  "struct of path": pa.array([{"path": "a.wav"}]),
  "struct with more": pa.array([{"path": None, "bytes": sound(), "rate": 3}]),
  "array": pa.array([{"array": TONE.astype(np.float64), "path": None, "sampling_rate": 16_000}]),
  "float32 array": pa.array(
    [{"array": TONE, "sampling_rate": 16_000}],
    pa.struct([("array", pa.large_list(pa.float32())), ("sampling_rate", pa.int32())]),
  ),
  "int16 array": pa.array(
    [{"array": np.rint(TONE * 32_768).astype(np.int16), "sampling_rate": 16_000}],
    pa.struct([("array", pa.list_(pa.int16())), ("sampling_rate", pa.int64())]),
  ),
  "int32 array": _array(np.rint(TONE * 32_768).astype(np.int32), pa.list_(pa.int32())),
  "int32 array of full scale": _array(
    np.rint(TONE.astype(np.float64) * 2**31).astype(np.int32), pa.list_(pa.int32())
  ),
  "[1, T] array": _array([TONE], pa.list_(pa.list_(pa.float32()))),
  "[2, T] array": _array([TONE * 2, TONE * 0], pa.list_(pa.list_(pa.float64()))),
  "[T, 2] array": _array(np.stack([TONE, TONE], axis=1).tolist(), pa.list_(pa.list_(pa.float32()))),
  "array of fixed length": _array(TONE, pa.list_(pa.float32(), len(TONE))),
  "array beside a name": pa.array(
    [{"path": "p0", "array": TONE.astype(np.float64), "sampling_rate": 16_000}]
  ),
  "bytes beside a name and nulls": pa.array(
    [{"path": "p0", "array": None, "sampling_rate": 16_000, "bytes": sound()}],
    pa.struct(
      {
        "path": pa.string(),
        "array": pa.list_(pa.float32()),
        "sampling_rate": pa.int64(),
        "bytes": pa.binary(),
      }
    ),
  ),
  "bytes from a dictionary": pa.array([sound()]).dictionary_encode(),
  "list of one struct": pa.array([[{"bytes": sound(), "path": None}]], pa.list_(HF_AUDIO)),
  "list of bytes": pa.array([[sound()]]),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_of_audio(tmp_path, shape):
  (tmp_path / "a.wav").write_bytes(sound())
  (entry,) = read(write(tmp_path / "x.parquet", {"audio": SHAPES[shape], "text": ["hi"]}))
  assert isinstance(entry, Good), entry.reason
  np.testing.assert_allclose(entry.record.audio, TONE, atol=2**-15)
  named = {"path": "a.wav", "struct of path": "a.wav"}
  expected = "p0" if "beside a name" in shape else named.get(shape, "x.parquet:0")
  assert entry.record.sample_id == expected


def test_an_array_at_another_rate(tmp_path):
  audio = pa.array([{"array": TONE.astype(np.float64), "sampling_rate": 8_000}])
  (entry,) = read(write(tmp_path / "x.parquet", {"audio": audio, "text": ["hi"]}))
  assert entry.record.audio.shape == (1_600,)


@pytest.mark.parametrize("rate", ["sampling_rate", "sample_rate"])
def test_samples_beside_a_column_with_their_rate(tmp_path, rate):
  audio = pa.array([TONE, np.rint(TONE * 32_768)], pa.list_(pa.float32()))
  columns = {"audio": audio, rate: [16_000, None], "text": ["hi", "no rate"]}
  good, bad = read(write(tmp_path / "x.parquet", columns))
  np.testing.assert_array_equal(good.record.audio, TONE)
  assert "the sampling rate of its samples is None" in bad.reason


def test_ids_made_of_names_have_something_to_fall_back_to(tmp_path):
  for folder in ("a", "b"):
    (tmp_path / folder).mkdir()
    audio = hf_audio({"bytes": sound(), "path": "001.wav"}, {"bytes": sound(), "path": None})
    columns = {"audio": audio, "text": ["x", "y"], "id": pa.array([None, "own"])}
    write(tmp_path / folder / "x.parquet", columns)
  entries = read(f"{tmp_path}/*/x.parquet")
  found = [(entry.record.sample_id, entry.fallback_id) for entry in entries]
  assert found == [
    ("001.wav", "a/x.parquet:0"),
    ("own", ""),
    ("001.wav", "b/x.parquet:0"),
    ("own", ""),
  ]


def test_names_of_columns(tmp_path):
  columns = {"clip": [sound()], "said": ["this"], "n": [5], "audio": [b""], "text": ["not this"]}
  path = write(tmp_path / "x.parquet", columns)
  options = SourceOptions(audio_key="clip", text_key="said", id_key="n", language="Hebrew")
  (entry,) = read(path, options)
  record = entry.record
  assert (record.sample_id, record.text, record.language) == ("5", "this", "Hebrew")


@pytest.mark.parametrize(
  ("id_key", "ids"),
  [
    ("meta.entry", ["r-1", "a.wav"]),
    ("meta.entry,meta.seek", ["r-1-59.98", "a.wav"]),
    ("number,meta.seek,audio.path", ["7-59.98-a.wav", "8-0-a.wav"]),
    ("score", ["0.1", "1250000"]),
  ],
)
def test_an_id_of_several_columns_and_members_of_structs(tmp_path, id_key, ids):
  audio = {"bytes": sound(), "path": "a.wav"}
  meta = pa.struct([("entry", pa.string()), ("seek", pa.float32())])
  columns = {
    "audio": hf_audio(audio, audio),
    "text": ["x", "y"],
    "meta": pa.array([{"entry": "r-1", "seek": 59.98}, {"entry": None, "seek": 0.0}], meta),
    "number": [7, 8],
    "score": pa.array([0.1, 1.25e6]),
  }
  entries = read(write(tmp_path / "x.parquet", columns), SourceOptions(id_key=id_key))
  assert [entry.record.sample_id for entry in entries] == ids


def test_rows_without_ids_of_files_in_several_folders(tmp_path):
  for folder in ("a", "b"):
    (tmp_path / folder).mkdir()
    audio = hf_audio({"bytes": sound(), "path": None}, {"bytes": sound(), "path": None})
    write(tmp_path / folder / "x.parquet", {"audio": audio, "text": ["x", "y"]})
  ids = [entry.record.sample_id for entry in read(f"{tmp_path}/*/x.parquet")]
  assert ids == ["a/x.parquet:0", "a/x.parquet:1", "b/x.parquet:0", "b/x.parquet:1"]
  assert [entry.record.sample_id for entry in read(f"{tmp_path}/b")] == [
    "x.parquet:0",
    "x.parquet:1",
  ]


def test_a_class_label_is_no_language(tmp_path):
  columns = {"audio": [sound()], "text": ["x"], "language": [3], "lang": ["ar"], "speaker_id": [9]}
  (entry,) = read(write(tmp_path / "x.parquet", columns))
  assert (entry.record.language, entry.record.speaker) == ("Arabic", "9")


def test_dictionary_encoded_text(tmp_path):
  columns = {"audio": [sound()] * 2, "text": pa.array(["a", "a"]).dictionary_encode()}
  entries = read(write(tmp_path / "x.parquet", columns))
  assert [entry.record.text for entry in entries] == ["a", "a"]


@pytest.mark.parametrize(
  ("columns", "options", "reason"),
  [
    ({"text": ["x"]}, PLAIN, r"no column for the audio \(audio or .*the columns are text: string"),
    ({"audio": [3], "text": ["x"]}, PLAIN, "no column for the audio"),
    ({"audio": [sound()]}, PLAIN, r"no column for the text \(text or sentence.*--text-key"),
    ({"audio": [sound()], "text": [1.5]}, PLAIN, "no column for the text"),
    (
      {"audio": [sound()], "text": ["x"]},
      SourceOptions(text_key="said"),
      r"no column for the text \(said\)",
    ),
    (
      {"audio": [sound()], "text": ["x"]},
      SourceOptions(id_key="key"),
      r"no column for the id \(key\)",
    ),
  ],
)
def test_columns_that_are_not_there(tmp_path, columns, options, reason):
  columns = {name: values * 3 for name, values in columns.items()}
  entries = read(write(tmp_path / "x.parquet", columns), options)
  assert [entry.position for entry in entries] == [0, 1, 2]  # each row is accounted for
  assert all(isinstance(entry, Bad) and re.search(reason, entry.reason) for entry in entries)


@pytest.mark.parametrize(
  ("columns", "reason", "sample_id"),
  [
    ({"audio": [b"junk"], "text": ["x"], "id": ["a"]}, "cannot decode 4 bytes", "a"),
    (
      {"audio": [sound()], "text": pa.nulls(1, pa.string()), "id": ["a"]},
      "text is missing or empty",
      "a",
    ),
    ({"audio": [sound(0 * TONE)], "text": ["x"]}, "silent", "x.parquet:0"),
    (
      {"audio": pa.array([{"array": [0.5, None], "sampling_rate": 16_000}]), "text": ["x"]},
      "NaN",
      "x.parquet:0",
    ),
    (
      {"audio": pa.array([{"array": [[[0.5]]], "sampling_rate": 16_000}]), "text": ["x"]},
      "expected floats or signed integers",
      "x.parquet:0",
    ),
    (
      {"audio": pa.array([{"array": ["a"], "sampling_rate": 16_000}]), "text": ["x"]},
      "expected floats or signed integers",
      "x.parquet:0",
    ),
    (
      {"audio": pa.array([{"array": [0.5], "sampling_rate": None}]), "text": ["x"]},
      "the sampling rate of its samples is None",
      "x.parquet:0",
    ),
    ({"audio": ["none.wav"], "text": ["x"]}, "none.wav: audio file not found", "none.wav"),
  ],
)
def test_bad_rows(tmp_path, columns, reason, sample_id):
  (entry,) = read(write(tmp_path / "x.parquet", columns))
  assert isinstance(entry, Bad) and reason in entry.reason
  assert entry.sample_id == sample_id


def test_text_that_is_not_utf8(tmp_path):
  text = pa.Array.from_buffers(
    pa.string(), 2, [None, pa.py_buffer(np.array([0, 2, 4], "<i4")), pa.py_buffer(b"hi\xffx")]
  )
  path = write(tmp_path / "x.parquet", {"audio": [sound()] * 2, "text": text})
  good, bad = read(path)
  assert isinstance(good, Good)
  assert isinstance(bad, Bad) and "'text' is not UTF-8" in bad.reason


row_groups = st.lists(st.tuples(st.integers(0, 12), st.integers(1, 5)), min_size=1, max_size=3)


@settings(max_examples=60, deadline=None)
@given(row_groups, st.integers(1, 6), st.none() | st.integers(1, 8))
def test_shards_hold_every_row_once_and_in_order(tmp_path_factory, files, per_shard, shards):
  folder = tmp_path_factory.mktemp("rows")
  start = 0
  places = []
  for number, (rows, group) in enumerate(files):
    path = numbered(folder / f"{number}.parquet", rows, start, row_group_size=group)
    places += [(path, row) for row in range(rows)]
    start += rows
  options = SourceOptions(records_per_shard=per_shard, shards=shards)
  if start < (shards or 1):
    with pytest.raises(ValueError, match=r"no rows|there are only"):
      open_shards(str(folder), options)
    return
  opened = open_shards(str(folder), options)
  entries = [list(shard.entries()) for shard in opened]
  flat = [entry for part in entries for entry in part]
  assert [(entry.file, entry.position) for entry in flat] == places
  assert [entry.sample_id for entry in flat] == [f"id {row}" for row in range(start)]
  assert all(part[-1].done == 1.0 for part in entries)
  sizes = [len(part) for part in entries]
  assert len(sizes) == shards if shards else set(sizes[:-1]) <= {per_shard}


@pytest.mark.parametrize("keep", [0, 3, 100, -1, -9, -200])
def test_a_file_without_its_footer(tmp_path, keep):
  path = tmp_path / "b.parquet"
  numbered(path, 9)
  path.write_bytes(path.read_bytes()[:keep])
  numbered(tmp_path / "a.parquet", 2)
  entries = read(str(tmp_path))
  assert [(entry.file[-9:], entry.position) for entry in entries] == [
    ("a.parquet", 0),
    ("a.parquet", 1),
    ("b.parquet", 0),
  ]
  assert "not a whole parquet file" in entries[-1].reason


def test_a_damaged_row_group(tmp_path):
  """Its rows are bad from there on; those of the others are read."""
  path = tmp_path / "x.parquet"
  write(
    path,
    {"audio": [sound()] * 9, "text": [f"text {row}" for row in range(9)]},
    row_group_size=3,
    use_dictionary=False,
    compression="zstd",
    write_page_checksum=True,
  )
  column = pq.ParquetFile(path).metadata.row_group(1).column(1)
  data = bytearray(path.read_bytes())
  data[column.data_page_offset + column.total_compressed_size - 3] ^= 0xFF
  path.write_bytes(data)
  entries = read(str(path))
  assert [entry.position for entry in entries] == list(range(9))
  assert [isinstance(entry, Good) for entry in entries] == [True] * 3 + [False] * 3 + [True] * 3
  assert "row group 1 is damaged from row 0 on" in entries[3].reason


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_broken_files_never_crash(tmp_path_factory, data):
  path = tmp_path_factory.mktemp("broken") / "x.parquet"
  numbered(path, 7, row_group_size=4)
  content = bytearray(path.read_bytes())
  for _ in range(data.draw(st.integers(1, 4))):
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
  path.write_bytes(content)
  try:
    shards = open_shards(str(path), PLAIN)
  except ValueError as error:
    assert "no rows" in str(error)
    return
  positions = [entry.position for shard in shards for entry in shard.entries()]
  assert positions == list(range(len(positions)))


def test_files_at_a_url(tmp_path):
  memory = fsspec.filesystem("memory")
  path = write(
    tmp_path / "x.parquet",
    {"audio": hf_audio({"bytes": None, "path": "a.wav"}), "text": ["far away"]},
  )
  with open(path, "rb") as file:
    memory.pipe("/corpus/x.parquet", file.read())
  memory.pipe("/corpus/a.wav", sound())
  (entry,) = read("memory://corpus")
  assert isinstance(entry, Good) and entry.record.text == "far away"


def test_samples_without_a_rate_are_told_what_is_missing(tmp_path):
  columns = {"audio": pa.array([TONE.tolist()]), "text": pa.array(["hi"])}
  (entry,) = read(write(tmp_path / "x.parquet", columns))
  assert entry.reason.endswith("beside them, sampling_rate or sample_rate, in Hz")
