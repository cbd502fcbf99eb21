"""safetensors files: what we read and write is what the safetensors package does."""

import json

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from maxtext_ext.checkpoint.hf_io import INDEX, SINGLE, HfReader, HfWriter, count_nonfinite

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


def header_of(data: bytes) -> dict:
  return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])


def with_header(header, data: bytes) -> bytes:
  """The file with another header before the same tensors."""
  text = header if isinstance(header, bytes) else json.dumps(header).encode()
  return len(text).to_bytes(8, "little") + text + data[8 + int.from_bytes(data[:8], "little") :]


def changed(**entry):
  """The header with other values for one tensor."""

  def damage(data):
    header = header_of(data)
    header["c"] |= entry
    return with_header(header, data)

  return damage


def twice(data):
  text = json.dumps(header_of(data))[:-1] + ', "c": {}}'
  return with_header(text.encode(), data)


def overlapping(data):
  header = header_of(data)
  header["a.weight"]["data_offsets"], header["a.weight"]["shape"] = [0, 4], [1]
  header["c"]["data_offsets"] = [0, 4]
  return with_header(header, data)


# Files that are no safetensors: from the bytes of one that is, and what is said.
DAMAGES = {
  "cut": (lambda data: data[:-5], "cut short: got .* bytes, expected"),
  "empty": (lambda data: b"", "cut short or no safetensors file: 0 bytes"),
  "no JSON": (lambda data: b"\x10" + b"\0" * 7 + b"{" * 40, "16 lists or objects|is not JSON"),
  "an LFS pointer": (
    lambda data: b"version https://git-lfs.github.com/spec/v1\n",
    "cut short or no safetensors file: 43 bytes",
  ),
  "a huge header": (lambda data: b"\xff" * 8 + data[8:], "cut short or no safetensors file"),
  "a list": (lambda data: with_header([], data), "header: got a list, expected an object"),
  "null": (lambda data: with_header(None, data), "header: got null, expected an object"),
  "deep": (lambda data: with_header(b"[" * 1000, data), "1000 lists or objects inside each other"),
  "an entry that is a list": (lambda data: with_header({"c": []}, data), r"header: c: got \[\]"),
  "no offsets": (lambda data: with_header({"c": {"dtype": "F32"}}, data), "c.shape: missing"),
  "negative": (changed(data_offsets=[-4, 0]), "c.data_offsets.0: got -4"),
  "backwards": (changed(data_offsets=[8, 4]), "'c' has -4 bytes, which do not make"),
  "too far": (changed(data_offsets=[0, 10**12]), "cut short: got"),
  "beyond 64 bits": (changed(data_offsets=[0, 2**70]), "c.data_offsets.1: got 11805"),
  "fractions": (changed(data_offsets=[0.0, 4.0]), "c.data_offsets.0: got 0.0"),
  "three offsets": (changed(data_offsets=[0, 2, 4]), "c.data_offsets: got"),
  "another shape": (changed(shape=[5]), "which do not make F32"),
  "a negative shape": (changed(shape=[-1, -1]), "c.shape.0: got -1"),
  "a huge shape": (changed(shape=[2**40, 2**40]), "which do not make F32"),
  "another type": (changed(dtype="F16"), "which do not make F16"),
  "no type": (changed(dtype="f32; x"), "c.dtype: got 'f32; x'"),
  "a type that is not known": (changed(dtype="F99"), "model.safetensors, header: .*F99"),
  "an unknown key": (changed(more=1), "c.more: got 1"),
  "a name twice": (twice, "the key 'c' is there twice"),
  "overlapping": (overlapping, "model.safetensors, header: .*(?i:offset|invalid)"),
  "more behind the tensors": (lambda data: data + b"1234", "model.safetensors, header: "),
  "metadata that is no text": (
    lambda data: with_header({**header_of(data), "__metadata__": {"a": 1}}, data),
    "__metadata__.a: got 1",
  ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_refused_in_one_line_that_names_them(tmp_path, damage):
  change, message = DAMAGES[damage]
  write_single(tmp_path)
  path = tmp_path / SINGLE
  path.write_bytes(change(path.read_bytes()))
  with pytest.raises(ValueError, match=message) as caught:
    HfReader(str(tmp_path))
  assert SINGLE in str(caught.value)
  assert len(str(caught.value).splitlines()) == 1


@settings(max_examples=60)
@given(st.data())
def test_what_safetensors_refuses_is_refused(tmp_path_factory, data):
  """A few bytes of the header are changed; the package is asked whether that is a file still."""
  folder = tmp_path_factory.mktemp("changed")
  write_single(folder)
  content = bytearray((folder / SINGLE).read_bytes())
  for _ in range(data.draw(st.integers(1, 3))):
    place = data.draw(st.integers(0, int.from_bytes(content[:8], "little") + 7))
    content[place] = data.draw(st.integers(0, 255))
  (folder / SINGLE).write_bytes(content)
  try:
    with safe_open(folder / SINGLE, framework="numpy"):
      pass
  except SafetensorError:
    with pytest.raises(ValueError, match=SINGLE):
      HfReader(str(folder))


# Indices of a sharded checkpoint: from the one that is right, and what is said.
INDICES = {
  "a missing shard": (
    lambda index: index | {"a.weight": "model-00009-of-00009.safetensors"},
    "names 'model-00009-of-00009.safetensors', of 1 files that are not there",
  ),
  "a shard outside": (lambda index: index | {"c": "../model.safetensors"}, "without a folder"),
  "an absolute path": (lambda index: index | {"c": "/etc/passwd"}, "without a folder"),
  "a tensor in another shard": (
    lambda index: index | {"c": "model-00002-of-00002.safetensors"},
    "model-00002-of-00002.safetensors lacks 'c', which model.safetensors.index.json says",
  ),
  "a tensor that is nowhere": (
    lambda index: index | {"d": "model-00002-of-00002.safetensors"},
    "lacks 'd'",
  ),
  "no names": (lambda index: {}, "weight_map is empty"),
  "a number": (lambda index: index | {"c": 1}, "index.json: weight_map.c: got 1"),
}


@pytest.mark.parametrize("case", INDICES)
def test_an_index_that_does_not_fit_its_shards_is_refused(tmp_path, case):
  change, message = INDICES[case]
  write_sharded(tmp_path)
  index = json.loads((tmp_path / INDEX).read_text())["weight_map"]
  (tmp_path / INDEX).write_text(json.dumps({"weight_map": change(index)}))
  with pytest.raises(ValueError, match=message) as caught:
    HfReader(str(tmp_path))
  assert len(str(caught.value).splitlines()) == 1


def test_a_tensor_in_two_shards_is_refused(tmp_path):
  write_sharded(tmp_path)
  save_file({"c": TENSORS["c"], "x": TENSORS["c"]}, tmp_path / "model-00003-of-00003.safetensors")
  index = json.loads((tmp_path / INDEX).read_text())["weight_map"]
  index |= {"x": "model-00003-of-00003.safetensors"}
  (tmp_path / INDEX).write_text(json.dumps({"weight_map": index}))
  with pytest.raises(ValueError, match=r"'c' is in model-00001-of-00002\.safetensors and in"):
    HfReader(str(tmp_path))


def test_a_folder_without_tensors_is_refused(tmp_path):
  with pytest.raises(ValueError, match=r"no model.safetensors and no model.safetensors.index.json"):
    HfReader(str(tmp_path))


def test_a_single_file_goes_before_the_shards_of_an_older_index(tmp_path):
  """As transformers reads such a folder."""
  write_sharded(tmp_path)
  save_file({"new": TENSORS["c"]}, tmp_path / SINGLE)
  with HfReader(str(tmp_path)) as reader:
    assert list(reader.tensors) == ["new"]


def test_a_shard_that_is_a_link_out_of_the_folder_is_refused(tmp_path):
  inner = tmp_path / "model"
  inner.mkdir()
  write_single(tmp_path)
  (inner / SINGLE).symlink_to(tmp_path / SINGLE)
  with pytest.raises(ValueError, match="is a link to"):
    HfReader(str(inner))


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_nonfinite_values_are_counted_by_their_bits(dtype):
  values = np.array([[0.0, -0.0, 1.5, -3.0], [np.nan, np.inf, -np.inf, 6e4]], np.float32)
  values = values.astype(dtype)
  assert count_nonfinite(values) == count_nonfinite(values.T) == 3
  assert count_nonfinite(values[:, 1::2]) == 1
  assert count_nonfinite(np.zeros((0, 3), dtype)) == 0


def test_types_that_no_weight_has_are_told_when_they_are_read(tmp_path):
  save_file({"mask": np.zeros(3, bool), "w": np.zeros(2, np.float32)}, tmp_path / SINGLE)
  with HfReader(str(tmp_path)) as reader:
    assert reader.read("w").shape == (2,)
    with pytest.raises(ValueError, match=r"model.safetensors: type BOOL, expected one of F32"):
      reader.read("mask")
