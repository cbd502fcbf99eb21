"""TFRecord files to ArrayRecord: our conversion beside two plain TensorFlow loops, on one core.

    python benchmarks/convert.py

One loop parses each record and serialises it again, the other copies its bytes; both write
with our writer options. (The first hands arrays to protobuf, as such jobs are written; lists would
more than double its speed.) The input is float samples of 16-bit sound. Each side has a process of
its own, on the same core; they take turns, TensorFlow's import is not counted, and of each the best
run counts. Seconds are those of the processor, so that what else the machine does matters little.
Ours are whole conversions: checksums of input and output, samples looked at for NaN and silence,
ids, manifest. Needs the extra `tensorflow`. The last lines are JSON, `ratio` is to the first loop.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

import numpy as np
from rich.console import Console
from rich.table import Table

MEGABYTES = 158  # of input: 40 minutes
QUICK_RUNS, SLOW_RUNS = 4, 2
# TensorFlow, on the processor and without a word.
QUIET = {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"}
PARSE, COPY = "TensorFlow, parsed and serialised", "TensorFlow, bytes passed through"
KEEP, PCM16 = "maxtext-ext data convert --audio keep", "maxtext-ext data convert --audio pcm16"


def write_input(path: str, megabytes: float) -> None:
  """Writes a TFRecord file of so many bytes."""
  from benchmarks.speech_like import make_clips
  from maxtext_ext.audio.limits import PCM16_SCALE
  from maxtext_ext.records.schema import Record, encode_example
  from maxtext_ext.sources.tfrecord import write_tfrecord

  def records() -> Iterator[bytes]:
    size = 0
    for number, clip in enumerate(make_clips(int(3 * megabytes) + 1)):
      audio = clip.samples.astype(np.float32) / PCM16_SCALE
      record = Record(sample_id=f"clip/{number}", audio=audio, text=clip.text, dataset_name="made")
      data = encode_example(record)
      size += len(data)
      if number and size > megabytes * 1e6:
        return
      yield data

  write_tfrecord(path, records())


def tensorflow_loops() -> dict[str, Callable[[str, str], None]]:
  """Returns the two loops of plain TensorFlow."""
  import tensorflow as tf
  from array_record.python.array_record_module import ArrayRecordWriter

  from maxtext_ext.records.writer import WRITER_OPTIONS

  schema = {
    "audio": tf.io.FixedLenSequenceFeature([], tf.float32, allow_missing=True),
    "audio_len": tf.io.FixedLenFeature([], tf.int64),
    "sample_rate": tf.io.FixedLenFeature([], tf.int64),
    "duration": tf.io.FixedLenFeature([], tf.float32),
    "text": tf.io.FixedLenFeature([], tf.string),
    "dataset_name": tf.io.FixedLenFeature([], tf.string),
    "sample_id": tf.io.FixedLenFeature([], tf.string),
  }

  def feature(value: object) -> tf.train.Feature:
    if isinstance(value, bytes):
      return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    if np.issubdtype(value.dtype, np.floating):
      return tf.train.Feature(float_list=tf.train.FloatList(value=np.atleast_1d(value)))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

  def parse(source: str, out: str) -> None:
    writer = ArrayRecordWriter(out, WRITER_OPTIONS)
    dataset = tf.data.TFRecordDataset(source)
    for fields in dataset.map(
      lambda data: tf.io.parse_single_example(data, schema)
    ).as_numpy_iterator():
      features = {name: feature(value) for name, value in fields.items()}
      example = tf.train.Example(features=tf.train.Features(feature=features))
      writer.write(example.SerializeToString())
    writer.close()

  def copy(source: str, out: str) -> None:
    writer = ArrayRecordWriter(out, WRITER_OPTIONS)
    for data in tf.data.TFRecordDataset(source).as_numpy_iterator():
      writer.write(data)
    writer.close()

  return {PARSE: parse, COPY: copy}


def our_loops() -> dict[str, Callable[[str, str], None]]:
  """Returns our loops: complete conversions."""
  from maxtext_ext.conversion.convert import ConvertOptions, convert

  def run(audio: str) -> Callable[[str, str], None]:
    return lambda source, out: convert(
      source, out, ConvertOptions(source_format="tfrecord", audio=audio)
    )

  return {KEEP: run("keep"), PCM16: run("pcm16")}


SIDES = {"tensorflow": tensorflow_loops, "ours": our_loops}


def serve(side: str) -> None:
  """Serves requests from stdin, one JSON line each; answers with seconds and bytes written."""
  loops = SIDES[side]()
  for line in sys.stdin:
    name, source, out = json.loads(line)
    started = time.process_time()
    loops[name](source, out)
    seconds = time.process_time() - started
    answer = json.dumps([seconds, output_size(out)])
    if os.path.isdir(out):
      shutil.rmtree(out)
    else:
      os.remove(out)
    print(answer, flush=True)


def output_size(out: str) -> int:
  """Bytes of the file, or of the shards in a folder."""
  files = [out]
  if os.path.isdir(out):
    files = [entry.path for entry in os.scandir(out) if entry.name.endswith(".array_record")]
  return sum(map(os.path.getsize, files))


class Side:
  """A process that runs the loops of one side."""

  def __init__(self, name: str) -> None:
    self._process = subprocess.Popen(
      [sys.executable, __file__, "--serve", name],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      env={**os.environ, **QUIET},
      text=True,
    )

  def run(self, name: str, source: str, out: str) -> tuple[float, int]:
    """Seconds and bytes of one run."""
    self._process.stdin.write(json.dumps([name, source, out]) + "\n")
    self._process.stdin.flush()
    line = self._process.stdout.readline()
    if not line:
      raise SystemExit(f"{name}: its process ended with {self._process.wait()}; see above")
    seconds, size = json.loads(line)
    return seconds, size

  def close(self) -> None:
    """Ends the process."""
    self._process.stdin.close()
    self._process.wait()


def measure(megabytes: float) -> tuple[int, dict[str, float], dict[str, int]]:
  """Input bytes, and of each loop the best seconds and the bytes written."""
  best: dict[str, float] = {}
  sizes: dict[str, int] = {}
  with contextlib.ExitStack() as stack:
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    sides = {}
    for name in SIDES:
      sides[name] = Side(name)
      stack.callback(sides[name].close)
    source = os.path.join(folder, "input.tfrecord")
    write_input(source, megabytes)
    turns = [("ours", KEEP), ("tensorflow", COPY), ("ours", PCM16)]
    for turn in range(QUICK_RUNS):
      for side, name in turns + ([("tensorflow", PARSE)] if turn < SLOW_RUNS else []):
        seconds, sizes[name] = sides[side].run(name, source, os.path.join(folder, "out"))
        best[name] = min(seconds, best.get(name, seconds))
    return os.path.getsize(source), best, sizes


def main() -> None:
  """Measures, and prints the table and the JSON lines."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--megabytes", type=float, default=MEGABYTES, help="of input")
  parser.add_argument("--serve", choices=SIDES, help=argparse.SUPPRESS)
  args = parser.parse_args()
  if args.serve:
    serve(args.serve)
    return
  os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # the sides inherit it
  size, best, sizes = measure(args.megabytes)
  speed = {name: size / 1e6 / seconds for name, seconds in best.items()}
  table = Table(title=f"{size / 1e6:.0f} MB of TFRecord, one core", min_width=90)
  table.add_column("conversion")
  for column in ("seconds", "MB/s", "times the first", "MB written"):
    table.add_column(column, justify="right")
  for name in (PARSE, COPY, KEEP, PCM16):
    table.add_row(
      name,
      f"{best[name]:.2f}",
      f"{speed[name]:.0f}",
      f"{speed[name] / speed[PARSE]:.1f}",
      f"{sizes[name] / 1e6:.0f}",
    )
  Console(width=100).print(table)
  for name, ours in (("convert_keep", KEEP), ("convert_pcm16", PCM16)):
    figures = {
      "name": name,
      "ours": round(speed[ours], 1),
      "peer": round(speed[PARSE], 1),
      "ratio": round(speed[ours] / speed[PARSE], 2),
      "unit": "MB/s of input on one core",
      "ratio_to_bytes_passed_through": round(speed[ours] / speed[COPY], 3),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
  main()
