"""Checksums are written with a checkpoint; damage to any file is found and named."""

import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gcs_server import serving
from orbax.checkpoint import v1 as ocp

from maxtext_ext.checkpoint.integrity import (
  DamagedError,
  Verification,
  find_corruption,
  write_checksums,
)
from maxtext_ext.checkpoint.orbax_io import ArraySpec, ParamsWriter

POSITION = {"hosts": "[{}]"}
LIST = "checksums-0-of-1.json"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
  """As training saves them: arrays in the index and beside it, random keys, strings."""
  folder = tmp_path_factory.mktemp("run")
  state = {
    "large": jax.random.normal(jax.random.key(0), (64, 64)),
    "small": jnp.arange(3),
    "key": jax.random.key(1),
  }
  with ocp.training.Checkpointer(folder) as manager:
    manager.save_checkpointables(4, {"items": state, "input": POSITION})
  write_checksums(str(folder / "4"))
  return folder / "4"


@pytest.fixture
def checkpoint(saved, tmp_path):
  """A copy of it, to be damaged."""
  return pathlib.Path(shutil.copytree(saved, tmp_path / "4"))


def files_of(checkpoint: pathlib.Path) -> list[pathlib.Path]:
  return sorted(file for file in checkpoint.rglob("*") if file.is_file() and file.name != LIST)


def verify(checkpoint: pathlib.Path) -> None:
  with Verification(f"{checkpoint}/items"):
    pass


def test_orbax_passes_over_the_list(checkpoint):
  assert (checkpoint / LIST).exists()
  with ocp.training.Checkpointer(checkpoint.parent) as manager:
    assert manager.latest.step == 4
    loaded = manager.load_checkpointables(4)
  assert loaded.keys() == {"items", "input"} and loaded["input"] == POSITION
  assert ocp.checkpointables_metadata(checkpoint).metadata.keys() == {"items", "input"}


def test_a_bit_that_flipped_in_any_file_is_found_and_the_file_named(checkpoint):
  verify(checkpoint)
  for file in files_of(checkpoint):
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    file.write_bytes(flipped)
    assert find_corruption(str(checkpoint)) is None, "the sizes are right"
    with pytest.raises(ValueError, match=rf"{file} is damaged: its CRC32C is .*copy the"):
      verify(checkpoint)
    file.write_bytes(whole)


def test_a_file_that_is_cut_or_gone_is_told_without_reading(checkpoint):
  assert find_corruption(str(checkpoint)) is None
  for file in files_of(checkpoint):
    whole, name = file.read_bytes(), file.relative_to(checkpoint)
    for share in (0.0, 0.5, 0.99):
      cut = whole[: int(len(whole) * share)]
      file.write_bytes(cut)
      said = f"{name} has {len(cut)} bytes of {len(whole)}"
      assert find_corruption(str(checkpoint)) == said
      with pytest.raises(ValueError, match=said):
        verify(checkpoint)
    file.unlink()
    assert find_corruption(str(checkpoint)) == f"{name} has 0 bytes of {len(whole)}"
    with pytest.raises(ValueError, match=f"{name} is gone"):
      verify(checkpoint)
    file.write_bytes(whole)


def test_damage_is_said_in_place_of_what_reading_made_of_it(checkpoint):
  (data,) = (checkpoint / "items" / "ocdbt.process_0" / "d").iterdir()
  data.write_bytes(b"\0" * data.stat().st_size)
  with pytest.raises(ValueError, match=f"{data} is damaged"), Verification(f"{checkpoint}/items"):
    ocp.load_checkpointables(checkpoint, {"items": None})


@pytest.mark.parametrize("kind", [Exception, KeyError])
def test_what_tensorstore_cannot_read_is_one_line_without_a_list_too(checkpoint, kind):
  (checkpoint / LIST).unlink()
  with pytest.raises(DamagedError) as caught, Verification(f"{checkpoint}/items"):
    raise kind("Orbax's\npages") from ValueError(f"DATA_LOSS: Error reading\n 5 of 3{' a' * 999}")
  said = str(caught.value)
  assert said.startswith(f"{checkpoint} cannot be read (DATA_LOSS: Error reading 5 of 3")
  assert said.endswith("to use another") and said.isprintable() and len(said) < 600


def test_an_error_beside_reading_stays(checkpoint):
  with pytest.raises(KeyError), Verification(f"{checkpoint}/items"):
    raise KeyError


def test_a_list_that_is_cut_is_damage(checkpoint):
  (checkpoint / LIST).write_text('{"files": {')
  assert find_corruption(str(checkpoint)) == f"{LIST} is cut short"
  with pytest.raises(ValueError, match=f"{checkpoint}: {LIST} is cut short"):
    verify(checkpoint)


@pytest.mark.filterwarnings("ignore:Sharding info not provided")
@pytest.mark.parametrize("name", ["items/_METADATA", "_CHECKPOINT_METADATA", "input/_METADATA"])
def test_one_without_a_list_loads_and_what_says_what_it_holds_must_be_there(checkpoint, name):
  (checkpoint / LIST).unlink()
  assert find_corruption(str(checkpoint)) is None
  verify(checkpoint)
  assert ocp.load_checkpointables(checkpoint)["input"] == POSITION
  whole = (checkpoint / name).read_bytes()
  (checkpoint / name).write_bytes(whole[:-9])
  assert find_corruption(str(checkpoint)) == f"{name} is cut short"
  (checkpoint / name).unlink()
  assert find_corruption(str(checkpoint)) == f"no {name}"
  (checkpoint / name).write_bytes(whole)
  (checkpoint / "items" / "manifest.ocdbt").unlink()
  assert find_corruption(str(checkpoint)) == "no items/manifest.ocdbt"


def test_each_process_lists_and_verifies_a_share(checkpoint, monkeypatch):
  (checkpoint / LIST).unlink()
  monkeypatch.setattr(jax, "process_count", lambda: 2)
  second = checkpoint / "items" / "ocdbt.process_1" / "d" / "x"
  second.parent.mkdir(parents=True)
  second.write_bytes(b"of the second process")
  for index in (0, 1):
    monkeypatch.setattr(jax, "process_index", lambda index=index: index)
    write_checksums(str(checkpoint))
    # With one list of two it is read as one without, but for what is listed.
    assert find_corruption(str(checkpoint)) is None
  assert "ocdbt.process_1/d/x" in (checkpoint / "checksums-1-of-2.json").read_text()
  assert "ocdbt.process_1/d/x" not in (checkpoint / "checksums-0-of-2.json").read_text()
  for file in files_of(checkpoint):
    if file.name.startswith("checksums"):
      continue
    whole, found = file.read_bytes(), 0
    file.write_bytes(bytes(len(whole)) if any(whole) else b"\1" * len(whole))
    for index in (0, 1):
      monkeypatch.setattr(jax, "process_index", lambda index=index: index)
      try:
        verify(checkpoint)
      except ValueError as error:
        assert str(file) in str(error)
        found += 1
    assert found == 1, file
    file.write_bytes(whole)


def test_in_a_bucket_its_own_checksums_are_compared(saved, monkeypatch):
  url = "gs://bucket/run/checkpoints/4"
  with serving(monkeypatch, "bucket") as server:
    for file in files_of(saved):
      server.put(f"{url}/{file.relative_to(saved)}", file.read_bytes())
    assert find_corruption(url) is None
    before = server.files(url)
    write_checksums(url)
    assert server.files(url)[LIST] == (saved / LIST).read_bytes()
    with Verification(f"{url}/items"):
      pass
    name = "items/manifest.ocdbt"
    server.put(f"{url}/{name}", before[name][::-1])
    with pytest.raises(ValueError, match=f"{url}/{name} is damaged"), Verification(f"{url}/items"):
      pass
    server.put(f"{url}/{name}", before[name][:-1])
    assert find_corruption(url).startswith(f"{name} has ")


def test_a_converted_checkpoint_is_listed(tmp_path):
  values = np.arange(1_000, dtype=np.float32)
  spec = ArraySpec(shape=values.shape, chunks=values.shape, dtype=values.dtype)
  writer = ParamsWriter(str(tmp_path), {"a/b": spec})
  writer.write("a/b", (slice(0, 1_000),), values)
  assert find_corruption(str(tmp_path / "0")) == "no _CHECKPOINT_METADATA"
  writer.finish()
  assert find_corruption(str(tmp_path / "0")) is None
  assert len(files_of(tmp_path / "0")) > 4
  data = max(files_of(tmp_path / "0"), key=lambda file: file.stat().st_size)
  flipped = bytearray(data.read_bytes())
  flipped[-1] ^= 128
  data.write_bytes(flipped)
  with pytest.raises(ValueError, match=f"{data} is damaged"):
    verify(tmp_path / "0")
