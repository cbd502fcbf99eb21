"""Arrays written slice by slice are what Orbax reads, and what Orbax writes is read by slices."""

import json

import jax
import ml_dtypes
import numpy as np
import pytest
from orbax.checkpoint import v1 as ocp

from maxtext_ext.checkpoint.orbax_io import ArraySpec, ParamsReader, ParamsWriter

rng = np.random.default_rng(0)
PARAMS = {
  "decoder/layers/kernel": rng.normal(size=(4, 3, 5)).astype(ml_dtypes.bfloat16),
  "decoder/norm": rng.normal(size=6).astype(np.float32),
  "embedder/table": rng.normal(size=(11, 2)).astype(np.float32),
}
CHUNKS = {"decoder/layers/kernel": (4, 1, 5), "decoder/norm": (6,), "embedder/table": (4, 2)}


def nested(params):
  tree = {}
  for path, value in params.items():
    *parents, leaf = path.split("/")
    inner = tree
    for part in parents:
      inner = inner.setdefault(part, {})
    inner[leaf] = value
  return {"params": {"params": tree}}


def write(folder):
  specs = {
    path: ArraySpec(shape=value.shape, chunks=CHUNKS[path], dtype=value.dtype)
    for path, value in PARAMS.items()
  }
  writer = ParamsWriter(str(folder), specs)
  for layer in (2, 0, 1):
    slot = (slice(None), layer, slice(None))
    writer.write("decoder/layers/kernel", slot, PARAMS["decoder/layers/kernel"][slot])
  writer.write("decoder/norm", (slice(None),), PARAMS["decoder/norm"])
  for first in (8, 4, 0):
    rows = (slice(first, min(first + 4, 11)), slice(None))
    writer.write("embedder/table", rows, PARAMS["embedder/table"][rows])
  return writer


def test_orbax_reads_what_was_written_by_slices(tmp_path):
  write(tmp_path).finish()
  found = ocp.load(tmp_path / "0", checkpointable_name="items")
  jax.tree.map(np.testing.assert_array_equal, found, nested(PARAMS))
  assert found["params"]["params"]["decoder"]["layers"]["kernel"].dtype == ml_dtypes.bfloat16


def test_an_array_can_change_right_after_it_was_given(tmp_path):
  specs = {"x": ArraySpec(shape=(3, 8), chunks=(1, 8), dtype=np.dtype(np.float32))}
  writer, buffer = ParamsWriter(str(tmp_path), specs), np.empty(8, np.float32)
  for row in range(3):
    buffer[:] = row
    writer.write("x", (row, slice(None)), buffer)
  buffer[:] = -1
  writer.finish()
  found = ParamsReader(str(tmp_path / "0" / "items")).open("x").read((slice(None), slice(None)))
  np.testing.assert_array_equal(found, np.arange(3)[:, None] * np.ones(8))


@pytest.mark.parametrize("zarr3", [True, False], ids=["zarr3", "zarr"])
def test_slices_of_what_orbax_wrote(tmp_path, zarr3):
  context = ocp.Context()
  context.array.saving.use_zarr3 = zarr3
  with context:
    tree = nested(jax.tree.map(jax.numpy.asarray, PARAMS)) | {"step": jax.numpy.asarray(3)}
    ocp.save(tmp_path / "0", tree, checkpointable_name="items")
  check_reader(ParamsReader(str(tmp_path / "0" / "items")))


def test_slices_of_what_we_wrote(tmp_path):
  write(tmp_path).finish()
  check_reader(ParamsReader(str(tmp_path / "0" / "items")))


def check_reader(reader):
  assert reader.shapes == {path: value.shape for path, value in PARAMS.items()}
  for path, index in {
    "decoder/layers/kernel": (slice(None), 1, slice(None)),
    "decoder/norm": (slice(None),),
    "embedder/table": (slice(2, 9), slice(None)),
  }.items():
    found = reader.open(path).read(index)
    assert found.dtype == PARAMS[path].dtype
    np.testing.assert_array_equal(found, PARAMS[path][index])


def test_nothing_looks_whole_before_the_end(tmp_path):
  writer = write(tmp_path)
  items = tmp_path / "0" / "items"
  with pytest.raises(ValueError, match="incomplete"):
    ParamsReader(str(items))
  with pytest.raises(ValueError):  # Orbax's InvalidLayoutError is one
    ocp.load(tmp_path / "0", checkpointable_name="items")
  writer.finish()
  metadata = json.loads((items / "_METADATA").read_text())
  assert len(metadata["tree_metadata"]) == len(PARAMS)
