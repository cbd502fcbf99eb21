"""A run as a whole: it learns, resumes bit for bit, and does not depend on accumulation."""

import json
import pathlib

import jax
import numpy as np
import pytest
from orbax.checkpoint import v1 as ocp

from maxtext_ext.train.loop import main
from tests import tiny

pytestmark = pytest.mark.slow

LAYERS = ("base_num_decoder_layers=1", "encoder_layers_for_audio=1")


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
  """`key=value` strings of a run with data; give each test a run_name of its own."""
  folder = tmp_path_factory.mktemp("run")
  keys = [*tiny.make_run(folder), *LAYERS]
  return [*keys, "per_device_batch_size=2", "checkpoint_period=3", "steps=6"]


def losses(run_dir: str) -> dict[int, float]:
  lines = pathlib.Path(run_dir, "metrics.jsonl").read_text("utf-8").splitlines()
  return {line["step"]: line["loss"] for line in map(json.loads, lines) if "loss" in line}


def weights(run_dir: str, step: int) -> dict[str, np.ndarray]:
  """Parameters and optimizer state of a checkpoint, by path."""
  items = ocp.load_checkpointables(pathlib.Path(run_dir, "checkpoints", str(step)))["items"]
  flat = {}

  def walk(path, value):
    if isinstance(value, dict | list):
      pairs = value.items() if isinstance(value, dict) else enumerate(value)
      for key, inner in pairs:
        walk(f"{path}/{key}", inner)
    elif value is not None:
      is_key = jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key)
      flat[path] = np.asarray(jax.random.key_data(value) if is_key else value)

  walk("", items)
  return flat


def assert_same_weights(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
  assert a.keys() == b.keys()
  different = [path for path in a if not np.array_equal(a[path], b[path])]
  assert not different


def test_a_run_learns_and_writes_down_what_it_did(keys):
  result = main(
    tiny.DEMO,
    [
      *keys,
      "run_name=learns",
      "steps=30",
      "learning_rate=0.01",
      "eval_interval=15",
      "eval_clips=0",
    ],
  )
  curve = losses(result.run_dir)
  assert list(curve) == list(range(1, 31))
  assert result.loss == curve[30] < 0.6 * curve[1]
  lines = pathlib.Path(result.run_dir, "metrics.jsonl").read_text("utf-8").splitlines()
  evals = [line for line in map(json.loads, lines) if "eval_loss" in line]
  assert [line["step"] for line in evals] == [15, 30]
  assert evals[1]["eval_loss"] < evals[0]["eval_loss"]
  first = json.loads(lines[0])
  assert {
    "loss",
    "learning_rate",
    "gradient_norm",
    "audio_seconds_per_second",
    "token_fill",
    "chunk_fill",
    "wait_seconds",
    "epoch",
    "dropped",
  } <= first.keys()
  assert 0.3 < first["token_fill"] <= 1
  assert 0 <= first["wait_seconds"] < first["step_seconds"]
  board = b"".join(p.read_bytes() for p in pathlib.Path(result.run_dir, "tensorboard").glob("*"))
  for tag in ("learning/loss", "learning/learning_rate", "learning/gradient_norm", "eval/loss"):
    assert tag.encode() in board
  for tag in ("speed/audio_seconds_per_second", "input/token_fill"):
    assert tag.encode() in board


def test_a_resumed_run_is_bit_identical(keys):
  augment = ["spec_augment_mels=8", "spec_augment_frames=10"]
  whole = main(tiny.DEMO, [*keys, *augment, "run_name=whole"])
  main(tiny.DEMO, [*keys, *augment, "run_name=cut", "steps=3", "learning_rate_schedule_steps=6"])
  resumed = main(tiny.DEMO, [*keys, *augment, "run_name=cut"])
  assert losses(resumed.run_dir) == losses(whole.run_dir)
  assert_same_weights(weights(resumed.run_dir, 6), weights(whole.run_dir, 6))


def relative_difference(a: dict[int, float], b: dict[int, float]) -> float:
  assert a.keys() == b.keys()
  return max(abs(a[step] - b[step]) / abs(b[step]) for step in b)


def test_accumulation_equals_the_large_batch(keys):
  large = main(tiny.DEMO, [*keys, "run_name=large", "per_device_batch_size=4"])
  small = main(
    tiny.DEMO,
    [*keys, "run_name=small", "per_device_batch_size=1", "gradient_accumulation_steps=4"],
  )
  assert relative_difference(losses(small.run_dir), losses(large.run_dir)) < 1e-5


def test_a_checkpoint_of_another_run_shape_is_a_clear_error(keys):
  main(tiny.DEMO, [*keys, "run_name=rows", "steps=3"])
  with pytest.raises(ValueError, match=r"max_target_length|max_tokens"):
    main(tiny.DEMO, [*keys, "run_name=rows", "max_target_length=320"])
