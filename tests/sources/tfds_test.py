"""TFRecord files as TensorFlow Datasets writes them, with features.json in its protobuf's JSON."""

import gzip
import json
import pathlib

import numpy as np
import pytest

from maxtext_ext.records import wire
from maxtext_ext.sources.tfrecord import write_tfrecord
from tests.sources.manifests import ramp, sound_bytes
from tests.sources.opening import opener, outcomes, read_entries

PCM = np.round(ramp(0, 0.5) * 32768).astype(np.int64) - 100


def example(**features: object) -> bytes:
  entries = []
  for name, value in features.items():
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
      kind, content = 2, wire.write_field(1, value.astype("<f4").tobytes())
    elif isinstance(value, np.ndarray | int):
      numbers = np.atleast_1d(value).tolist()
      kind, content = 3, wire.write_field(1, b"".join(map(wire.write_varint, numbers)))
    else:
      data = value.encode() if isinstance(value, str) else value
      kind, content = 1, wire.write_field(1, data)
    feature = wire.write_field(1, name.encode()) + wire.write_field(
      2, wire.write_field(kind, content)
    )
    entries.append(wire.write_field(1, feature))
  return wire.write_field(1, b"".join(entries))


def write_features(folder: pathlib.Path, name: str = "speech", **audio: object) -> None:
  kind = "tensorflow_datasets.core.features"
  audio = {"shape": {"dimensions": ["-1"]}, "dtype": "int64", "encoding": "none"} | audio
  features = {
    name: {"pythonClassName": f"{kind}.audio_feature.Audio", "audio": audio},
    "text": {"pythonClassName": f"{kind}.text_feature.Text", "text": {}},
  }
  content = {
    "pythonClassName": f"{kind}.features_dict.FeaturesDict",
    "featuresDict": {"features": features},
  }
  (folder / "features.json").write_text(json.dumps(content))


def test_a_data_set(tmp_path):
  write_features(tmp_path, sampleRate="16000", fileFormat="flac")
  rows = [
    example(speech=PCM, text="hello", id="1-2-3", speaker_id=12, chapter_id=7),
    example(speech=PCM, text="שלום", speaker_id=13, chapter_id=7),
  ]
  for split in ("train", "test"):
    write_tfrecord(str(tmp_path / f"librispeech-{split}.tfrecord-00000-of-00001"), rows)
  first, second = read_entries("tfds", tmp_path, "test", language="Hebrew")
  assert outcomes([first, second]) == [
    ("1-2-3", "hello"),
    ("librispeech-test.tfrecord-00000-of-00001:1", "שלום"),
  ]
  assert (first.record.speaker, first.record.language) == ("12", "Hebrew")
  np.testing.assert_allclose(first.record.audio, PCM / 32768, atol=1e-7)


def test_forms_of_audio(tmp_path):
  path = str(tmp_path / "a.tfrecord")
  rows = [
    example(audio=PCM, text="integers", sample_rate=16_000),
    example(audio=ramp(0, 0.5), text="floats", sampling_rate=16_000),
    example(audio=sound_bytes(0, 0.5), text="file"),
    example(audio=PCM * 65536, text="32 bits", sample_rate=16_000),
    example(audio=PCM, text="no rate"),
    example(audio=PCM << 40, text="too loud", sample_rate=16_000),
    example(audio=b"junk", text="junk"),
    example(audio=PCM, said="no text", sample_rate=16_000),
    example(text="no audio"),
    example(audio=PCM, text=b"\xff", sample_rate=16_000),
    b"\x0a\xff",
  ]
  write_tfrecord(path, rows)
  (tmp_path / "b.tfrecord.gz").write_bytes(gzip.compress(pathlib.Path(path).read_bytes()))
  expected = [
    "no sampling rate",
    "expected 16 or 32 bits",
    "cannot decode 4 bytes",
    "no feature for the text",
    "no feature for the audio",
    "'text' is not UTF-8",
    "not a tf.train.Example",
  ]
  for name in ("a.tfrecord", "b.tfrecord.gz"):
    entries = read_entries("tfds", tmp_path / name)
    good, bad = entries[:4], entries[4:]
    assert [entry.record.text for entry in good] == ["integers", "floats", "file", "32 bits"]
    for entry in good:
      assert np.abs(entry.record.audio - ramp(0, 0.5)).max() < 0.01
    for entry, reason in zip(bad, expected, strict=True):
      assert reason in entry.reason and entry.sample_id.startswith(name)


def test_channels_and_other_schemas(tmp_path):
  write_features(tmp_path, "clip", shape={"dimensions": ["-1", "2"]}, sampleRate="16000")
  both = np.stack([PCM, 3 * PCM], axis=1).reshape(-1)
  write_tfrecord(str(tmp_path / "x.tfrecord"), [example(clip=both, text="hi")])
  (entry,) = read_entries("tfds", tmp_path)
  np.testing.assert_allclose(entry.record.audio, 2 * PCM / 32768, atol=1e-6)
  for content in ("[1]", "{}", '{"featuresDict": {"features": {"a": {"audio": {"shape": 5}}}}}'):
    (tmp_path / "features.json").write_text(content)
    assert "no feature for the audio" in read_entries("tfds", tmp_path)[0].reason
  (tmp_path / "features.json").write_text("{")
  with pytest.raises(ValueError, match=r"features.json: not JSON"):
    opener("tfds")(str(tmp_path))


def test_integers_of_every_size():
  values = np.array([0, 1, -1, 127, 128, -(2**63), 2**63 - 1, 300, -32768], np.int64)
  packed = b"".join(wire.write_varint(int(value)) for value in values)
  data = wire.write_field(1, packed)
  np.testing.assert_array_equal(wire.read_integer_array(data, (0, len(data))), values)
  apart = b"".join(b"\x08" + wire.write_varint(int(value)) for value in values)
  np.testing.assert_array_equal(wire.read_integer_array(apart, (0, len(apart))), values)
  assert len(wire.read_integer_array(b"", (0, 0))) == 0
  for broken in (b"\x80", b"\xff" * 11 + b"\1"):
    data = wire.write_field(1, b"\1" + broken)
    with pytest.raises(wire.WireError):
      wire.read_integer_array(data, (0, len(data)))
