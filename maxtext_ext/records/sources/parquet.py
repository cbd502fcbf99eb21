"""Parquet files as Hugging Face has them: a column with the bytes of a sound file in each row.

The audio is a struct {bytes, path} (bytes null: the file at `path`, from the parquet file's folder
on), the bytes alone, a path, or a struct {array, sampling_rate} of samples. The other columns are
found by their usual names, see `fields`; the id may be put together from several, and from members
of structs: "metadata.entry_id,metadata.seek". A row without an id has its audio's path for one, or
else the file's name (with its folder, where files are in several) and the row's number.
"""

import dataclasses
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from maxtext_ext.audio.io import AudioError, convert_samples, decode_audio
from maxtext_ext.records import storage
from maxtext_ext.records.named_files import load_named
from maxtext_ext.records.schema import Record, RecordError
from maxtext_ext.records.sources.cutting import RowRange, cut_rows
from maxtext_ext.records.sources.dataset_files import shared_folder
from maxtext_ext.records.sources.entry import Bad, Good
from maxtext_ext.records.sources.fields import USUAL_NAMES, choose_names, read_fields
from maxtext_ext.records.sources.options import EVERY_OPTION, SourceOptions
from maxtext_ext.records.sources.parquet_rows import BrokenFileError, open_parquet, read_rows

OPTIONS = EVERY_OPTION
FILE_PATTERNS = ("*.parquet",)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParquetShard:
  """Some consecutive rows, of one file or over the border of several.

  Attributes:
    ranges: the rows.
    folder: what the paths of all files of the source begin with.
    options: how they are read.
  """

  ranges: tuple[RowRange, ...]
  folder: str
  options: SourceOptions

  @property
  def paths(self) -> tuple[str, ...]:
    """The files that the rows are in."""
    return tuple(dict.fromkeys(part.path for part in self.ranges))

  def entries(self) -> Iterator[Good | Bad]:
    """Reads the rows and decodes their audio; the position is the row in its file, from 0."""
    total = sum(part.count for part in self.ranges)
    read = 0
    for part in self.ranges:
      name = part.path.removeprefix(self.folder)
      for row, item in enumerate(_read_range(part, name, self.options), part.first):
        read += 1
        place = {"file": part.path, "position": row, "done": read / total}
        if isinstance(item, RecordError):
          yield Bad(**place, sample_id=item.sample_id, reason=str(item))
        else:
          yield Good(**place, record=item)


def open_files(paths: list[str], options: SourceOptions) -> list[ParquetShard]:
  """Cuts files into shards, from their footers alone.

  A file that cannot be opened counts as one record, a bad one.

  Raises:
    ValueError: no rows, or fewer than `options.shards`.
  """
  files = []
  for path in paths:
    try:
      with storage.open_read(path) as file:
        files.append((path, open_parquet(file, storage.size_of(path)).metadata.num_rows))
    except BrokenFileError:
      files.append((path, 1))
  folder = shared_folder(paths)
  shards = [
    ParquetShard(ranges=tuple(part), folder=folder, options=options)
    for part in cut_rows(files, options)
  ]
  if not shards:
    raise ValueError(f"{paths[0]}: no rows in it and in {len(paths) - 1} other parquet files")
  return shards


def _read_range(
  part: RowRange, name: str, options: SourceOptions
) -> Iterator[Record | RecordError]:
  with storage.open_read(part.path) as file:
    try:
      parquet = open_parquet(file, storage.size_of(part.path))
      names, audio = _choose_columns(parquet.schema_arrow, options)
    except (BrokenFileError, RecordError) as error:
      for _ in range(part.count):
        yield RecordError(str(error))
      return
    others = (name for field, name in names.items() if field != "id")
    leaves = list(dict.fromkeys((*audio.leaves, *others, *_id_leaves(names.get("id")))))
    rows = read_rows(parquet, file, leaves, part.first, part.count)
    for row, values in enumerate(rows, part.first):
      if isinstance(values, str):
        yield RecordError(values)
        continue
      try:
        default_id = (audio.path and values[audio.path]) or f"{name}:{row}"
        yield _read_record(values, names, audio, part.path, default_id, options)
      except RecordError as error:
        yield error


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Audio:
  """How a file holds its audio.

  Attributes:
    leaves: the columns, in the order of the reader's arguments.
    read: takes a value of each, and where named files are; gives [T] samples at 16 kHz.
    path: the column with the name of the sound file, if there is one.
  """

  leaves: tuple[str, ...]
  read: Callable[..., np.ndarray]
  path: str | None = None


def _read_record(
  values: dict[str, Any],
  names: dict[str, str],
  audio: _Audio,
  path: str,
  default_id: str,
  options: SourceOptions,
) -> Record:
  if "id" in names:
    values[names["id"]] = _join_id([values[leaf] for leaf in _id_leaves(names["id"])])
  fields = read_fields(values, names, default_id, options)
  try:
    where = _Where(folder=os.path.dirname(path), allow_urls=options.allow_urls)
    samples = audio.read(*(values[leaf] for leaf in audio.leaves), where)
  except AudioError as error:
    raise RecordError(str(error), fields.sample_id) from error
  return fields.with_audio(samples)


def _choose_columns(schema: pa.Schema, options: SourceOptions) -> tuple[dict[str, str], _Audio]:
  """Finds the columns of a file.

  Returns:
    The names of those with text, by field; and the audio.

  Raises:
    RecordError: one that is needed is not there, or of a type that cannot be used.
  """
  texts = {field.name for field in schema if _is_text(field.type)}
  numbers = {field.name for field in schema if pa.types.is_integer(field.type)}
  sounds = {field.name for field in schema if _audio_of(field)}
  names = choose_names(texts, options)
  # Ids and speakers may be numbers, while a number in place of a language is a class label.
  asked_id = {options.id_key} if _can_be_id(schema, options.id_key) else set()
  labels = choose_names(texts | numbers | asked_id, options)
  names |= {field: labels[field] for field in ("id", "speaker") if field in labels}
  names.pop("audio", None)
  found = choose_names(sounds, options)
  asked = {"audio": options.audio_key, "text": options.text_key, "id": options.id_key}
  for field in ("audio", "text", *(["id"] if options.id_key else [])):
    if field not in (found if field == "audio" else names):
      wanted = asked[field] or " or ".join(USUAL_NAMES[field])
      raise RecordError(
        f"no column for the {field} ({wanted}) of a type that can be used; "
        f"the columns are {', '.join(f'{each.name}: {each.type}' for each in schema)[:500]}; "
        f"name it with --{field}-key"
      )
  audio = _audio_of(schema.field(found["audio"]))
  assert audio
  return names, audio


def _id_leaves(name: str | None) -> list[str]:
  return name.split(",") if name else []


def _can_be_id(schema: pa.Schema, name: str | None) -> bool:
  """Whether an id can be made of what is named, "a" or "a.b,c"."""
  types = {field.name: field.type for field in schema}
  types |= {
    f"{field.name}.{member.name}": member.type
    for field in schema
    if pa.types.is_struct(field.type)
    for member in field.type
  }
  kinds = [types.get(leaf) for leaf in _id_leaves(name)]
  return bool(kinds) and all(
    kind and (_is_text(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind))
    for kind in kinds
  )


def _join_id(parts: list[Any]) -> Any:
  """One part as it is, several with hyphens between them; None where one is missing."""
  if len(parts) == 1 and not isinstance(parts[0], float):
    return parts[0]
  if any(part is None for part in parts):
    return None
  return "-".join(_as_text(part) for part in parts)


def _as_text(part: Any) -> str:
  if not isinstance(part, float):
    return str(part)
  short = np.float32(part)  # 59.98 of a float32 column, instead of 59.97999954223633
  return np.format_float_positional(short if short == part else np.float64(part), trim="-")


def _audio_of(field: pa.Field) -> _Audio | None:
  """How a column holds audio; None for one that does not."""
  name, kind = field.name, field.type
  if _is_binary(kind):
    return _Audio(leaves=(name,), read=_decode_bytes)
  if _is_text(kind):
    return _Audio(leaves=(name,), read=_load, path=name)
  if not pa.types.is_struct(kind):
    return None
  members = {member.name: member.type for member in kind}
  path = f"{name}.path" if _is_text(members.get("path", pa.null())) else None
  if _is_binary(members.get("bytes", pa.null())):
    if path:
      return _Audio(leaves=(f"{name}.bytes", path), read=_decode_or_load, path=path)
    return _Audio(leaves=(f"{name}.bytes",), read=_decode_bytes)
  if path:
    return _Audio(leaves=(path,), read=_load, path=path)
  if {"array", "sampling_rate"} <= members.keys():
    leaves = (f"{name}.array", f"{name}.sampling_rate")
    return _Audio(leaves=leaves, read=_convert)
  return None


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Where:
  """Where named files are looked for: see `open_named`."""

  folder: str
  allow_urls: bool


def _decode_or_load(data: bytes | None, path: str | None, where: _Where) -> np.ndarray:
  return _decode_bytes(data, where) if data is not None else _load(path, where)


def _decode_bytes(data: bytes | None, where: _Where) -> np.ndarray:
  del where
  if data is None:
    raise AudioError("audio is missing")
  return decode_audio(data)


def _load(path: str | None, where: _Where) -> np.ndarray:
  if not path:
    raise AudioError("audio is missing: it has neither bytes nor a path")
  return load_named(path, where.folder, allow_urls=where.allow_urls)


def _convert(samples: np.ndarray | None, rate: int | None, where: _Where) -> np.ndarray:
  del where
  if samples is None or not isinstance(rate, int):
    raise AudioError("audio is missing: it has no array, or no sampling_rate")
  return convert_samples(samples, rate)


def _is_text(kind: pa.DataType) -> bool:
  if pa.types.is_dictionary(kind):
    kind = kind.value_type
  return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _is_binary(kind: pa.DataType) -> bool:
  return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
