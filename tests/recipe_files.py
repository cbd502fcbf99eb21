"""Parquet files with the columns of the recipes' sources, for tests."""

import functools
import io
import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
RECITAL = pa.schema(
  [
    ("audio", AUDIO),
    ("transcript", pa.string()),
    (
      "metadata",
      pa.struct(
        [
          ("seek", pa.float32()),
          ("duration", pa.float32()),
          ("source", pa.string()),
          ("entry_id", pa.string()),
          ("quality_score", pa.float32()),
        ]
      ),
    ),
    ("has_prev", pa.bool_()),
    ("has_timestamps", pa.bool_()),
    ("prev_transcript", pa.string()),
  ]
)
TRANSCRIBE = pa.schema(
  [
    ("uuid", pa.string()),
    ("audio", AUDIO),
    ("orig_sentence", pa.string()),
    ("sentence", pa.string()),
    ("noisy", pa.bool_()),
    ("multiple_speakers", pa.bool_()),
  ]
)


@functools.cache
def sound(seconds: float, number: int = 0, *, rate: int = 16_000, form: str = "WAV") -> bytes:
  """An audio file of noise."""
  samples = np.random.default_rng(number).normal(0, 0.1, round(seconds * rate)).astype(np.float32)
  buffer = io.BytesIO()
  soundfile.write(buffer, samples, rate, format=form)
  return buffer.getvalue()


def write(path: str | os.PathLike[str], rows: Sequence[dict[str, Any]], schema: pa.Schema) -> None:
  """Writes rows in groups of three."""
  os.makedirs(os.path.dirname(path), exist_ok=True)
  pq.write_table(pa.Table.from_pylist(list(rows), schema), path, row_group_size=3)


def transcribed(number: int, seconds: float = 1.0, text: str | None = None) -> dict[str, Any]:
  """A row of crowd-transcribe."""
  return {
    "uuid": f"{number:08x}-0000",
    "audio": {"bytes": sound(seconds, number), "path": f"{number:08x}-0000.mp3"},
    "orig_sentence": "משפט אחר",
    "sentence": f"משפט מספר {number}." if text is None else text,
    "noisy": False,
    "multiple_speakers": False,
  }


def recited(recording: str, seek: float, transcript: str, seconds: float = 2.0) -> dict[str, Any]:
  """A row of crowd-recital: MP3, the path is the recording's."""
  return {
    "audio": {"bytes": sound(seconds, int(seek), form="MP3"), "path": recording},
    "transcript": transcript,
    "metadata": {
      "seek": seek,
      "duration": 30.0,
      "source": "recital",
      "entry_id": recording,
      "quality_score": 0.9,
    },
    "has_prev": seek > 0,
    "has_timestamps": True,
    "prev_transcript": "",
  }


def transcribe_rows(first: int, count: int) -> list[dict[str, Any]]:
  """Rows of crowd-transcribe with consecutive numbers."""
  return [transcribed(number) for number in range(first, first + count)]


def recital_rows(recordings: Iterable[int]) -> list[dict[str, Any]]:
  """Three rows of crowd-recital for each recording; the second segment is not written out."""
  transcript = "<|0.00|>שָׁלוֹם עולם!!<|1.00|><|1.50|>"
  return [
    recited(f"rec-{recording}", seek, transcript)
    for recording in recordings
    for seek in (0.0, 29.98, 61.5)
  ]
