"""safetensors files: what we read and write is what the safetensors package does."""

import json

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from maxtext_ext.checkpoint.hf_io import INDEX, SINGLE, HfReader, HfWriter

rng = np.random.default_rng(0)
TENSORS = {
  "a.weight": rng.normal(size=(7, 3)).astype(np.float32),
  "b.weight": rng.normal(size=(4, 2, 5)).astype(ml_dtypes.bfloat16),
  "b.bias": rng.normal(size=6).astype(np.float16),
  "c": rng.normal(size=(1, 1)).astype(np.float32),
}


def same(one, other):
  return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def write_sharded(folder):
  index = {}
  for i, names in enumerate((["a.weight", "c"], ["b.weight", "b.bias"]), 1):
    file = f"model-{i:05d}-of-00002.safetensors"
    save_file({name: TENSORS[name] for name in names}, folder / file, {"format": "pt"})
    index |= dict.fromkeys(names, file)
  (folder / INDEX).write_text(json.dumps({"weight_map": index}))


def write_single(folder):
  save_file(TENSORS, folder / SINGLE, {"format": "pt"})


@pytest.mark.parametrize("write", [write_single, write_sharded])
def test_reads_what_safetensors_wrote(tmp_path, write):
  write(tmp_path)
  with HfReader(str(tmp_path)) as reader:
    assert {name: info.shape for name, info in reader.tensors.items()} == {
      name: value.shape for name, value in TENSORS.items()
    }
    for name, value in TENSORS.items():
      assert same(reader.read(name), value)
    assert same(reader.read("a.weight", slice(2, 5)), TENSORS["a.weight"][2:5])
    assert same(reader.read("b.weight", slice(3, 99)), TENSORS["b.weight"][3:])


@settings(max_examples=20)
@given(
  max_shard_bytes=st.integers(1, 400), step=st.integers(1, 8), order=st.permutations(list(TENSORS))
)
def test_safetensors_reads_what_we_wrote(tmp_path_factory, max_shard_bytes, step, order):
  """In any order of tensors and rows, in any number of files."""
  folder = tmp_path_factory.mktemp("written")
  specs = {name: (value.dtype, value.shape) for name, value in TENSORS.items()}
  with HfWriter(str(folder), specs, max_shard_bytes=max_shard_bytes) as writer:
    for name in order:
      for first in reversed(range(0, len(TENSORS[name]), step)):
        with writer.rows(name, slice(first, first + step)) as rows:
          rows[...] = TENSORS[name][first : first + step]
  found = {}
  for file in folder.glob("*.safetensors"):
    found |= load_file(file)
  assert found.keys() == TENSORS.keys()
  assert all(same(found[name], value) for name, value in TENSORS.items())
  sizes = [value.nbytes for value in TENSORS.values()]
  assert (folder / SINGLE).exists() == (sum(sizes) <= max_shard_bytes)
  if not (folder / SINGLE).exists():
    index = json.loads((folder / INDEX).read_text())
    assert index["metadata"]["total_size"] == sum(sizes)
    for name, file in index["weight_map"].items():
      assert name in load_file(folder / file)


def test_rows_that_are_kept_hold_what_was_written(tmp_path):
  with HfWriter(str(tmp_path), {"x": (np.dtype(np.float32), (4, 2))}) as writer:
    with writer.rows("x") as rows:
      rows[...] = 1
    with writer.rows("x", slice(1, 3), keep=True) as rows:
      assert (rows == 1).all()
      rows[:, 1] = 2
  expected = np.float32([[1, 1], [1, 2], [1, 2], [1, 1]])
  np.testing.assert_array_equal(load_file(tmp_path / SINGLE)["x"], expected)


def cut(folder):
  data = (folder / SINGLE).read_bytes()
  (folder / SINGLE).write_bytes(data[:-5])


def empty(folder):
  (folder / SINGLE).write_bytes(b"")


def no_header(folder):
  (folder / SINGLE).write_bytes(b"\x10" + b"\0" * 7 + b"{" * 40)


def something_else(folder):
  (folder / SINGLE).write_bytes(b"version https://git-lfs.github.com/spec/v1\n")


def removed(folder):
  (folder / SINGLE).unlink()


def missing_shard(folder):
  (folder / INDEX).write_text('{"weight_map": {"a": "model-00009-of-00009.safetensors"}}')


DAMAGES = {
  cut: "cut short: got .* bytes, expected",
  empty: "cut short or no safetensors file: 0 bytes",
  no_header: "header is not JSON",
  something_else: "cut short or no safetensors file: 43 bytes",
  removed: "no model.safetensors and no model.safetensors.index.json",
  missing_shard: "names model-00009-of-00009.safetensors, which are not there",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_told(tmp_path, damage):
  write_single(tmp_path)
  damage(tmp_path)
  with pytest.raises(ValueError, match=DAMAGES[damage]):
    HfReader(str(tmp_path))


def test_types_that_no_weight_has_are_told_when_they_are_read(tmp_path):
  save_file({"mask": np.zeros(3, bool), "w": np.zeros(2, np.float32)}, tmp_path / SINGLE)
  with HfReader(str(tmp_path)) as reader:
    assert reader.read("w").shape == (2,)
    with pytest.raises(ValueError, match=r"model.safetensors: type BOOL, expected one of F32"):
      reader.read("mask")
