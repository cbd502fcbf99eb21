"""Footers of parquet: those of writers are right, what pyarrow would die of is found."""

import io
import re
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maxtext_ext.sources.parquet_footer import find_damage

AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
TABLE = pa.table(
  {
    "audio": pa.array([{"bytes": b"abc", "path": None}, None, {"bytes": None, "path": "b"}], AUDIO),
    "text": pa.array(["a", None, "c"]),
    "words": pa.array([["a", "b"], None, []]),
    "number": pa.array([1, 2, None]),
    "נייר": pa.array(["x", "y", "z"]),
  }
)


def written(**options: Any) -> bytes:
  file = io.BytesIO()
  pq.write_table(TABLE, file, **options)
  return file.getvalue()


def damage(data: bytes) -> str | None:
  return find_damage(io.BytesIO(data), pq.ParquetFile(io.BytesIO(data)))


@pytest.mark.parametrize(
  "options",
  [
    {},
    {"row_group_size": 1},
    {"data_page_version": "2.0"},
    {"version": "1.0"},
    {"write_statistics": False},
    {"write_page_index": True},
    {"use_dictionary": False, "compression": "none"},
    {"compression": "gzip", "store_schema": False},
  ],
  ids=str,
)
def test_what_pyarrow_writes_is_right(options: dict[str, Any]) -> None:
  assert damage(written(**options)) is None


def test_no_rows_are_right() -> None:
  file = io.BytesIO()
  pq.write_table(TABLE.slice(0, 0), file)
  assert damage(file.getvalue()) is None


@pytest.mark.parametrize(
  ("old", "new", "reason"),
  [
    (b"\x05audio\x05bytes", b"\x05a\xffdio\x05bytes", r"group 0, column 0: its path is .*xffdio"),
    (b"\x19\x18\x04text", b"\x19\x18\x04next", "column 2: its path is .*next.*, expected 'text'"),
    (b"\x19\6\x19\x26\0\6", b"\x19\x26\0\6\x19\6", "a histogram of levels"),
  ],
)
def test_damage_is_found(old: bytes, new: bytes, reason: str) -> None:
  data = written()
  at = data.index(old, len(data) - 8 - int.from_bytes(data[-8:-4], "little"))
  assert re.search(reason, damage(data[:at] + new + data[at + len(old) :]) or "")
