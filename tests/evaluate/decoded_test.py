"""Records beside hypotheses, written and read back."""

import types

import pytest

from maxtext_ext.evaluate import decoded
from maxtext_ext.evaluate.decoded import Decoded

CONFIG = types.SimpleNamespace(
  run_name="run",
  split="test",
  decode_checkpoint="best",
  normalizer="hebrew",
  max_new_tokens=16,
  model_name="qwen3-asr-tiny",
  dtype="float32",
  language_in_prompt=True,
  context="Cohen, Levi",
  lora_rank=0,
)


def with_checkpoint(which: str) -> types.SimpleNamespace:
  return types.SimpleNamespace(**vars(CONFIG) | {"decode_checkpoint": which})


@pytest.mark.parametrize(
  ("which", "weights", "checkpoint", "step", "said"),
  [
    ("best", "gs://bucket/run/checkpoints/1200/items", "step", 1200, "step 1200"),
    ("6", "/runs/run/checkpoints/6/items", "step", 6, "step 6"),
    ("base", "/models/qwen", "base", None, "the model before training"),
    ("untrained", "", "untrained", None, "the untrained model"),
  ],
)
def test_what_is_written_is_read_back(tmp_path, which, weights, checkpoint, step, said):
  source = Decoded.of(with_checkpoint(which), weights)
  assert (source.checkpoint, source.step, source.weights) == (checkpoint, step, said)
  source.write(str(tmp_path))
  assert decoded.read(tmp_path) == decoded.read(tmp_path / "a.jsonl") == source
  decoded.remove(str(tmp_path))
  assert decoded.read(tmp_path) is None
  decoded.remove(str(tmp_path))


@pytest.mark.parametrize(
  ("content", "message"),
  [
    ("{", "decoded.json: content: Invalid JSON"),
    ("[]", "decoded.json: content: Input should be an object"),
    ('{"run": 7, "split": "test"}', "decoded.json: run: Input should be a valid string"),
  ],
)
def test_a_malformed_one_is_one_line(tmp_path, content, message):
  (tmp_path / "decoded.json").write_text(content)
  with pytest.raises(ValueError, match=message) as raised:
    decoded.read(tmp_path)
  assert "\n" not in str(raised.value)
