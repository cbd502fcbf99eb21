"""Choice of a run's checkpoint, and treatment of one that is cut short."""

import pathlib

import jax.numpy as jnp
import pytest
from orbax.checkpoint import v1 as ocp

from maxtext_ext.checkpoint.training import find_checkpoint, find_weights, set_aside


@pytest.fixture
def run(tmp_path):
  """A run with whole checkpoints of steps 2 and 4, and one of 10 without its arrays' index."""
  folder = tmp_path / "run" / "checkpoints"
  with ocp.training.Checkpointer(folder) as manager:
    for step in (2, 4, 10):
      manager.save_checkpointables(step, {"items": {"a": jnp.arange(step)}}, force=True)
  (folder / "10" / "items" / "manifest.ocdbt").unlink()
  return folder.parent


def test_the_newest_whole_one_is_found_with_a_warning(run, caplog):
  caplog.set_level("WARNING", "maxtext_ext")
  folder = run / "checkpoints"
  assert find_checkpoint(f"{folder}/", "latest") == f"{folder}/4/items"
  assert f"{folder}/10 is cut short (no items/manifest.ocdbt)" in caplog.text
  assert find_weights(str(run)) == find_weights(str(folder)) == f"{folder}/4/items"
  assert find_checkpoint(str(folder), "2") == f"{folder}/2/items"


@pytest.mark.parametrize("name", ["checkpoints/10", "checkpoints"])
def test_one_that_is_asked_for_must_be_whole(run, name):
  with pytest.raises(ValueError, match=r"10 is cut short .*copy it again"):
    if name == "checkpoints":
      find_checkpoint(str(run / name), "10")
    find_weights(str(run / name))


def test_nothing_whole_is_said(tmp_path):
  (tmp_path / "3").mkdir()
  with pytest.raises(ValueError, match=r"no checkpoint latest .*\(there: 3\)"):
    find_checkpoint(str(tmp_path), "latest")


def test_a_run_goes_on_from_the_whole_one_and_may_save_the_step_again(run, caplog):
  caplog.set_level("WARNING", "maxtext_ext")
  folder = run / "checkpoints"
  (folder / "12.orbax-checkpoint-tmp" / "items").mkdir(parents=True)
  for _ in range(2):  # also when it happens again
    set_aside(str(folder))
    assert "passed over, and now 10.cut-short" in caplog.text
    with ocp.training.Checkpointer(folder) as manager:
      assert manager.latest.step == 4
      manager.save_checkpointables(10, {"items": {"a": jnp.arange(3)}}, force=True)
    names = {path.name for path in pathlib.Path(folder).iterdir()}
    assert names == {"2", "4", "10", "10.cut-short"}
    (folder / "10" / "items" / "_METADATA").unlink()
