"""Valid files with random bytes changed: whatever comes of it is a good record or a bad one."""

import io
import pathlib
import struct
import tarfile
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from maxtext_ext.audio.io import check_samples, decode_audio
from maxtext_ext.audio.limits import AudioError
from maxtext_ext.records.schema import RecordError, encode_example
from maxtext_ext.sources import tfrecord
from maxtext_ext.sources.entry import Bad, Good
from maxtext_ext.sources.options import SourceOptions
from tests.sources.fuzz import tones
from tests.sources.fuzz.case import record
from tests.sources.opening import opener

SHORT = tones.tone(seconds=0.05)
# What fields of lengths and counts are likely to go wrong with.
EDGES = [b"\0", b"\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0" * 8, b"\xff" * 8, b"\x80"]
CHANGES = st.lists(
  st.tuples(
    st.floats(0, 1, exclude_max=True),  # where
    st.integers(0, 8),  # bytes taken away
    st.sampled_from(EDGES) | st.binary(max_size=8),  # bytes put in their place
  ),
  min_size=1,
  max_size=5,
)


def changed(data: bytes, changes: list[tuple[float, int, bytes]]) -> bytes:
  for where, taken, put in changes:
    at = int(where * len(data))
    data = data[:at] + put + data[at + taken :]
  return data


SOUNDS = {
  "wav": lambda: tones.encoded_samples(SHORT, "WAV"),
  "float wav": lambda: tones.encoded_samples(SHORT, "WAV", "FLOAT"),
  "adpcm": lambda: tones.encoded_samples(SHORT, "WAV", "IMA_ADPCM"),
  "flac": lambda: tones.encoded_samples(SHORT, "FLAC"),
  "mp3": lambda: tones.encoded_samples(SHORT, "MP3"),
  "vorbis": lambda: tones.encoded_samples(SHORT, "OGG"),
  "opus": lambda: tones.encoded_samples(SHORT, "OGG", "OPUS"),
  "aiff": lambda: tones.encoded_samples(SHORT, "AIFF"),
  "au": lambda: tones.encoded_samples(SHORT, "AU"),
  "caf": lambda: tones.encoded_samples(SHORT, "CAF"),
  "sphere": lambda: tones.encoded_samples(SHORT, "NIST"),
  "m4a": tones.m4a,
}


@pytest.mark.parametrize("kind", SOUNDS)
@settings(max_examples=150, deadline=None)
@given(changes=CHANGES)
def test_sounds(kind: str, changes: list[tuple[float, int, bytes]]) -> None:
  try:
    samples = decode_audio(changed(SOUNDS[kind](), changes))
  except AudioError as error:
    assert str(error)
  else:
    check_samples(samples)
    assert samples.dtype == np.float32


def _tfrecord(data: bytes) -> bytes:
  length = struct.pack("<Q", len(data))
  checksums = (struct.pack("<I", tfrecord.masked_crc32c(part)) for part in (length, data))
  return length + next(checksums) + data + next(checksums)


EXAMPLE = encode_example(record(audio=SHORT.astype(np.float32)))


def _tar() -> bytes:
  file = io.BytesIO()
  with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
    sounds = ((f"{name}.flac", SOUNDS["flac"]()) for name in ("a", "ש" * 70))
    for name, data in (*sounds, ("ש" * 70 + ".json", b'{"text": "b", "id": "c"}')):
      info = tarfile.TarInfo(name)
      info.size = len(data)
      archive.addfile(info, io.BytesIO(data))
  return file.getvalue()[: 512 * 14]


def _parquet() -> bytes:
  sound = {"bytes": SOUNDS["flac"](), "path": None}
  table = pa.table({"audio": [sound] * 3, "text": ["a", "b", None], "id": ["x", "y", "z"]})
  sink = pa.BufferOutputStream()
  pq.write_table(table, sink, row_group_size=2)
  return sink.getvalue().to_pybytes()


LINES = (
  b'{"audio": "a.wav", "text": "hello \\u05d0", "offset": 0.01}\n{"audio": "a.wav", "text": 1}\n'
)
SOURCES: dict[str, tuple[str, Callable, Callable[[], bytes], Callable[[bytes], bytes]]] = {
  "records": ("a.tfrecord", opener("tfrecord"), lambda: EXAMPLE, _tfrecord),
  "tfrecord": ("a.tfrecord", opener("tfrecord"), lambda: _tfrecord(EXAMPLE) * 2, bytes),
  "jsonl": ("a.jsonl", opener("jsonl"), lambda: LINES, bytes),
  "tar": ("a.tar", opener("tar"), _tar, bytes),
  "parquet": ("a.parquet", opener("parquet"), _parquet, bytes),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  path = tmp_path_factory.mktemp("mutations")
  (path / "a.wav").write_bytes(SOUNDS["wav"]())
  return path


@pytest.mark.parametrize("source", SOURCES)
@settings(max_examples=300, deadline=None)
@given(changes=CHANGES)
@example(changes=[])
def test_sources(folder, source: str, changes: list[tuple[float, int, bytes]]) -> None:
  name, open_shards, make, wrap = SOURCES[source]
  (folder / name).write_bytes(wrap(changed(make(), changes)))
  try:
    shards = open_shards(str(folder / name), SourceOptions())
  except ValueError as error:
    assert "no lines" in str(error) or "no rows" in str(error)
    return
  for shard in shards:
    for entry in shard.entries():
      assert 0 <= entry.done <= 1
      if isinstance(entry, Bad):
        assert entry.reason
        continue
      assert isinstance(entry, Good)
      try:
        assert encode_example(entry.record, audio="pcm16")
      except RecordError as error:
        assert str(error)
  if not changes:
    assert any(isinstance(entry, Good) for shard in shards for entry in shard.entries())
