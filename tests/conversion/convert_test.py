"""Whole conversions: what goes in comes out or is accounted for."""

import json
import os
import struct
import time

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from maxtext_ext.conversion import convert as engine
from maxtext_ext.conversion.convert import (
  ConvertOptions,
  ConvertSummary,
  Progress,
)
from maxtext_ext.records.reader import RecordSource, find_shards
from maxtext_ext.records.schema import Record, decode_example, encode_example
from maxtext_ext.sources.options import SourceOptions
from maxtext_ext.sources.tfrecord import masked_crc32c, write_tfrecord

RAMP = np.linspace(-0.5, 0.5, 160, dtype=np.float32)


def encoded(sample_id: str, audio: np.ndarray = RAMP, text: str = "hi") -> bytes:
  return encode_example(Record(sample_id=sample_id, audio=audio, text=text))


def convert(
  source,
  out,
  source_format: str = "tfrecord",
  split: str = "train",
  audio: str = "keep",
  *,
  records_per_shard: int = 1_000,
  max_bad_fraction: float = 1.0,
  progress=None,
  **options,
) -> ConvertSummary:
  """Most tests have more bad records than good ones."""
  options = ConvertOptions(
    source_format=source_format,
    splits=(split,),
    audio=audio,
    max_bad_fraction=max_bad_fraction,
    source=SourceOptions(records_per_shard=records_per_shard),
    **options,
  )
  return engine.convert(str(source), str(out), options, progress=progress)


def written(summary: ConvertSummary) -> list[bytes]:
  source = RecordSource(summary.shards)
  return [source[i] for i in range(len(source))]


def quarantined(out) -> list[dict]:
  with open(os.path.join(str(out), "quarantine.jsonl"), encoding="utf-8") as file:
    return [json.loads(line) for line in file]


def counts(summary: ConvertSummary) -> tuple[int, int, int]:
  return summary.read, summary.written, summary.quarantined


def test_tfrecord_shards_in_shards_out(tmp_path):
  records = [encoded(f"id{i}") for i in range(5)]
  write_tfrecord(str(tmp_path / "in" / "a.tfrecord"), records[:3])
  write_tfrecord(str(tmp_path / "in" / "b.tfrecord"), records[3:])
  out = str(tmp_path / "out")
  told: list[Progress] = []
  summary = convert(
    str(tmp_path / "in"),
    out,
    "tfrecord",
    "test",
    progress=told.append,
  )
  assert counts(summary) == (5, 5, 0)
  assert summary.seconds == pytest.approx(5 * 0.01)
  names = [f"test-0000{i}-of-00002.array_record" for i in range(2)]
  assert [os.path.basename(path) for path in summary.shards] == names
  lengths = [f"test-0000{i}-of-00002.lengths.npz" for i in range(2)]
  expected = [".shards-test", "quarantine.jsonl", *sorted(names + lengths), "test.manifest.json"]
  assert sorted(os.listdir(out)) == expected
  assert find_shards(out, "test") == list(summary.shards)
  assert written(summary) == records  # byte for byte
  assert [now.read for now in told] == [1, 2, 3, 4, 5]
  shares = [now.done for now in told]
  assert shares[-1] == 1.0 and shares == sorted(shares)
  assert told[-1].seconds == pytest.approx(0.05)


def test_pcm16_halves_the_audio(tmp_path):
  write_tfrecord(str(tmp_path / "a.tfrecord"), [encoded("a")])
  summary = convert(str(tmp_path / "a.tfrecord"), str(tmp_path / "out"), "tfrecord", "x", "pcm16")
  record = decode_example(written(summary)[0])
  assert record.audio.dtype == np.int16
  np.testing.assert_allclose(record.as_float32(), RAMP, atol=0.5 / 32_768)


def test_ids_are_unique_over_all_files(tmp_path):
  write_tfrecord(str(tmp_path / "a.tfrecord"), [encoded("bad", text="hi")[:-1], encoded("one")])
  write_tfrecord(str(tmp_path / "b.tfrecord"), [encoded("one"), encoded("bad"), encoded("bad")])
  summary = convert(str(tmp_path), str(tmp_path / "out"), "tfrecord")
  assert counts(summary) == (5, 2, 3)
  first, second, third = quarantined(tmp_path / "out")
  assert "not a tf.train.Example" in first["reason"]
  assert second == {
    "split": "train",
    "id": "one",
    "file": str(tmp_path / "b.tfrecord"),
    "position": 0,
    "reason": f"duplicate id: 'one' is at {tmp_path / 'a.tfrecord'}:1 already",
  }
  assert (third["id"], third["position"]) == ("bad", 2)
  assert summary.reasons[1] == f"{tmp_path / 'b.tfrecord'}:0: {second['reason']}"


@pytest.fixture
def recordings(tmp_path):
  """One line of each kind of good and bad input; the id says what becomes of it."""
  folder = tmp_path / "clips"
  folder.mkdir()
  tone = 0.3 * np.sin(np.arange(4_000) / 9)

  def save(name: str, samples: np.ndarray, rate: int = 16_000, **options: str) -> str:
    soundfile.write(folder / name, samples, rate, **options)
    return name

  nan, infinite = tone.copy(), tone.copy()
  nan[5], infinite[6] = np.nan, -np.inf
  cut = folder / save("cut.wav", tone)
  cut.write_bytes(cut.read_bytes()[:5_000])
  lines = [
    {"id": "ok wav", "audio": save("a.wav", tone)},
    {"id": "ok flac", "audio": save("a.flac", tone)},
    {"id": "ok mp3", "audio": save("a.mp3", tone)},
    {"id": "ok ogg", "audio": save("a.ogg", tone)},
    {"id": "ok rate", "audio": save("rate.wav", tone, 8_000)},
    {"id": "ok stereo", "audio": save("stereo.wav", np.stack([tone, tone / 2], axis=1))},
    {"id": "ok tagged", "audio": "a.wav", "text": "language English<asr_text>hello"},
    {"id": "silent", "audio": save("silent.wav", 0 * tone)},
    {"id": "0 samples", "audio": save("empty.wav", tone[:0])},
    {"id": "cut short", "audio": "cut.wav"},
    {"id": "NaN", "audio": save("nan.wav", nan, subtype="FLOAT")},
    {"id": "infinite", "audio": save("inf.wav", infinite, subtype="FLOAT")},
    {"id": "text is missing or empty", "audio": "a.wav", "text": ""},
    {"id": "not found", "audio": "none.wav"},
    {"id": "surrogate", "audio": "a.wav", "text": "\ud83d"},
  ]
  content = [json.dumps({"text": "hi"} | line).encode() for line in lines]
  content.append(b'{"id": "not UTF-8", "audio": "a.wav", "text": "\xe9"}')
  content.append(b'{"id": "ok wav", "audio": "a.wav", "text": "hi"}')
  (folder / "lines.jsonl").write_bytes(b"\n".join(content))
  return folder


def test_jsonl_of_every_kind(recordings, tmp_path):
  out = tmp_path / "out"
  summary = convert(str(recordings), str(out), "jsonl", "train", records_per_shard=5)
  assert counts(summary) == (17, 7, 10)
  assert len(summary.shards) == 4  # of 5, 5, 5 and 2 lines
  records = {record.sample_id: record for record in map(decode_example, written(summary))}
  assert len(records) == 7 and all(name.startswith("ok ") for name in records)
  assert {name: len(record.audio) for name, record in records.items()} == {
    name: 8_000 if name == "ok rate" else 4_000 for name in records
  }
  tone = records["ok wav"].audio
  np.testing.assert_allclose(records["ok flac"].audio, tone, atol=2**-14)
  np.testing.assert_allclose(records["ok stereo"].audio, 0.75 * tone, atol=2**-14)
  tagged = records["ok tagged"]
  assert (tagged.text, tagged.language) == ("hello", "English")
  bad = quarantined(out)
  for line in bad[:-1]:
    assert line["id"] in line["reason"]
  assert [line["position"] for line in bad] == list(range(8, 18))
  assert "duplicate id: 'ok wav'" in bad[-1]["reason"]
  assert {line["file"] for line in bad} == {str(recordings / "lines.jsonl")}


def test_jsonl_as_pcm16_is_lossless_for_16_bit_files(recordings, tmp_path):
  summary = convert(str(recordings), str(tmp_path / "out"), "jsonl", "train", "pcm16")
  first = decode_example(written(summary)[0])
  file, _ = soundfile.read(recordings / "a.wav", dtype="int16")
  np.testing.assert_array_equal(first.audio, file)


@pytest.mark.parametrize(
  ("arguments", "reason"),
  [
    ({"source": "none"}, "no input found"),
    ({"source_format": "wav"}, r"'wav', expected one of \['auto', 'tfrecord', 'jsonl', "),
    ({"audio": "mp3"}, r"'mp3', expected one of \['keep', 'pcm16', 'flac'\]"),
    ({"split": "a/b"}, "split is 'a/b'"),
    ({"split": ""}, "split is ''"),
    ({"records_per_shard": 0}, "records_per_shard is 0"),
    ({"workers": 0}, "workers is 0"),
    ({"max_bad_fraction": 1.5}, "max_bad_fraction is 1.5"),
  ],
)
def test_wrong_arguments(tmp_path, arguments, reason):
  path = str(tmp_path / "a.tfrecord")
  write_tfrecord(path, [])
  defaults = {"source": path, "out": str(tmp_path / "out"), "source_format": "tfrecord"}
  with pytest.raises(ValueError, match=reason):
    convert(**(defaults | arguments))
  assert not (tmp_path / "out").exists()


def test_a_list_of_bad_records_is_no_source_of_its_own_folder(tmp_path):
  (tmp_path / "quarantine.jsonl").write_text("{}\n")
  with pytest.raises(ValueError, match="would overwrite"):
    convert(str(tmp_path / "quarantine.jsonl"), str(tmp_path))
  assert (tmp_path / "quarantine.jsonl").read_text() == "{}\n"


def test_a_failure_leaves_nothing_half_done(tmp_path):
  for name in ("a", "b"):
    write_tfrecord(str(tmp_path / f"{name}.tfrecord"), [encoded(name)] * 2)
  out = tmp_path / "out"

  def stop(now: Progress) -> None:
    if now.read == 3:
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    convert(str(tmp_path), str(out), "tfrecord", progress=stop)
  shard = [f"train-00000-of-00002.{suffix}" for suffix in ("array_record", "lengths.npz")]
  assert sorted(os.listdir(out)) == [".progress-train", ".shards-train", *shard]


def frame(data: bytes, length_crc: int = 0, data_crc: int = 0) -> bytes:
  """A record of a TFRecord file, with its checksums changed by the given bits."""
  length = struct.pack("<Q", len(data))
  return b"".join(
    (
      length,
      struct.pack("<I", masked_crc32c(length) ^ length_crc),
      data,
      struct.pack("<I", masked_crc32c(data) ^ data_crc),
    )
  )


KINDS = ["good", "good", "duplicate", "silent", "nan", "no text", "8 kHz", "junk", "data crc"]
RATE = b"\x80\x7d", b"\xc0\x3e"  # varints of 16000 and 8000


def make(kind: str, index: int) -> bytes:
  bad_sample = RAMP.copy()
  bad_sample[0] = np.nan
  good = encoded(f"id{index}")
  return {
    "good": good,
    "duplicate": encoded("again"),
    "silent": encoded(f"id{index}", RAMP * 0),
    "nan": encoded(f"id{index}", bad_sample),
    "no text": encoded(f"id{index}", text="~~").replace(b"~~", b"  "),
    "8 kHz": good.replace(*RATE),
    "junk": b"\x00" * index,
    "data crc": good,
  }[kind]


@settings(max_examples=40)
@given(
  files=st.lists(st.lists(st.sampled_from(KINDS), max_size=6), min_size=1, max_size=3),
  tail=st.sampled_from(["whole", "cut", "length crc"]),
  cut=st.integers(1, 100),
  audio=st.sampled_from(["keep", "pcm16"]),
)
def test_read_is_written_plus_quarantined(tmp_path_factory, files, tail, cut, audio):
  folder = tmp_path_factory.mktemp("mix")
  copied, expected = [], 0
  index, duplicates = 0, 0
  for number, kinds in enumerate(files):
    content = b""
    for kind in kinds:
      index += 1
      data = make(kind, index)
      content += frame(data, data_crc=int(kind == "data crc"))
      duplicates += kind == "duplicate"
      is_good = kind in ("good", "8 kHz") or (kind == "duplicate" and duplicates == 1)
      expected += is_good
      if is_good and kind != "8 kHz":
        copied.append(data)
    if tail == "cut":
      content += frame(encoded("tail"))[:-cut]
    elif tail == "length crc":
      content += frame(encoded("tail"), length_crc=4) + frame(encoded("lost"))
    (folder / f"{number}.tfrecord").write_bytes(content)
  read = index + len(files) * (tail != "whole")
  summary = convert(str(folder), str(folder / "out"), "tfrecord", "train", audio)
  assert counts(summary) == (read, expected, read - expected)
  records = written(summary)
  assert len(records) == expected
  assert len(quarantined(folder / "out")) == read - expected
  for record in map(decode_example, records):
    assert len(record.audio) in (160, 320) and record.audio.any()
  if audio == "keep":
    assert [data for data in records if data in copied] == copied


def test_a_thousand_seconds_take_no_time(tmp_path):
  rng = np.random.default_rng(0)
  pool = [(rng.normal(size=16_000) * 3_000).astype(np.int16) for _ in range(8)]
  path = str(tmp_path / "big.tfrecord")
  write_tfrecord(path, (encoded(f"id{i}", pool[i % 8] / np.float32(32_768)) for i in range(1_000)))
  start = time.process_time()
  summary = convert(path, str(tmp_path / "out"), "tfrecord")
  assert counts(summary) == (1_000, 1_000, 0)
  assert (
    time.process_time() - start < 5.0
  )  # measured: 0.3; 16 million values one by one take 10 and more
