"""Small data sets for benchmarks: clips that a server tells apart by their length."""

import json
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

from maxtext_ext.records.schema import Record, encode_example
from maxtext_ext.records.writer import ShardWriter


def record(number: int, **fields: object) -> Record:
  """A clip of 0.1 s more than the one before, and its text."""
  samples = np.resize(np.arange(-50, 50, dtype=np.int16), 1_600 * (number + 1))
  defaults = {"sample_id": f"clip{number}", "text": f"word{chr(97 + number)} said"}
  return Record(audio=samples, **defaults | fields)


def texts(count: int) -> dict[int, str]:
  """Transcripts without an error, by number of samples."""
  return {len(record(number).audio): record(number).text for number in range(count)}


def write_jsonl(path: pathlib.Path, count: int, **fields: object) -> str:
  """Writes a manifest and its sound files."""
  path.parent.mkdir(parents=True, exist_ok=True)
  lines = []
  for number in range(count):
    clip = record(number)
    name = f"{path.stem}-{number}.wav"
    soundfile.write(path.parent / name, clip.audio, 16_000)
    lines.append({"id": clip.sample_id, "audio": name, "text": clip.text, **fields})
  path.write_text("".join(json.dumps(line) + "\n" for line in lines))
  return str(path)


def write_parquet(path: pathlib.Path, count: int, *, text: str = "text", **columns: str) -> None:
  """Writes a table as the data sets of the hub: sound as bytes, no ids; more columns of texts."""
  path.parent.mkdir(parents=True, exist_ok=True)
  sounds = []
  for number in range(count):
    wav = path.parent / "clip.wav"
    soundfile.write(wav, record(number).audio, 16_000)
    sounds.append({"bytes": wav.read_bytes(), "path": None})
    wav.unlink()
  rows = {"audio": sounds, text: [record(number).text for number in range(count)]}
  rows |= {name: [value] * count for name, value in columns.items()}
  pq.write_table(pa.table(rows), path)


def write_records(path: pathlib.Path, *records: Record) -> None:
  """Writes an ArrayRecord file."""
  path.parent.mkdir(parents=True, exist_ok=True)
  with ShardWriter(str(path)) as writer:
    for each in records:
      writer.write(encode_example(each, audio="pcm16"))
