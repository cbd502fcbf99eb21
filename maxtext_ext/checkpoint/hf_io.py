"""Tensors of Hugging Face checkpoints, read and written in pieces: safetensors, single or sharded.

The `safetensors` package maps whole files or writes whole models, so the memory that a process
shows grows with the checkpoint; here it holds what was asked for.
"""

import json
import math
import pathlib
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np
from etils import epath

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
MAX_SHARD_BYTES = 5 * 10**9  # as transformers'
_MAX_HEADER_BYTES = 100 * 10**6  # as the safetensors package's

# Names of element types in a file's header; those that no weight of ours has are only passed over.
DTYPES = {
  "F32": np.dtype(np.float32),
  "F16": np.dtype(np.float16),
  "BF16": np.dtype(ml_dtypes.bfloat16),
}
_DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True, kw_only=True)
class TensorInfo:
  """Where a tensor lies.

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


class HfReader:
  """The tensors of a checkpoint's folder; a context manager.

  Raises:
    ValueError: no checkpoint there, or a file that is cut short or is no safetensors file.
  """

  def __init__(self, folder: str) -> None:
    self._folder = epath.Path(folder)
    self._files: dict[str, BinaryIO] = {}
    self.tensors: dict[str, TensorInfo] = {}
    for file in _list_files(self._folder):
      for name, info in _read_header(self._folder / file, file).items():
        if name in self.tensors:
          raise ValueError(f"{folder}: {name} is in {self.tensors[name].file} and in {file}")
        self.tensors[name] = info

  def __enter__(self) -> "HfReader":
    return self

  def __exit__(self, *_: object) -> None:
    for file in self._files.values():
      file.close()

  @property
  def nbytes(self) -> int:
    """Bytes of all tensors."""
    return sum(info.nbytes for info in self.tensors.values())

  def read(self, name: str, rows: slice = slice(None)) -> np.ndarray:
    """A tensor, or some entries of its first axis."""
    info = self.tensors[name]
    dtype = info.numpy_dtype
    first, last, _ = rows.indices(info.shape[0])
    out = np.empty((last - first, *info.shape[1:]), dtype)
    if info.file not in self._files:
      self._files[info.file] = (self._folder / info.file).open("rb")
    file = self._files[info.file]
    file.seek(info.start + first * info.row_bytes)
    if file.readinto(out.reshape(-1).view(np.uint8)) != out.nbytes:
      raise ValueError(f"{self._folder / info.file} got shorter while it was read")
    return out


def _list_files(folder: epath.Path) -> list[str]:
  if (folder / INDEX).exists():
    files = sorted(set(json.loads((folder / INDEX).read_text())["weight_map"].values()))
    missing = [file for file in files if not (folder / file).exists()]
    if missing:
      raise ValueError(f"{folder}: {INDEX} names {', '.join(missing)}, which are not there")
    return files
  if (folder / SINGLE).exists():
    return [SINGLE]
  raise ValueError(f"{folder}: no {SINGLE} and no {INDEX}; expected a checkpoint in safetensors")


def _read_header(path: epath.Path, file: str) -> dict[str, TensorInfo]:
  size = path.stat().length
  with path.open("rb") as stream:
    prefix = stream.read(8)
    length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else size
    if length > min(size - 8, _MAX_HEADER_BYTES):
      raise ValueError(f"{path} is cut short or no safetensors file: {size} bytes")
    try:
      header = json.loads(stream.read(length))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
      raise ValueError(f"{path} is no safetensors file: its header is not JSON") from error
  header.pop("__metadata__", None)
  tensors, end = {}, 0
  for name, entry in header.items():
    first, last = entry["data_offsets"]
    shape, dtype = tuple(entry["shape"]), entry["dtype"]
    if dtype in DTYPES and math.prod(shape) * DTYPES[dtype].itemsize != last - first:
      raise ValueError(f"{path}: {name} has {last - first} bytes, which do not make {shape}")
    tensors[name] = TensorInfo(
      file=file, start=8 + length + first, nbytes=last - first, dtype=dtype, shape=shape
    )
    end = max(end, last)
  if size < (expected := 8 + length + end):
    raise ValueError(f"{path} is cut short: got {size} bytes, expected {expected}")
  return tensors


class HfWriter:
  """Writes a checkpoint into a local folder; tensors and their rows come in any order.

  Args:
    folder: exists already.
    tensors: element type and shape of every tensor by name.
    max_shard_bytes: a checkpoint that is larger gets several files and an index.
  """

  def __init__(
    self,
    folder: str,
    tensors: Mapping[str, tuple[np.dtype, Sequence[int]]],
    *,
    max_shard_bytes: int = MAX_SHARD_BYTES,
  ) -> None:
    self._folder = pathlib.Path(folder)
    self._streams: dict[str, BinaryIO] = {}
    self.tensors: dict[str, TensorInfo] = {}
    sizes = {name: math.prod(shape) * dtype.itemsize for name, (dtype, shape) in tensors.items()}
    shards: list[list[str]] = [[]]
    filled = 0
    for name, size in sizes.items():
      if shards[-1] and filled + size > max_shard_bytes:
        shards.append([])
        filled = 0
      shards[-1].append(name)
      filled += size
    for i, names in enumerate(shards, 1):
      file = SINGLE if len(shards) == 1 else f"model-{i:05d}-of-{len(shards):05d}.safetensors"
      self._begin(file, {name: tensors[name] for name in names})
    if len(shards) > 1:
      self._write_index(sum(sizes.values()))

  def _begin(self, file: str, tensors: Mapping[str, tuple[np.dtype, Sequence[int]]]) -> None:
    """Writes the header of a file and makes room for its tensors."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape) in tensors.items():
      first, end = end, end + math.prod(shape) * dtype.itemsize
      kind = _DTYPE_NAMES[dtype]
      header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [first, end]}
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    stream = (self._folder / file).open("w+b")
    stream.write(struct.pack("<Q", len(encoded)) + encoded)
    start = 8 + len(encoded)
    stream.truncate(start + end)
    self._streams[file] = stream
    for name, (_, shape) in tensors.items():
      first, last = header[name]["data_offsets"]
      self.tensors[name] = TensorInfo(
        file=file,
        start=start + first,
        nbytes=last - first,
        dtype=header[name]["dtype"],
        shape=tuple(shape),
      )

  def _write_index(self, total: int) -> None:
    index = {
      "metadata": {"total_size": total},
      "weight_map": {name: info.file for name, info in sorted(self.tensors.items())},
    }
    (self._folder / INDEX).write_text(json.dumps(index, indent=2) + "\n")

  @contextmanager
  def rows(
    self, name: str, rows: slice = slice(None), *, keep: bool = False
  ) -> Iterator[np.ndarray]:
    """An array to fill in with entries of the first axis; it is written at the end.

    Args:
      keep: it holds what was written before, instead of anything.
    """
    info = self.tensors[name]
    first, last, _ = rows.indices(info.shape[0])
    values = np.empty((last - first, *info.shape[1:]), info.numpy_dtype)
    flat = values.reshape(-1).view(np.uint8)
    stream = self._streams[info.file]
    start = info.start + first * info.row_bytes
    if keep:
      stream.seek(start)
      stream.readinto(flat)
    yield values
    stream.seek(start)
    stream.write(flat)

  def __enter__(self) -> "HfWriter":
    return self

  def __exit__(self, *_: object) -> None:
    for stream in self._streams.values():
      stream.close()
