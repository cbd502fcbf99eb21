"""TFRecord files: whole ones, and each way in which one can be broken."""

import gzip
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.records.schema import Record, RecordError, encode_example
from maxtext_ext.sources.entry import Bad, Good
from maxtext_ext.sources.options import SourceOptions
from maxtext_ext.sources.tfrecord import (
  MAX_RECORD_BYTES,
  TFRecordShard,
  masked_crc32c,
  read_tfrecord,
  write_tfrecord,
)
from tests.sources.opening import opener

open_shards = opener("tfrecord")
RECORDS = [b"first", b"", b"the third one"]
ENDS = [12 + 5 + 4, 12 + 5 + 4 + 16, 12 + 5 + 4 + 16 + 12 + 13 + 4]  # where each of them ends


@pytest.fixture
def path(tmp_path) -> str:
  name = str(tmp_path / "x.tfrecord")
  write_tfrecord(name, RECORDS)
  return name


def damage(path: str, at: int) -> None:
  with open(path, "r+b") as file:
    file.seek(at)
    byte = file.read(1)[0]
    file.seek(at)
    file.write(bytes([byte ^ 1]))


def read(path: str) -> tuple[list[tuple[int, bytes]], list[tuple[int, str]]]:
  errors: list[tuple[int, str]] = []
  good = list(read_tfrecord(path, lambda position, reason: errors.append((position, reason))))
  return good, errors


def test_masked_crc32c():
  """Known answer: CRC32C of 32 zero bytes is 0x8a9136aa (RFC 3720, B.4)."""
  crc = 0x8A9136AA
  assert masked_crc32c(bytes(32)) == ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32


def test_round_trip(path):
  assert list(read_tfrecord(path)) == list(enumerate(RECORDS))


def test_empty_file(tmp_path):
  write_tfrecord(str(tmp_path / "e"), [])
  assert read(str(tmp_path / "e")) == ([], [])


@given(stop=st.integers(0, ENDS[-1]))
def test_a_file_cut_anywhere_gives_what_is_whole(tmp_path_factory, stop):
  path = str(tmp_path_factory.mktemp("cut") / "x")
  write_tfrecord(path, RECORDS)
  with open(path, "r+b") as file:
    file.truncate(stop)
  good, errors = read(path)
  whole = sum(end <= stop for end in ENDS)
  assert good == list(enumerate(RECORDS))[:whole]
  if stop in (0, *ENDS):
    assert not errors
  else:
    ((position, reason),) = errors
    start = (0, *ENDS)[whole]
    assert position == whole
    assert (
      "cut inside" in reason and f"the remaining {stop - start} bytes from byte {start}" in reason
    )


@pytest.mark.parametrize(
  ("at", "good", "position", "reason"),
  [
    (12, [1, 2], 0, r"data of a record \(5 bytes\) fails its CRC32C"),
    (17, [1, 2], 0, "data of a record"),  # the checksum itself
    (ENDS[0] + 12, [0, 2], 1, "data of a record"),
    (0, [], 0, "length of a record fails its CRC32C; the remaining 66 bytes from byte 0"),
    (8, [], 0, "length of a record fails"),
    (ENDS[0] + 7, [0], 1, "length of a record fails"),
    (
      ENDS[1] + 3,
      [0, 1],
      2,
      "length of a record fails its CRC32C; the remaining 29 bytes from byte 37",
    ),
  ],
)
def test_wrong_checksums(path, at, good, position, reason):
  damage(path, at)
  with pytest.raises(RecordError, match=rf"x.tfrecord:{position}: {reason}"):
    list(read_tfrecord(path))
  records, errors = read(path)
  assert records == [(i, RECORDS[i]) for i in good]
  assert [place for place, _ in errors] == [position]


def test_an_absurd_length_allocates_nothing(tmp_path):
  length = struct.pack("<Q", 2**62)
  (tmp_path / "x").write_bytes(length + struct.pack("<I", masked_crc32c(length)) + b"abc")
  assert "cut inside a record of 4611686018427387904 bytes" in read(str(tmp_path / "x"))[1][0][1]


def test_a_record_that_is_too_long_is_passed_over(tmp_path):
  path = str(tmp_path / "x")
  write_tfrecord(path, [b"before", bytes(MAX_RECORD_BYTES + 1), b"after"])
  good, ((position, reason),) = read(path)
  assert good == [(0, b"before"), (2, b"after")]
  assert position == 1 and "134217729 bytes, expected at most 134217728" in reason


@given(st.integers(0, 200))
def test_a_compressed_file_and_one_that_is_cut(tmp_path_factory, missing):
  path = str(tmp_path_factory.mktemp("compressed") / "x.gz")
  write_tfrecord(path, RECORDS)
  with open(path, "rb") as file:
    data = gzip.compress(file.read(), mtime=0)
  with open(path, "wb") as file:
    file.write(data[: max(2, len(data) - missing)])
  good, errors = read(path)
  assert good == list(enumerate(RECORDS))[: len(good)]
  assert len(errors) == bool(missing)
  if not missing:
    assert len(good) == len(RECORDS)


def record(sample_id: str, samples: np.ndarray, text: str = "hi") -> bytes:
  return encode_example(Record(sample_id=sample_id, audio=samples, text=text))


def at_rate(data: bytes, rate: int) -> bytes:
  """The same record with a sample_rate of the same length in bytes."""
  varint = bytes([rate & 0x7F | 0x80, rate >> 7])
  assert data.count(b"\x80\x7d") == 1  # 16000
  return data.replace(b"\x80\x7d", varint)


def test_entries(tmp_path):
  ramp = np.linspace(-0.5, 0.5, 800, dtype=np.float32)
  nan = ramp.copy()
  nan[3] = np.nan
  good, slow = record("good", ramp), at_rate(record("slow", ramp), 8_000)
  records = [
    good,
    slow,
    record("nan", nan),
    record("silent", 0 * ramp),
    record("empty", ramp[:0]),
    at_rate(record("rate", ramp), 200),
    b"junk",
  ]
  path = str(tmp_path / "x")
  write_tfrecord(path, records)
  damage(path, (tmp_path / "x").stat().st_size - 1)
  entries = list(TFRecordShard(paths=(path,)).entries())
  assert [entry.position for entry in entries] == list(range(7))
  assert [entry.done for entry in entries] == sorted(entry.done for entry in entries)
  assert entries[-1].done == 1.0
  first, second, *rest = entries
  assert isinstance(first, Good) and first.serialized == good
  assert isinstance(second, Good) and second.serialized is None
  assert second.record.audio.shape == (1_600,)
  np.testing.assert_allclose(second.record.audio[200:-200:2], ramp[100:-100], atol=0.01)
  reasons = {entry.sample_id: entry.reason for entry in rest if isinstance(entry, Bad)}
  assert list(reasons) == ["nan", "silent", "empty", "rate", ""]
  for name, reason in [
    ("nan", "1 NaN or infinite samples of 800, the first at 3"),
    ("silent", "all 800 samples are zero"),
    ("empty", "0 samples"),
    ("rate", "sample rate is 200 Hz"),
    ("", "fails its CRC32C"),
  ]:
    assert reason in reasons[name]


def test_each_file_is_a_shard(tmp_path):
  for name in ("b.tfrecord", "a.tfrecord"):
    write_tfrecord(str(tmp_path / name), RECORDS)
  shards = open_shards(str(tmp_path), SourceOptions())
  assert [shard.paths for shard in shards] == [
    (str(tmp_path / "a.tfrecord"),),
    (str(tmp_path / "b.tfrecord"),),
  ]


def test_several_files_are_a_shard_and_say_what_their_records_do_not(tmp_path):
  sound = np.full(800, 0.1, np.float32)
  named = Record(sample_id="0", audio=sound, text="a", dataset_name="own", language="English")
  plain = [Record(sample_id=str(number), audio=sound, text="a") for number in (1, 2)]
  data = [encode_example(record) for record in (named, *plain)]
  for number, item in enumerate(data):
    write_tfrecord(str(tmp_path / f"{number}.tfrecord"), [item])
  options = SourceOptions(shards=1, language="Hebrew", dataset_name="all")
  (shard,) = open_shards(str(tmp_path), options)
  entries = list(shard.entries())
  assert [entry.record.language for entry in entries] == ["English", "Hebrew", "Hebrew"]
  assert [entry.record.dataset_name for entry in entries] == ["own", "all", "all"]
  assert [entry.serialized for entry in entries] == [data[0], None, None]
  assert [entry.done for entry in entries] == pytest.approx([1 / 3, 2 / 3, 1])
  with pytest.raises(ValueError, match="there are only 3 files"):
    open_shards(str(tmp_path), SourceOptions(shards=4))
