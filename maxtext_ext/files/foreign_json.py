"""Downloaded JSON: read within limits, and checked against a schema with one-line errors.

A few megabytes of brackets can fill gigabytes of objects, or nest deeper than a parser can follow.
So brackets and commas are counted before parsing.
"""

import json
import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import pydantic
from etils import epath

from maxtext_ext.escape import printable

_SHOWN_CHARACTERS = 60  # of a value
_SHOWN_KEY = 160
_SHOWN_ERRORS = 3
_MAX_DIGITS = 300  # of one number: no float is longer, and Python refuses from 4300
_OPENING, _CLOSING, _COMMA = b"[{", b"]}", b","
_OTHERS = bytes(set(range(256)) - {*_OPENING, *_CLOSING, *_COMMA})


@dataclass(frozen=True, kw_only=True)
class Limits:
  """Limits of the JSON that is read.

  Attributes:
    nbytes: of the file.
    depth: of lists and objects inside each other.
    values: numbers, strings, lists and so on in all.
  """

  nbytes: int
  depth: int = 32
  values: int = 1_000_000


CONFIG = Limits(nbytes=16 * 2**20)  # a configuration, a chat template, the index of a checkpoint
TOKENIZER = Limits(nbytes=128 * 2**20, values=8_000_000)  # the largest published ones have 35 MB
HEADER = Limits(nbytes=100 * 10**6, values=8_000_000)  # of safetensors; the package's own limit


def _off(value: bool) -> bool:
  if value:
    raise ValueError("False")
  return value


def _on(value: bool) -> bool:
  if not value:
    raise ValueError("True")
  return value


# Settings that must be off, or on; `Literal[False]` would take 0 as well.
Off = Annotated[bool, pydantic.AfterValidator(_off)]
On = Annotated[bool, pydantic.AfterValidator(_on)]


class Schema(pydantic.BaseModel):
  """A JSON object whose every key is known and whose every value has exactly its declared type."""

  model_config = pydantic.ConfigDict(
    extra="forbid", strict=True, frozen=True, allow_inf_nan=False, protected_namespaces=()
  )


class Settings(Schema):
  """Settings of a model: those of the fields count, those in NEUTRAL change nothing here.

  null stands for a key that is not there, as it does in transformers and PEFT.
  """

  NEUTRAL: ClassVar[frozenset[str]] = frozenset()

  @pydantic.model_validator(mode="before")
  @classmethod
  def _without_neutral(cls, value: Any) -> Any:
    if not isinstance(value, dict):
      return value
    return {k: v for k, v in value.items() if v is not None and k not in cls.NEUTRAL}


def read(path: epath.PathLike, limits: Limits = CONFIG) -> Any:
  """The content of a JSON file.

  Raises:
    ValueError: it is missing, no JSON, or over a limit.
  """
  return parse(read_bytes(path, limits), str(path), limits)


def read_bytes(path: epath.PathLike, limits: Limits = CONFIG) -> bytes:
  """The bytes of a file, JSON or other text.

  Raises:
    ValueError: it is missing or too large.
  """
  file = epath.Path(path)
  if not file.exists():
    raise ValueError(f"{path} is not there")
  if file.is_dir():
    raise ValueError(f"{path} is a folder, expected a file")
  if (size := file.stat().length) > limits.nbytes:
    raise ValueError(f"{path}: {size} bytes, expected at most {limits.nbytes}")
  return file.read_bytes()


def read_object(path: epath.PathLike, limits: Limits = CONFIG) -> dict[str, Any]:
  """The object in a JSON file.

  Raises:
    ValueError: as `read`, or it holds something else.
  """
  return expect_object(read(path, limits), str(path))


def parse(data: bytes, source: str, limits: Limits = CONFIG) -> Any:
  """The value of JSON text; stricter than Python: no NaN, no repeated key, no unpaired surrogate.

  Args:
    source: the file, or what else a message names.

  Raises:
    ValueError: it is no JSON or over a limit.
  """
  _check_size(data, source, limits)

  def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
      seen: set[str] = set()
      for key, _ in pairs:
        if key in seen:
          raise ValueError(f"{source}: the key {shown(key)} is there twice")
        seen.add(key)
    return found

  def number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
      raise ValueError(f"{source}: {shown(text)} is no finite number")
    return value

  def whole(text: str) -> int:
    if len(text) > _MAX_DIGITS:
      raise ValueError(f"{source}: a number of {len(text)} digits, expected {_MAX_DIGITS} at most")
    return int(text)

  try:
    text = data.decode("utf-8-sig")
    value = json.loads(
      text,
      object_pairs_hook=unique,
      parse_constant=number,
      parse_float=number,
      parse_int=whole,
    )
    if rb"\ud" in data.lower():
      json.dumps(value, ensure_ascii=False).encode()
  except json.JSONDecodeError as error:
    place = f"line {error.lineno}, column {error.colno}"
    raise ValueError(f"{source} is not JSON: {error.msg} at {place}") from error
  except (UnicodeDecodeError, UnicodeEncodeError) as error:
    raise ValueError(f"{source} is not JSON: its text is not UTF-8 ({error.reason})") from error
  return value


def expect_object(value: Any, source: str) -> dict[str, Any]:
  """`value`, if it is a JSON object.

  Raises:
    ValueError: it is something else.
  """
  if isinstance(value, dict):
    return value
  raise ValueError(f"{source}: got {_kind(value)}, expected an object with keys")


def check(schema: Any, value: Any, source: str, at: str = "") -> Any:
  """The value as `schema` (a `Schema`, or any type that pydantic knows) has it.

  Args:
    source: the file that a message names.
    at: the key that `value` stands at, where it is not the whole file.

  Raises:
    ValueError: a key is unknown or missing, or a value is none of those allowed.
  """
  try:
    return pydantic.TypeAdapter(schema, config=_config(schema)).validate_python(value)
  except pydantic.ValidationError as error:
    errors = error.errors(include_url=False)
    said = dict.fromkeys(_describe(one, at) for one in errors[:_SHOWN_ERRORS])
    more = len(errors) - min(len(errors), _SHOWN_ERRORS)
    rest = f"; and {more} more" if more else ""
    raise ValueError(f"{source}: {'; '.join(said)}{rest}") from error


def shown(value: Any) -> str:
  """A foreign value in a message: short, and without control characters."""
  return _shorten(repr(value), _SHOWN_CHARACTERS)


def _shorten(text: str, limit: int) -> str:
  return printable(text if len(text) <= limit else f"{text[: limit - 3]}...")


def _config(schema: Any) -> pydantic.ConfigDict | None:
  if isinstance(schema, type) and issubclass(schema, pydantic.BaseModel):
    return None
  return pydantic.ConfigDict(strict=True, allow_inf_nan=False)


def _describe(error: Any, at: str) -> str:
  parts = [str(part) for part in error["loc"]]
  key = _shorten(".".join([at, *parts] if at else parts), _SHOWN_KEY)
  prefix = f"{key}: " if key else ""
  if error["type"] == "extra_forbidden":
    return f"{prefix}got {shown(error['input'])}, and this key is not known to be harmless"
  if error["type"] == "missing":
    return f"{prefix}missing"
  said = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
  if error["type"] == "value_error" and isinstance(error["input"], dict):
    return f"{prefix}expected {said}"  # the message says what of the object is wrong
  return f"{prefix}got {shown(error['input'])}, expected {said}"


def _kind(value: Any) -> str:
  kinds = {list: "a list", str: "a string", bool: "a truth value", type(None): "null"}
  return kinds.get(type(value), "a number")


def _check_size(data: bytes, source: str, limits: Limits) -> None:
  if len(data) > limits.nbytes:
    raise ValueError(f"{source}: {len(data)} bytes, expected at most {limits.nbytes}")
  if data.count(b'"') > 4 * limits.values:
    raise ValueError(f"{source}: over {limits.values} values, expected fewer")
  outside = data.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')[::2]
  marks = np.frombuffer(b"".join(outside).translate(None, _OTHERS), np.uint8)
  if marks.size > 3 * limits.values:
    raise ValueError(f"{source}: over {limits.values} values, expected fewer")
  steps = np.isin(marks, [*_OPENING]).astype(np.int32) - np.isin(marks, [*_CLOSING])
  depth = int(np.cumsum(steps, dtype=np.int64).max(initial=0))
  if depth > limits.depth:
    raise ValueError(
      f"{source}: {depth} lists or objects inside each other, expected at most {limits.depth}"
    )
  if (values := int(np.count_nonzero(steps >= 0)) + 1) > limits.values:
    raise ValueError(f"{source}: {values} values, expected at most {limits.values}")
