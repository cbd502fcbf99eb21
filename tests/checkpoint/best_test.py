"""Choice of the best evaluation and of the checkpoints to keep; the end after enough of them."""

import json
import pathlib

import jax.numpy as jnp
import pytest
from orbax.checkpoint import v1 as ocp

from maxtext_ext import bridge
from maxtext_ext.checkpoint.best import Best, ranked, read_evaluations
from maxtext_ext.checkpoint.training import find_checkpoint, find_weights
from maxtext_ext.config import load
from tests import tiny


def write_metrics(folder: pathlib.Path, *lines: dict) -> None:
  folder.mkdir(parents=True, exist_ok=True)
  (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


EVALUATIONS = [(2, 1.0), (4, 1.0), (6, 0.4), (8, 0.4), (10, 0.9)]


def test_the_newest_of_equals_is_the_best():
  best = Best(patience=0)
  assert [best.note(*each) for each in EVALUATIONS] == [True, True, True, True, False]
  assert (best.step, best.wer, best.since) == (8, 0.4, 2)


@pytest.mark.parametrize("there", [{8, 10}, {6, 8, 10}, {2, 4, 6, 8, 10}])
def test_a_run_that_was_cut_knows_what_it_knew(there):
  best = Best(patience=0)
  best.restore([*EVALUATIONS, (12, None)], there)
  assert (best.step, best.wer, best.since) == (8, 0.4, 2)


def test_of_what_is_gone_nothing_is_the_best():
  best = Best(patience=0)
  best.restore(EVALUATIONS, {4, 10})
  assert (best.step, best.wer, best.lowest, best.since) == (10, 0.9, 0.4, 2)


@pytest.mark.parametrize(("patience", "ends"), [(0, []), (1, [2, 3, 5]), (2, [3]), (3, [])])
def test_a_run_ends_after_so_many_evaluations_that_were_no_better(patience, ends):
  best = Best(patience=patience)
  ended = []
  for step, wer in enumerate([0.9, 0.8, 0.8, 0.85, 0.7, 0.71]):
    best.note(step, wer)
    ended += [step] if best.ends_run else []
  assert ended == ends


def test_evaluations_are_read_from_the_metrics(tmp_path):
  assert read_evaluations(str(tmp_path)) == []
  evaluated = [{"step": step, "eval_wer": wer} for step, wer in [(2, 0.3), (4, 0.1), (6, 0.1)]]
  write_metrics(tmp_path, {"step": 2, "loss": 1.0}, *evaluated, {"step": 7, "loss": 0.5})
  assert read_evaluations(str(tmp_path)) == [(2, 0.3), (4, 0.1), (6, 0.1)]
  assert ranked(str(tmp_path), {2, 4, 6, 7}) == [6, 4, 2]
  assert ranked(str(tmp_path), {2, 7}) == [2], "only what is there"


def save(manager: ocp.training.Checkpointer, step: int) -> None:
  manager.save_checkpointables(step, {"items": {"a": jnp.arange(3)}}, force=True)


def test_the_best_is_kept_beside_the_newest(tmp_path):
  keys = ["max_num_checkpoints_to_keep=2", f"base_output_directory={tmp_path}", "run_name=run"]
  config = load(tiny.DEMO, keys)
  best = Best(patience=0)
  there = []
  with bridge.checkpoint_manager(config, best) as manager:
    for step, wer in enumerate([0.9, 0.4, 0.6, 0.7, 0.5, 0.3, 0.8], 1):
      best.note(step, wer)
      save(manager, step)
      there.append({int(path.name) for path in (tmp_path / "run/checkpoints").iterdir()})
  assert there == [{1}, {1, 2}, {2, 3}, {2, 3, 4}, {2, 4, 5}, {5, 6}, {6, 7}]


@pytest.fixture
def run(tmp_path):
  """A run with checkpoints of steps 2, 4 and 6."""
  folder = tmp_path / "run" / "checkpoints"
  with ocp.training.Checkpointer(folder) as manager:
    for step in (2, 4, 6):
      save(manager, step)
  return folder.parent


def test_the_best_is_taken_where_none_is_asked_for(run):
  write_metrics(run, *({"step": s, "eval_wer": w} for s, w in [(1, 0.1), (2, 0.3), (4, 0.2)]))
  folder = f"{run}/checkpoints"
  assert find_checkpoint(folder, "best") == f"{folder}/4/items"
  assert find_weights(str(run)) == find_weights(folder) == f"{folder}/4/items"
  assert find_checkpoint(f"{folder}/", "latest") == f"{folder}/6/items"


def test_without_evaluation_the_latest_is_the_best_without_a_warning(run, caplog):
  caplog.set_level("WARNING", "maxtext_ext")
  write_metrics(run, {"step": 2, "eval_loss": 0.3})
  assert find_checkpoint(f"{run}/checkpoints", "best") == f"{run}/checkpoints/6/items"
  assert not caplog.text


def test_a_best_that_is_cut_short_is_passed_over(run, caplog):
  caplog.set_level("WARNING", "maxtext_ext")
  write_metrics(run, *({"step": s, "eval_wer": w} for s, w in [(2, 0.3), (4, 0.2), (6, 0.4)]))
  (run / "checkpoints" / "4" / "items" / "manifest.ocdbt").unlink()
  assert find_checkpoint(f"{run}/checkpoints", "best") == f"{run}/checkpoints/2/items"
  assert "checkpoints/4 is cut short" in caplog.text
