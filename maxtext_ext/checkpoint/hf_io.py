"""Tensors of Hugging Face checkpoints, read and written in pieces: safetensors, single or sharded.

The `safetensors` package maps whole files or writes whole models, so resident memory grows with the
checkpoint; here only the requested pieces are in memory.
"""

import io
import json
import math
import pathlib
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from etils import epath

from maxtext_ext.checkpoint.safetensors_header import DTYPES, TensorInfo, read_header
from maxtext_ext.files import foreign_folder, foreign_json
from maxtext_ext.files.foreign_json import shown

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
MAX_SHARD_BYTES = 5 * 10**9  # as transformers'
_DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}
# Bits of the exponent, all of which are set in a number that is infinite or none.
_EXPONENTS = {"float32": 0x7F800000, "float16": 0x7C00, "bfloat16": 0x7F80}
_LISTED = 5  # tensors that an error names


class _Index(foreign_json.Schema):
  metadata: dict[str, Any] | None = None
  weight_map: dict[str, str]


class NonfiniteError(ValueError):
  """Weights that are NaN or infinite, counted by tensor."""

  def __init__(self, source: str, counts: Mapping[str, int]) -> None:
    worst = sorted(counts.items(), key=lambda item: -item[1])
    listed = ", ".join(f"{count} in {shown(name)}" for name, count in worst[:_LISTED])
    rest = f", and {len(worst) - _LISTED} more tensors" if len(worst) > _LISTED else ""
    super().__init__(
      f"{source}: {sum(counts.values())} weights are NaN or infinite ({listed}{rest}); take another"
      " checkpoint, or convert it as it is with --allow-nonfinite"
    )


def count_nonfinite(values: np.ndarray) -> int:
  """Counts the NaN or infinite entries of a float array; by their bits, which is fastest."""
  mask = _EXPONENTS[values.dtype.name]
  bits = values.view(f"u{values.dtype.itemsize}")
  return int(np.count_nonzero((bits & mask) == mask))


class HfReader:
  """The tensors of a checkpoint's folder; a context manager.

  Args:
    folder: local or a URL.
    files: names of its safetensors files; default: those of a transformers model.

  Raises:
    ValueError: no checkpoint there, or a file that is cut short or is no safetensors file.
  """

  def __init__(self, folder: str, files: Sequence[str] | None = None) -> None:
    self._folder = epath.Path(folder)
    self._files: dict[str, io.BufferedIOBase] = {}
    self.tensors: dict[str, TensorInfo] = {}
    self.metadata: dict[str, str] | None = None
    expected = _list_files(folder) if files is None else dict.fromkeys(files, frozenset())
    for file, names in expected.items():
      path = foreign_folder.find(folder, file)
      if path is None:
        raise ValueError(f"{self._folder / file} is not there")
      header = read_header(path)
      if missing := sorted(names - header.tensors.keys()):
        raise ValueError(f"{path} lacks {shown(missing[0])}, which {INDEX} says is there")
      for name, info in header.tensors.items():
        if name in self.tensors:
          raise ValueError(f"{folder}: {shown(name)} is in {self.tensors[name].file} and in {file}")
        self.tensors[name] = info
      self.metadata = header.metadata

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


def _list_files(folder: str) -> dict[str, frozenset[str]]:
  """The files of a checkpoint, each with the tensors that an index says it holds.

  A single file goes before an index, as in transformers' `_get_resolved_checkpoint_files`.
  """
  if foreign_folder.find(folder, SINGLE) is not None:
    return {SINGLE: frozenset()}
  if (path := foreign_folder.find(folder, INDEX)) is None:
    raise ValueError(f"{folder}: no {SINGLE} and no {INDEX}; expected a checkpoint in safetensors")
  index = foreign_json.check(_Index, foreign_json.read(path), str(path))
  names: dict[str, set[str]] = {}
  for name, file in index.weight_map.items():
    names.setdefault(file, set()).add(name)
  missing = [file for file in sorted(names) if foreign_folder.find(folder, file) is None]
  if missing:
    listed = ", ".join(map(shown, missing[:3]))
    raise ValueError(f"{path} names {listed}, of {len(missing)} files that are not there")
  if not names:
    raise ValueError(f"{path}: weight_map is empty")
  return {file: frozenset(names[file]) for file in sorted(names)}


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
    self._streams: dict[str, io.BufferedIOBase] = {}
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
