"""Broken and odd parquet files and rows in them, and all sounds, as bytes in a column."""

import pathlib
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.sources.fuzz import tones
from tests.sources.fuzz.case import AFTER, BEFORE, CASE, TEXT, Case
from tests.sources.fuzz.sounds import SOUNDS

BROKEN = "not a whole parquet file"
DAMAGED = "row group 0 is damaged from row"
NO_COLUMN = "no column for the"
_AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_PATH, _OTHER = pa.struct([("path", pa.string())]), pa.struct([("x", pa.int8())])
_SOUND = tones.flac()
_ROW: dict[str, Any] = {"id": CASE, "audio": {"bytes": _SOUND, "path": None}, "text": TEXT}
_TYPES = {"id": pa.string(), "audio": _AUDIO, "text": pa.string()}


def _table(rows: Sequence[dict[str, Any]], **types: pa.DataType) -> pa.Table:
  kinds = _TYPES | types
  columns = {name: pa.array([row.get(name) for row in rows], kind) for name, kind in kinds.items()}
  return pa.table(columns)


def _bytes_of(table: pa.Table, **options: Any) -> bytes:
  sink = pa.BufferOutputStream()
  pq.write_table(table, sink, **options)
  return sink.getvalue().to_pybytes()


def _named(name: str) -> dict[str, Any]:
  return _ROW | {"id": name}


_NEIGHBOURS = [_named(BEFORE), _ROW, _named(AFTER)]
_WHOLE, _PACKED = (
  _bytes_of(_table(_NEIGHBOURS), compression=codec, use_dictionary=False, write_page_checksum=True)
  for codec in ("none", "zstd")
)


def _audio(data: bytes | None = None, path: str | None = None) -> dict[str, Any]:
  return {"audio": {"bytes": data, "path": path}}


# Rows between two good ones: name, values that differ, reason or None where it is good.
_ROWS: tuple[tuple[str, dict[str, Any], str | None], ...] = (
  ("null audio", {"audio": None}, "audio is missing"),
  ("audio of nulls", _audio(), "audio is missing"),
  ("empty bytes", _audio(b""), "cannot decode 0 bytes"),
  ("path that is not there", _audio(path="nowhere.wav"), "not found"),
  ("path of a folder", _audio(path="."), "cannot read"),
  ("path with NUL", _audio(path="a\0b"), "cannot read|null byte"),
  ("null text", {"text": None}, "text is missing"),
  ("empty text", {"text": ""}, "text is missing or empty"),
  ("text of spaces", {"text": " \u00a0"}, "text is missing or empty"),
  ("text of the template only", {"text": "language Hebrew<asr_text>"}, "text is missing or empty"),
  ("null id", {"id": None}, None),
  ("bytes and a path that is not there", _audio(_SOUND, "nowhere.wav"), None),
)
_IDS = ("a/b/c", "../../../escape", "/etc/passwd", "a\0b", "a\nb", "x" * 1_000_000, "\u202e", " ")

# Columns of other types, for every row: name, types, values that differ, reason or None.
_COLUMNS: tuple[tuple[str, dict[str, pa.DataType], dict[str, Any], str | None], ...] = (
  ("audio as integers", {"audio": pa.int64()}, {"audio": 7}, f"{NO_COLUMN} audio"),
  ("audio as floats", {"audio": pa.list_(pa.float32())}, {"audio": [0.5]}, f"{NO_COLUMN} audio"),
  ("audio without bytes", {"audio": _PATH}, {"audio": {"path": "nowhere.wav"}}, "not found"),
  ("another struct", {"audio": _OTHER}, {"audio": {"x": 1}}, f"{NO_COLUMN} audio"),
  ("audio of nulls only", {"audio": pa.null()}, {"audio": None}, f"{NO_COLUMN} audio"),
  ("text as integers", {"text": pa.int64()}, {"text": 5}, f"{NO_COLUMN} text"),
  ("text as lists", {"text": pa.list_(pa.string())}, {"text": ["a"]}, f"{NO_COLUMN} text"),
  ("text as bytes", {"text": pa.binary()}, {"text": b"a"}, f"{NO_COLUMN} text"),
  ("text of nulls only", {"text": pa.null()}, {"text": None}, f"{NO_COLUMN} text"),
  ("text not UTF-8", {"text": pa.string()}, {"text": b"a\xff\xfe"}, "'text' is not UTF-8"),
  ("lone surrogates", {"text": pa.string()}, {"text": b"\xed\xa0\x80"}, "'text' is not UTF-8"),
  ("id not UTF-8", {"id": pa.string()}, {"id": b"\xff"}, "'id' is not UTF-8"),
  ("language of two lines", {"language": pa.string()}, {"language": "a\nb"}, "not a language name"),
)


def _file(data: bytes) -> Callable[[pathlib.Path], pathlib.Path]:
  def write(folder: pathlib.Path) -> pathlib.Path:
    (folder / "a.parquet").write_bytes(data)
    return folder

  return write


def _between(name: str, changes: dict[str, Any], reason: str | None) -> Case:
  rows = [_NEIGHBOURS[0], _ROW | changes, _NEIGHBOURS[2]]
  sample_id = (_ROW | changes)["id"] or "a.parquet:1"
  good = (BEFORE, AFTER) if reason else (BEFORE, sample_id, AFTER)
  write = _file(_bytes_of(_table(rows)))
  return Case(name=name, write=write, bad=(reason,) if reason else (), good=good)


def _whole_column(
  name: str, types: dict[str, pa.DataType], changes: dict[str, Any], reason: str | None
) -> Case:
  """Two rows of a column that is not what it should be."""
  rows = [row | changes for row in (_named("a"), _named("b"))]
  binary = {key: pa.binary() for key, value in changes.items() if isinstance(value, bytes)}
  table = _table(rows, **types | binary)
  for key in binary:  # Arrow does not look into the bytes when it is told so
    if types[key] == pa.string():
      column = table[key].combine_chunks()
      forged = pa.Array.from_buffers(pa.string(), len(column), column.buffers())
      table = table.set_column(table.schema.get_field_index(key), key, forged)
  bad, good = ((reason,) * 2, ()) if reason else ((), ("a", "b"))
  return Case(name=name, write=_file(_bytes_of(table)), bad=bad, good=good)


def _odd_types() -> Iterator[Case]:
  text, samples = pa.array([TEXT, TEXT]), pa.array([tones.tone().astype(np.float32)] * 2)
  array = pa.StructArray.from_arrays(
    [samples, pa.array([tones.RATE] * 2, pa.int64())], ["array", "sampling_rate"]
  )
  ids, sounds = pa.array(["a", "b"]), pa.array([{"bytes": _SOUND, "path": None}] * 2, _AUDIO)
  for name, columns in (
    ("audio as plain bytes", {"audio": pa.array([_SOUND] * 2)}),
    ("audio as large bytes", {"audio": pa.array([_SOUND] * 2, pa.large_binary())}),
    ("audio as samples", {"audio": array}),
    ("text as large strings", {"text": text.cast(pa.large_string())}),
    ("text from a dictionary", {"text": text.dictionary_encode()}),
    ("other columns", {"x": pa.array([{"deep": [[1]]}] * 2), "y": pa.nulls(2)}),
  ):
    table = pa.table({"id": ids, "audio": sounds, "text": text} | columns)
    yield Case(name=name, write=_file(_bytes_of(table)), good=("a", "b"))
  numbers = pa.table({"id": pa.array([7, -8]), "audio": sounds, "text": text})
  yield Case(name="id as integers", write=_file(_bytes_of(numbers)), good=("7", "-8"))
  for codec in ("snappy", "gzip", "zstd", "lz4", "brotli"):
    write = _file(_bytes_of(_table(_NEIGHBOURS), compression=codec, row_group_size=1))
    yield Case(name=f"{codec}, a row a group", write=write, good=(BEFORE, CASE, AFTER))


def _sounds() -> Iterator[Case]:
  for sound in SOUNDS:

    def write(folder: pathlib.Path, make: Callable[[], bytes] = sound.make) -> pathlib.Path:
      rows = [_NEIGHBOURS[0], _ROW | _audio(make()), _NEIGHBOURS[2]]
      return _file(_bytes_of(_table(rows)))(folder)

    good = (BEFORE, AFTER) if sound.reason else (BEFORE, CASE, AFTER)
    bad = (sound.reason,) if sound.reason else ()
    yield Case(name=f"sound: {sound.name}", write=write, bad=bad, good=good)


def _cut_files() -> Iterator[Case]:
  """A file cut at every point of its structure; where the footer goes, everything does."""
  (footer,) = struct.unpack_from("<I", _WHOLE, len(_WHOLE) - 8)
  metadata = pq.read_metadata(pa.BufferReader(_WHOLE)).row_group(0)
  pages = (metadata.column(index).data_page_offset for index in range(metadata.num_columns))
  points = [1, 4, 8, *pages, len(_WHOLE) // 2, len(_WHOLE) - 8 - footer, len(_WHOLE) - 9]
  for point in sorted({*points, len(_WHOLE) - 8, len(_WHOLE) - 4, len(_WHOLE) - 1}):
    yield Case(name=f"file cut at {point}", write=_file(_WHOLE[:point]), bad=(BROKEN,), good=())


def _replaced(at: int, data: bytes, whole: bytes = _WHOLE) -> bytes:
  at %= len(whole)
  return whole[:at] + data + whole[at + len(data) :]


def _in_footer(old: bytes, new: bytes) -> bytes:
  """The first such bytes of the footer replaced by as many."""
  (footer,) = struct.unpack_from("<I", _WHOLE, len(_WHOLE) - 8)
  return _replaced(_WHOLE.index(old, len(_WHOLE) - 8 - footer), new)


def _damaged_files() -> Iterator[Case]:
  metadata = pq.read_metadata(pa.BufferReader(_WHOLE)).row_group(0)
  columns = {c.path_in_schema: c for c in map(metadata.column, range(metadata.num_columns))}
  sound, text = (columns[name].data_page_offset for name in ("audio.bytes", "text"))
  for name, data in (
    ("empty file", b""),
    ("text", b"this is no parquet file\n" * 9),
    ("magic only", b"PAR1PAR1"),
    ("footer of 4 GiB", _replaced(-8, struct.pack("<I", 2**32 - 1))),
    ("footer of 2 GiB", _replaced(-8, struct.pack("<I", 2**31 - 1))),
    ("footer of 0 bytes", _replaced(-8, bytes(4))),
    ("footer one byte longer", _WHOLE[:-8] + struct.pack("<I", len(_WHOLE)) + b"PAR1"),
    ("footer of zeros", _replaced(-300, bytes(292))),
    ("encrypted footer", _replaced(-4, b"PARE")),
    ("another magic", _replaced(-4, b"RAP1")),
    ("Arrow file", _arrow_file()),
    ("path of a column not UTF-8", _in_footer(b"\x05audio\x05bytes", b"\x05a\xffdio\x05bytes")),
    ("name of a column not UTF-8", _in_footer(b"\x04text", b"\x04t\xffxt")),
    ("more levels than there are", _in_footer(b"\x19\6\x19\x26\0\6", b"\x19\x26\0\6\x19\6")),
  ):
    yield Case(name=f"file: {name}", write=_file(data), bad=(BROKEN,), good=())
  # Where the header of a page says how large it is unpacked. Nothing asks of a page that is not
  # packed, and its checksum is right.
  large = _replaced(sound + 3, b"\xfe\xff\x7f")
  yield Case(name="page of a megabyte", write=_file(large), good=(BEFORE, CASE, AFTER))
  first_page = pq.read_metadata(pa.BufferReader(_PACKED)).row_group(0).column(1).data_page_offset
  packed = _replaced(first_page + 3, b"\xfe\xff\x7f", _PACKED)
  yield Case(name="packed page of a megabyte", write=_file(packed), bad=(DAMAGED,) * 3, good=())
  for name, at in (("sound", sound + 2000), ("text", text + 10), ("header of a page", sound)):
    data = tones.flipped(_WHOLE, *range(at, at + 5))
    yield Case(name=f"{name} damaged", write=_file(data), bad=(DAMAGED,) * 3, good=())


def _arrow_file() -> bytes:
  sink = pa.BufferOutputStream()
  with pa.ipc.new_file(sink, _table(_NEIGHBOURS).schema) as writer:
    writer.write_table(_table(_NEIGHBOURS))
  return sink.getvalue().to_pybytes()


def _bomb(row_group_size: int) -> Callable[[pathlib.Path], pathlib.Path]:
  """A sound of 256 MiB of zeros, in some kilobytes."""

  def write(folder: pathlib.Path) -> pathlib.Path:
    rows = [_NEIGHBOURS[0], _ROW | _audio(bytes(1 << 28)), _NEIGHBOURS[2]]
    options = {"compression": "zstd", "row_group_size": row_group_size}
    pq.write_table(_table(rows), folder / "a.parquet", **options)
    return folder

  return write


def _files() -> Iterator[Case]:
  for name, table, reason in (
    ("no audio column", _table(_NEIGHBOURS).drop_columns("audio"), f"{NO_COLUMN} audio"),
    ("no text column", _table(_NEIGHBOURS).drop_columns("text"), f"{NO_COLUMN} text"),
  ):
    yield Case(name=name, write=_file(_bytes_of(table)), bad=(reason,) * 3, good=())
  empty = _table([])
  yield Case(name="no rows", write=_file(_bytes_of(empty)), refused="no rows")
  twice = _table([_NEIGHBOURS[0], _ROW, _ROW, _NEIGHBOURS[2]])
  three = (BEFORE, CASE, AFTER)
  duplicate = ("duplicate id: 'case'",)
  yield Case(name="an id twice", write=_file(_bytes_of(twice)), bad=duplicate, good=three)
  large = "row [01] of row group [01] has 2684354[0-9]{2} bytes, expected at most"
  yield Case(name="bomb of a sound", write=_bomb(1), bad=(large,))
  yield Case(name="bomb in a dictionary", write=_bomb(3), bad=(large,))


CASES = (
  *(_between(*row) for row in _ROWS),
  *(_between(f"id {name[:20]!r}", {"id": name}, None) for name in _IDS),
  *(_whole_column(*column) for column in _COLUMNS),
  *_odd_types(),
  *_cut_files(),
  *_damaged_files(),
  *_files(),
  *_sounds(),
)
