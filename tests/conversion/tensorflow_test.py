"""Our bytes against TensorFlow's, in both directions.

TensorFlow runs once, in a process of its own: it takes seconds to import and its libraries do not
always live well beside others'.
"""

import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from maxtext_ext.conversion.convert import ConvertOptions, convert
from maxtext_ext.records.reader import RecordSource
from maxtext_ext.records.schema import Record, decode_example, encode_example
from maxtext_ext.sources.tfrecord import read_tfrecord, write_tfrecord

TENSORFLOW_SIDE = """
import json, sys
import numpy as np
import tensorflow as tf

ours, theirs, parsed = sys.argv[1:]

schema = {
  "audio": tf.io.VarLenFeature(tf.float32),
  "audio_len": tf.io.FixedLenFeature([], tf.int64),
  "sample_rate": tf.io.FixedLenFeature([], tf.int64),
  "duration": tf.io.FixedLenFeature([], tf.float32),
  "text": tf.io.FixedLenFeature([], tf.string),
  "dataset_name": tf.io.FixedLenFeature([], tf.string),
  "sample_id": tf.io.FixedLenFeature([], tf.string),
  "language": tf.io.FixedLenFeature([], tf.string, ""),
  "audio_pcm16": tf.io.FixedLenFeature([], tf.string, ""),
}

# What TensorFlow makes of our file.
lines = []
for data in tf.data.TFRecordDataset(ours).as_numpy_iterator():
  fields = tf.io.parse_single_example(data, schema)
  example = tf.train.Example.FromString(data)
  names = sorted(example.features.feature)
  line = {"names": names}
  for name, value in fields.items():
    value = tf.sparse.to_dense(value) if isinstance(value, tf.SparseTensor) else value
    value = value.numpy()
    line[name] = value.hex() if isinstance(value, bytes) else value.tolist()
  lines.append(line)
with open(parsed, "w") as file:
  json.dump(lines, file)

# A file of TensorFlow's for us, written as the project's jobs write it.
Feature, Bytes = tf.train.Feature, tf.train.BytesList
with tf.io.TFRecordWriter(theirs) as writer:
  for i, length in enumerate([1, 500, 16_000, 40_001]):
    audio = np.random.default_rng(i).uniform(-1, 1, length).astype(np.float32)
    writer.write(tf.train.Example(features=tf.train.Features(feature={
      "audio": Feature(float_list=tf.train.FloatList(value=audio)),
      "audio_len": Feature(int64_list=tf.train.Int64List(value=[length])),
      "sample_rate": Feature(int64_list=tf.train.Int64List(value=[16_000])),
      "duration": Feature(float_list=tf.train.FloatList(value=[length / 16_000])),
      "text": Feature(bytes_list=Bytes(value=[f"مرحبا שלום hi {i}".encode()])),
      "dataset_name": Feature(bytes_list=Bytes(value=[b"fleurs"])),
      "sample_id": Feature(bytes_list=Bytes(value=[b"id/%d" % i])),
      "speaker": Feature(bytes_list=Bytes(value=[b"not in the schema"])),
    })).SerializeToString())
"""

AUDIO = np.random.default_rng(7).uniform(-1, 1, 3_000).astype(np.float32)
OURS = [
  Record(sample_id="a/0", audio=AUDIO, text="hello שלום", dataset_name="x", language="Hebrew"),
  Record(sample_id="a/1", audio=AUDIO[:0], text="no sound"),
  Record(sample_id="a/2", audio=(AUDIO * 32_767).astype(np.int16), text="16 bits"),
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exchange:
  theirs: str  # TFRecord file that TensorFlow wrote
  parsed: list[dict]  # what it read in ours


@pytest.fixture(scope="module")
def exchange(tmp_path_factory) -> Exchange:
  folder = tmp_path_factory.mktemp("tensorflow")
  ours, theirs, parsed = (str(folder / name) for name in ("ours", "theirs.tfrecord", "parsed"))
  formats = ["float32", "float32", "pcm16"]
  write_tfrecord(ours, [encode_example(r, audio=f) for r, f in zip(OURS, formats, strict=True)])
  result = subprocess.run(
    [sys.executable, "-c", TENSORFLOW_SIDE, ours, theirs, parsed],
    env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"},
    stderr=subprocess.PIPE,
    text=True,
  )
  assert result.returncode == 0, result.stderr[-3000:]
  with open(parsed) as file:
    return Exchange(theirs=theirs, parsed=json.load(file))


def test_tensorflow_reads_our_records(exchange):
  assert len(exchange.parsed) == len(OURS)
  for record, line in zip(OURS, exchange.parsed, strict=True):
    assert line["audio_len"] == len(record.audio)
    assert line["sample_rate"] == 16_000
    assert line["duration"] == np.float32(record.seconds)
    for name in ("text", "dataset_name", "sample_id"):
      assert bytes.fromhex(line[name]).decode() == getattr(record, name)
  first, second, third = exchange.parsed
  np.testing.assert_array_equal(np.array(first["audio"], np.float32), AUDIO)
  assert bytes.fromhex(first["language"]) == b"Hebrew"
  assert second["audio"] == []
  pcm = np.frombuffer(bytes.fromhex(third["audio_pcm16"]), "<i2")
  np.testing.assert_array_equal(pcm, OURS[2].audio)


def test_our_float32_records_hold_the_schema_and_no_more(exchange):
  schema = ["audio", "audio_len", "dataset_name", "duration", "sample_id", "sample_rate", "text"]
  assert exchange.parsed[1]["names"] == schema
  assert exchange.parsed[0]["names"] == sorted([*schema, "language"])


def test_we_read_tensorflows_records(exchange):
  records = [decode_example(data) for _, data in read_tfrecord(exchange.theirs)]
  assert [len(record.audio) for record in records] == [1, 500, 16_000, 40_001]
  for i, record in enumerate(records):
    audio = np.random.default_rng(i).uniform(-1, 1, len(record.audio)).astype(np.float32)
    np.testing.assert_array_equal(record.audio, audio)
    assert (record.sample_id, record.dataset_name) == (f"id/{i}", "fleurs")
    assert record.text == f"مرحبا שלום hi {i}"


def test_conversion_copies_tensorflows_bytes(exchange, tmp_path):
  summary = convert(exchange.theirs, str(tmp_path), ConvertOptions(source_format="tfrecord"))
  assert (summary.read, summary.written, summary.quarantined) == (4, 4, 0)
  source = RecordSource(summary.shards)
  theirs = [data for _, data in read_tfrecord(exchange.theirs)]
  assert [source[i] for i in range(len(source))] == theirs
