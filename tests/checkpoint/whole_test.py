"""A checkpoint that is cut short anywhere is known as such, or holds all that it did."""

import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from orbax.checkpoint import v1 as ocp

from maxtext_ext.checkpoint.orbax_io import ArraySpec, ParamsWriter
from maxtext_ext.checkpoint.whole import fault

POSITION = {"hosts": "[{}]"}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
  """As training saves them: arrays in the index and beside it, random keys, strings."""
  folder = tmp_path_factory.mktemp("run")
  state = {
    "large": jax.random.normal(jax.random.key(0), (64, 64)),
    "small": jnp.arange(3),
    "key": jax.random.key(1),
  }
  with ocp.training.Checkpointer(folder) as manager:
    manager.save_checkpointables(4, {"items": state, "input": POSITION})
  return folder / "4"


def contents(folder: pathlib.Path) -> list[np.ndarray]:
  loaded = ocp.load_checkpointables(folder)
  assert loaded["input"] == POSITION
  state = loaded["items"]
  return [np.asarray(jax.random.key_data(state.pop("key"))), state["large"], state["small"]]


@pytest.mark.filterwarnings("ignore:Sharding info not provided")
def test_what_is_left_of_a_cut_checkpoint_is_refused_or_complete(checkpoint, tmp_path):
  assert fault(str(checkpoint)) is None
  expected = contents(checkpoint)
  files = sorted(file.relative_to(checkpoint) for file in checkpoint.rglob("*") if file.is_file())
  refused = set()
  for number, file in enumerate(files):
    for share in (None, 0.0, 0.5, 0.99):
      cut = tmp_path / f"{number}-{share}" / "4"
      shutil.copytree(checkpoint, cut)
      data = (cut / file).read_bytes()
      (cut / file).unlink()
      if share is not None:
        (cut / file).write_bytes(data[: int(len(data) * share)])
      if fault(str(cut)) is None:
        for found, value in zip(contents(cut), expected, strict=True):
          np.testing.assert_array_equal(found, value, err_msg=f"{file} {share}")
      else:
        refused.add((file.parts[0], file.name, share))
  for part, name in (("_CHECKPOINT_METADATA",) * 2, ("items", "_METADATA"), ("items", "_sharding")):
    assert {(part, name, share) for share in (None, 0.0, 0.5)} <= refused
  assert {("items", "manifest.ocdbt", None), ("input", "_strings.json", 0.5)} <= refused
  data = {name for _, name, _ in refused if len(name) == 32}  # files of arrays have such names
  assert len(data) >= 2


def test_a_converted_checkpoint_is_whole(tmp_path):
  values = np.arange(1_000, dtype=np.float32)
  spec = ArraySpec(shape=values.shape, chunks=values.shape, dtype=values.dtype)
  writer = ParamsWriter(str(tmp_path), {"a/b": spec})
  writer.write("a/b", (slice(0, 1_000),), values)
  assert fault(str(tmp_path / "0")) == "no 0/_CHECKPOINT_METADATA"
  writer.finish()
  assert fault(str(tmp_path / "0")) is None
