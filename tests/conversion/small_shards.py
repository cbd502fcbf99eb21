"""Small TFRecord shards and conversions of them, for the tests of conversion."""

import json
import pathlib
from typing import Any

import numpy as np

from maxtext_ext.conversion.convert import ConvertOptions
from maxtext_ext.records.reader import RecordSource, find_shards
from maxtext_ext.records.schema import Record, decode_example, encode_example
from maxtext_ext.sources.tfrecord import write_tfrecord

RAMP = np.linspace(-0.5, 0.5, 160, dtype=np.float32)  # 10 ms


def encoded(sample_id: str, audio: np.ndarray = RAMP, text: str = "hi") -> bytes:
  return encode_example(Record(sample_id=sample_id, audio=audio, text=text))


def write_shards(folder: pathlib.Path, *shards: list[bytes | str]) -> str:
  """Writes 0.tfrecord, 1.tfrecord ...; a record may be given by its id. Returns the folder."""
  for number, records in enumerate(shards):
    content = [encoded(record) if isinstance(record, str) else record for record in records]
    write_tfrecord(str(folder / f"{number}.tfrecord"), content)
  return str(folder)


def options(**changes: Any) -> ConvertOptions:
  """Whatever the rate of bad records, which is high in tests."""
  return ConvertOptions(**({"source_format": "tfrecord", "max_bad_fraction": 1.0} | changes))


def ids_of(out: pathlib.Path, split: str = "train") -> list[list[str]]:
  """The ids of each shard."""
  found = []
  for shard in find_shards(str(out), split):
    source = RecordSource([shard])
    found.append([decode_example(source[i]).sample_id for i in range(len(source))])
  return found


def bytes_of(folder: pathlib.Path) -> dict[str, bytes]:
  """Every file below a folder."""
  files = (path for path in folder.rglob("*") if path.is_file())
  return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def quarantined(out: pathlib.Path) -> list[dict]:
  lines = (out / "quarantine.jsonl").read_text("utf-8").split("\n")
  return [json.loads(line) for line in lines if line]
