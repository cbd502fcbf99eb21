"""Table columns with audio, text and ids, for parquet and Arrow.

Audio is a struct {bytes, path, array, sampling_rate} whose members may be missing or null, the
bytes of a sound file, a path, a list of one of these, or samples with a column for their rate.
Other columns are found by their usual names, see `fields`. An id may be joined from several columns
and struct members: "metadata.entry_id,metadata.seek".
"""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from maxtext_ext.audio.limits import AudioError
from maxtext_ext.records.schema import Record, RecordError
from maxtext_ext.sources.clip import clip_of
from maxtext_ext.sources.fields import (
  USUAL_NAMES,
  choose_names,
  read_fields,
  read_id,
)
from maxtext_ext.sources.options import SourceOptions

_MEMBERS = ("bytes", "path", "array", "sampling_rate", "sample_rate")  # of a struct with audio
_RATES = ("sampling_rate", "sample_rate")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Columns:
  """Columns of a file that are read.

  Attributes:
    names: of those with text, by field.
    audio: the one with the sound.
    members: of it, where it is a struct; empty for all others.
    rate: the one with the rate of samples, if there is one.
  """

  names: Mapping[str, str]
  audio: str
  members: tuple[str, ...]
  rate: str | None

  @classmethod
  def choose(cls, schema: pa.Schema, options: SourceOptions) -> "Columns":
    """Finds the columns of a file.

    Raises:
      RecordError: one that is needed is not there, or of a type that cannot be used.
    """
    texts = {field.name for field in schema if _is_text(field.type)}
    numbers = {field.name for field in schema if pa.types.is_integer(field.type)}
    rate = next((name for name in _RATES if name in numbers), None)
    sounds = {field.name for field in schema if _can_be_audio(field.type, has_rate=bool(rate))}
    names = choose_names(texts, options)
    # Ids and speakers may be numbers, while a number in place of a language is a class label.
    asked_id: set[str] = set()
    if options.id_key is not None and _can_be_id(schema, options.id_key):
      asked_id = {options.id_key}
    labels = choose_names(texts | numbers | asked_id, options)
    names |= {field: labels[field] for field in ("id", "speaker") if field in labels}
    names.pop("audio", None)
    audio = choose_names(sounds, options)
    asked = {"audio": options.audio_key, "text": options.text_key, "id": options.id_key}
    for field in ("audio", "text", *(["id"] if options.id_key else [])):
      if field not in (audio if field == "audio" else names):
        remedy = f"name it with --{field}-key"
        if field == "audio" and not rate and _lists_of_samples(schema, options):
          remedy = (
            f"samples need a column of whole numbers beside them, {' or '.join(_RATES)}, in Hz"
          )
        wanted = asked[field] or " or ".join(USUAL_NAMES[field])
        raise RecordError(
          f"no column for the {field} ({wanted}) of a type that can be used; "
          f"the columns are {', '.join(f'{each.name}: {each.type}' for each in schema)[:500]}; "
          f"{remedy}"
        )
    kind = schema.field(audio["audio"]).type
    members = _members_of(kind) if pa.types.is_struct(kind) else ()
    return cls(names=names, audio=audio["audio"], members=members, rate=rate)

  @property
  def leaves(self) -> list[str]:
    """The columns to read; "a.b" is member b of the struct a."""
    audio = [f"{self.audio}.{member}" for member in self.members] or [self.audio]
    others = (name for field, name in self.names.items() if field != "id")
    rate = [self.rate] if self.rate else []
    return list(dict.fromkeys((*audio, *rate, *others, *_id_leaves(self.names.get("id")))))

  def read(
    self, values: dict[str, Any], path: str, default_id: str, options: SourceOptions
  ) -> tuple[Record, bool]:
    """Makes a record of a row; also tells whether it has an id of its own.

    Args:
      values: of each of `leaves`.
      path: of the file, from whose folder on relative paths go.
      default_id: of a row that has neither an id nor a path.
      options: defaults for values that rows lack.

    Raises:
      RecordError: it cannot be used.
    """
    audio = {member: values[f"{self.audio}.{member}"] for member in self.members}
    value = audio if self.members else values[self.audio]
    name = audio.get("path") if self.members else value
    if "id" in self.names:
      id_name = self.names["id"]
      values = values | {id_name: _join_id([values[leaf] for leaf in _id_leaves(id_name)])}
    default_id = name if isinstance(name, str) and name else default_id
    fields = read_fields(values, self.names, default_id, options)
    try:
      clip = clip_of(value, values[self.rate] if self.rate else None)
      samples = clip.load(os.path.dirname(path), allow_urls=options.allow_urls)
    except AudioError as error:
      raise RecordError(str(error), fields.sample_id) from error
    return fields.with_audio(samples), bool(read_id(values, self.names, ""))


def _lists_of_samples(schema: pa.Schema, options: SourceOptions) -> bool:
  """Returns whether a column would be the audio if the rate of its samples were known."""
  sounds = {field.name for field in schema if _can_be_audio(field.type, has_rate=True)}
  return "audio" in choose_names(sounds, options)


def row_of(columns: Mapping[str, pa.Array], index: int) -> dict[str, Any] | str:
  """Returns a row's values, lists of numbers as arrays; or the reason why it cannot be read.

  Args:
    columns: one for each leaf, see `column_of`.
    index: the row.
  """
  values = {}
  for leaf, column in columns.items():
    try:
      values[leaf] = _value(column[index])
    except UnicodeDecodeError as error:
      return f"'{leaf}' is not UTF-8 ({error.reason} at byte {error.start}); write it as UTF-8"
  return values


def column_of(batch: pa.RecordBatch, leaf: str) -> pa.Array:
  """A column, or a member of a struct: null where the struct is."""
  if leaf in batch.schema.names:
    return batch.column(leaf)
  name, _, member = leaf.partition(".")
  return pc.struct_field(batch.column(name), member)


def check_column(column: pa.Array) -> pa.Array:
  """Returns the column, if all that it points to is in it; texts may still not be UTF-8.

  Raises:
    pa.ArrowInvalid: damaged or forged data.
  """
  plain = column
  if pa.types.is_string(column.type):
    plain = column.view(pa.binary())
  elif pa.types.is_large_string(column.type):
    plain = column.view(pa.large_binary())
  plain.validate(full=True)
  return column


def _value(scalar: pa.Scalar) -> Any:
  is_list = isinstance(scalar, pa.ListScalar) and scalar.is_valid
  if is_list and not _is_of_structs(scalar.type):
    return scalar.values.to_numpy(zero_copy_only=False)
  return scalar.as_py()


def _is_of_structs(kind: pa.DataType) -> bool:
  return pa.types.is_struct(kind.value_type) or _is_binary(kind.value_type)


def _can_be_audio(kind: pa.DataType, *, has_rate: bool) -> bool:
  if _is_binary(kind) or _is_text(kind):
    return True
  if pa.types.is_struct(kind):
    members = _members_of(kind)
    return bool({"bytes", "path"} & set(members)) or (
      "array" in members and (has_rate or bool(set(_RATES) & set(members)))
    )
  if not _is_list(kind):
    return False
  if _is_of_structs(kind):
    return _can_be_audio(kind.value_type, has_rate=has_rate)
  return has_rate and _are_numbers(kind)


def _members_of(kind: pa.DataType) -> tuple[str, ...]:
  """Returns the members of a struct that describe its audio."""
  types = {member.name: member.type for member in kind}
  fits = {
    "bytes": _is_binary,
    "path": _is_text,
    "array": _is_list,
    "sampling_rate": _is_rate,
    "sample_rate": _is_rate,
  }
  return tuple(name for name in _MEMBERS if name in types and fits[name](types[name]))


def _is_rate(kind: pa.DataType) -> bool:
  return pa.types.is_integer(kind) or pa.types.is_null(kind)


def _is_list(kind: pa.DataType) -> bool:
  return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _are_numbers(kind: pa.DataType) -> bool:
  while _is_list(kind):
    kind = kind.value_type
  return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _id_leaves(name: str | None) -> list[str]:
  return name.split(",") if name else []


def _can_be_id(schema: pa.Schema, name: str | None) -> bool:
  """Returns whether an id can be made of what is named, "a" or "a.b,c"."""
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


def _is_text(kind: pa.DataType) -> bool:
  if pa.types.is_dictionary(kind):
    kind = kind.value_type
  return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _is_binary(kind: pa.DataType) -> bool:
  if pa.types.is_dictionary(kind):
    kind = kind.value_type
  return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
