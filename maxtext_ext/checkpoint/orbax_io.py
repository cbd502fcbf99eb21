"""Parameters in the layout of MaxText's checkpoints, read and written in pieces.

Orbax writes and reads whole arrays, and stacked layers are large ones; here TensorStore writes the
same layout slice by slice: zarr3 arrays in one OCDBT store, `_METADATA` beside it. `ocp.load`, and
with it MaxText and `bridge.load_params`, read the result as their own. Orbax's own `save` of arrays
staged in memory-mapped files was tried instead: it needs memory and temporary disk of the model's
size, and twice the time.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
import pydantic
import tensorstore as ts
from etils import epath

from maxtext_ext.checkpoint.integrity import (
  COMMITTED,
  STEP_METADATA,
  TREE_METADATA,
  write_checksums,
)
from maxtext_ext.checkpoint.training import STATE
from maxtext_ext.files import foreign_json

# The weights' place in the tree of a checkpoint, as MaxText has it.
PREFIX = ("params", "params")
BATCH_BYTES = 32 * 2**20  # written together: memory against number of files
_HANDLER = "orbax.checkpoint.experimental.v1._src.handlers.pytree_handler.PyTreeHandler"
_DICT_KEY = 2  # orbax: this level of the tree is a dict
# Every commit rewrites nodes of the store's index, so they are smaller than Orbax's 100 MB.
_STORE_CONFIG = {
  "compression": {"id": "zstd"},
  "max_inline_value_bytes": 1024,
  "max_decoded_node_bytes": 2**18,
}

Index = tuple[int | slice, ...]


@dataclass(frozen=True, kw_only=True)
class ArraySpec:
  """An array to be written; every write is to whole chunks."""

  shape: tuple[int, ...]
  chunks: tuple[int, ...]
  dtype: np.dtype


def _kvstore(items: str) -> dict[str, Any]:
  base = items if "://" in items else f"file://{items}"
  return {"driver": "ocdbt", "base": f"{base.rstrip('/')}/"}


def _name(path: str) -> str:
  return ".".join((*PREFIX, *path.split("/")))


class ParamsWriter:
  """Writer of the parameters of step 0 of a checkpoint; `finish` completes it.

  Args:
    folder: of the checkpoint, absolute or a URL; the arrays go to `{folder}/0/items`.
    arrays: every parameter, by path with "/".
  """

  def __init__(self, folder: str, arrays: Mapping[str, ArraySpec]) -> None:
    self._step = epath.Path(folder) / "0"
    self._items = self._step / STATE
    self._items.mkdir(parents=True, exist_ok=True)
    self._arrays = arrays
    self._began = time.time_ns()
    self._context = ts.Context({"cache_pool": {"total_bytes_limit": 0}})
    # All at once, so that they are one commit of the store and not one each.
    opening = {path: self._create(path, array) for path, array in arrays.items()}
    self._stores = {path: future.result() for path, future in opening.items()}
    self._transaction = ts.Transaction()
    self._pending = 0
    self._committing: ts.Future | None = None

  def write(self, path: str, index: Index, value: np.ndarray) -> None:
    """Writes whole chunks of an array. `value` is copied."""
    store = self._stores[path].with_transaction(self._transaction)
    store[index].write(value).result()
    self._pending += value.nbytes
    if self._pending >= BATCH_BYTES:
      self._commit()

  def _commit(self) -> None:
    """Starts to write what is pending; at most one batch is written in the background."""
    self._wait()
    self._committing = self._transaction.commit_async()
    self._transaction = ts.Transaction()
    self._pending = 0

  def _wait(self) -> None:
    if self._committing is not None:
      self._committing.result()
      self._committing = None

  def _create(self, path: str, array: ArraySpec) -> ts.Future:
    spec = {
      "driver": "zarr3",
      "kvstore": {**_kvstore(str(self._items)), "path": f"{_name(path)}/", "config": _STORE_CONFIG},
      "metadata": {
        "shape": array.shape,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": array.chunks}},
        "data_type": array.dtype.name,
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
      },
      "store_data_equal_to_fill_value": True,
    }
    return ts.open(spec, create=True, context=self._context)

  def finish(self) -> None:
    """Writes the rest, and then the metadata that marks the checkpoint complete."""
    self._commit()
    self._wait()
    tree = {}
    for path, array in self._arrays.items():
      keys = (*PREFIX, *path.split("/"))
      tree[str(keys)] = {
        "key_metadata": [{"key": key, "key_type": _DICT_KEY} for key in keys],
        "value_metadata": {
          "value_type": "np.ndarray",  # whoever names no devices gets these
          "skip_deserialize": False,
          "write_shape": list(array.shape),
        },
      }
    metadata = {
      "tree_metadata": tree,
      "use_ocdbt": True,
      "use_zarr3": True,
      "store_array_data_equal_to_fill_value": True,
      "custom_metadata": None,
    }
    (self._items / TREE_METADATA).write_text(json.dumps(metadata))
    step = {
      "item_handlers": {STATE: _HANDLER},
      "metrics": {},
      "performance_metrics": {},
      "init_timestamp_nsecs": self._began,
      "commit_timestamp_nsecs": time.time_ns(),
      "custom_metadata": {},
    }
    (self._step / STEP_METADATA).write_text(json.dumps(step))
    for folder in (self._items, self._step):
      (folder / COMMITTED).write_text(f"Checkpoint commit was successful to {self._step}")
    write_checksums(str(self._step))


class StoredArray:
  """Parameter on disk, of which slices are read on demand."""

  def __init__(self, store: ts.TensorStore) -> None:
    self._store = store
    self._whole: np.ndarray | None = None
    self.shape: tuple[int, ...] = store.shape
    self.dtype = np.dtype(jnp.dtype(store.dtype.name))

  def read(self, index: Index) -> np.ndarray:
    """Some of the array.

    With chunks larger than that, as in Orbax's own checkpoints, the array is read once and cached,
    since each read decodes a full chunk.
    """
    chunks: tuple[int, ...] = self._store.chunk_layout.read_chunk_template.shape
    extents = (
      1 if isinstance(i, int) else len(range(*i.indices(size)))
      for i, size in zip(index, self.shape, strict=True)
    )
    if any(chunk > extent for chunk, extent in zip(chunks, extents, strict=True)):
      if self._whole is None:
        self._whole = np.asarray(self._store.read().result())
      return self._whole[index]
    return np.asarray(self._store[index].read().result())


class _Part(pydantic.BaseModel):
  key: str | int


class _Leaf(pydantic.BaseModel):
  key_metadata: list[_Part]


class _TreeMetadata(pydantic.BaseModel):
  """Part of Orbax's `_METADATA` that is read; it holds more."""

  use_zarr3: bool
  use_ocdbt: bool
  tree_metadata: dict[str, _Leaf]


class ParamsReader:
  """The parameters of a checkpoint that training or conversion wrote.

  Args:
    items: the folder that holds its `_METADATA`, absolute or a URL.

  Raises:
    ValueError: there is none, or it is incomplete.
  """

  def __init__(self, items: str) -> None:
    metadata = epath.Path(items) / TREE_METADATA
    if not metadata.exists():
      raise ValueError(f"{items}: no checkpoint, or an incomplete one: no {TREE_METADATA} there")
    content = foreign_json.read_object(metadata, foreign_json.HEADER)
    tree = foreign_json.check(_TreeMetadata, content, str(metadata))
    self._driver = "zarr3" if tree.use_zarr3 else "zarr"
    if not tree.use_ocdbt:
      raise ValueError(f"{items}: saved without OCDBT, which is not read; save it with it")
    self._items = items
    self._context = ts.Context({"cache_pool": {"total_bytes_limit": 0}})
    keys = [
      tuple(str(part.key) for part in entry.key_metadata) for entry in tree.tree_metadata.values()
    ]
    names = ["/".join(key[len(PREFIX) :]) for key in keys if key[: len(PREFIX)] == PREFIX]
    self.shapes = {name: self.open(name).shape for name in sorted(names)}

  def open(self, path: str) -> StoredArray:
    """A parameter, by path with "/"."""
    kvstore = {**_kvstore(self._items), "path": f"{_name(path)}/"}
    spec = {"driver": self._driver, "kvstore": kvstore}
    return StoredArray(ts.open(spec, read=True, context=self._context).result())
