"""Headers of safetensors files: where each tensor lies, once the safetensors package agrees."""

import math
import os
import struct
import tempfile
from dataclasses import dataclass
from typing import Annotated

import ml_dtypes
import numpy as np
import pydantic
from etils import epath
from safetensors import SafetensorError, safe_open

from maxtext_ext.files import foreign_json

# Names of element types in a file's header; those that no weight of ours has are only passed over.
DTYPES = {
  "F32": np.dtype(np.float32),
  "F16": np.dtype(np.float16),
  "BF16": np.dtype(ml_dtypes.bfloat16),
}
_METADATA = "__metadata__"
_PREFIX_BYTES = 8  # the header's length
_MAX_AXES = 32

_Size = Annotated[int, pydantic.Field(ge=0, lt=2**63)]


class _Entry(foreign_json.Schema):
  dtype: Annotated[str, pydantic.Field(pattern=r"^[A-Z0-9_]{1,16}$")]
  shape: Annotated[list[_Size], pydantic.Field(max_length=_MAX_AXES)]
  data_offsets: Annotated[list[_Size], pydantic.Field(min_length=2, max_length=2)]


@dataclass(frozen=True, kw_only=True)
class TensorInfo:
  """Place of a tensor.

  Attributes:
    file: name in the checkpoint's folder.
    start: its first byte in the file.
    dtype: as the header names it, such as BF16.
  """

  file: str
  start: int
  nbytes: int
  dtype: str
  shape: tuple[int, ...]

  @property
  def numpy_dtype(self) -> np.dtype:
    """The element type.

    Raises:
      ValueError: it is none that a weight can have.
    """
    if self.dtype not in DTYPES:
      raise ValueError(f"{self.file}: type {self.dtype}, expected one of {', '.join(DTYPES)}")
    return DTYPES[self.dtype]

  @property
  def row_bytes(self) -> int:
    """Bytes of one entry of the first axis."""
    return self.nbytes // self.shape[0]


@dataclass(frozen=True, kw_only=True)
class Header:
  """Content of a file: tensors by name, and the text that was saved beside them."""

  tensors: dict[str, TensorInfo]
  metadata: dict[str, str] | None


def read_header(path: epath.Path) -> Header:
  """The header of a file; nothing else of it is read.

  Raises:
    ValueError: it is no safetensors file, cut short, or its tensors do not fill it exactly.
  """
  size = path.stat().length
  with path.open("rb") as stream:
    prefix = stream.read(_PREFIX_BYTES)
    length = struct.unpack("<Q", prefix)[0] if len(prefix) == _PREFIX_BYTES else size
    if length > min(size - _PREFIX_BYTES, foreign_json.HEADER.nbytes):
      raise ValueError(f"{path} is cut short or no safetensors file: {size} bytes")
    text = stream.read(length)
  source = f"{path}, header"
  content = foreign_json.expect_object(
    foreign_json.parse(text, source, foreign_json.HEADER), source
  )
  metadata = content.pop(_METADATA, None)
  foreign_json.check(dict[str, str] | None, metadata, source, _METADATA)
  entries = foreign_json.check(dict[str, _Entry], content, source)
  data = _PREFIX_BYTES + length
  end = max((entry.data_offsets[1] for entry in entries.values()), default=0)
  if size < (expected := data + end):
    raise ValueError(f"{path} is cut short: got {size} bytes, expected {expected}")
  tensors = {}
  for name, entry in entries.items():
    first, last = entry.data_offsets
    nbytes = last - first
    if entry.dtype in DTYPES and math.prod(entry.shape) * DTYPES[entry.dtype].itemsize != nbytes:
      raise ValueError(
        f"{source}: {foreign_json.shown(name)} has {nbytes} bytes, which do not make"
        f" {entry.dtype} {entry.shape}"
      )
    tensors[name] = TensorInfo(
      file=path.name,
      start=data + first,
      nbytes=nbytes,
      dtype=entry.dtype,
      shape=tuple(entry.shape),
    )
  _check_by_package(path, prefix + text, size)
  return Header(tensors=tensors, metadata=metadata)


def _check_by_package(path: epath.Path, header: bytes, size: int) -> None:
  """Has the safetensors package check the header: overlaps, holes, sizes of all types.

  It opens local files only, so for a URL it is given one with the same header and no data.
  """
  if "://" not in os.fspath(path):
    return _open(path, os.fspath(path))
  with tempfile.NamedTemporaryFile() as copy:
    copy.write(header)
    copy.truncate(size)
    copy.flush()
    return _open(path, copy.name)


def _open(path: epath.Path, local: str) -> None:
  try:
    with safe_open(local, framework="numpy"):
      pass
  except SafetensorError as error:
    raise ValueError(f"{path}, header: {error}") from error
