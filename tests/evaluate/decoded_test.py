"""Records beside hypotheses, written and read back."""

import json
import types

import pytest

from maxtext_ext.evaluate import decoded
from maxtext_ext.evaluate.decoded import Decoded
from maxtext_ext.keys.decoding import DecodingKeys

SETTINGS = {"decode_checkpoint": "best", "max_new_tokens": 16, "repetition_penalty": 1.1}
CONFIG = types.SimpleNamespace(
  **DecodingKeys(**SETTINGS).model_dump(),
  run_name="run",
  normalizer="hebrew",
  model_name="qwen3-asr-tiny",
  dtype="float32",
  language_in_prompt=True,
  context="Cohen, Levi",
  lora_rank=0,
  template="qwen3_asr",
  load_parameters_path="/models/qwen",
)


def with_checkpoint(which: str) -> types.SimpleNamespace:
  return types.SimpleNamespace(**vars(CONFIG) | {"decode_checkpoint": which})


CONFIG_UNTRAINED = with_checkpoint("untrained")


@pytest.mark.parametrize(
  ("which", "weights", "checkpoint", "step", "said"),
  [
    ("best", "gs://bucket/run/checkpoints/1200/items", "step", 1200, "step 1200"),
    ("6", "/runs/run/checkpoints/6/items", "step", 6, "step 6"),
    ("base", "/models/qwen", "base", None, "the model before training"),
    ("untrained", "", "untrained", None, "the untrained model"),
    ("out/other", "/w/out/other/0/items", "/w/out/other/0/items", None, "/w/out/other/0/items"),
  ],
)
def test_what_is_written_is_read_back(tmp_path, which, weights, checkpoint, step, said):
  source = Decoded.of(with_checkpoint(which), weights)
  assert (source.checkpoint, source.step, source.weights) == (checkpoint, step, said)
  source.write(str(tmp_path))
  assert decoded.read(tmp_path) == decoded.read(tmp_path / "a.jsonl") == source
  later = source.model_copy(update={"versions": {}})
  later.write(str(tmp_path))
  assert decoded.read(tmp_path) == source, "the first stays"
  of_base = "/models/qwen" if which == "base" else None
  assert source.config.get("load_parameters_path") == of_base
  assert source.settings.items() >= {"step": step, "max_new_tokens": 16, "dtype": "float32"}.items()


@pytest.mark.parametrize(
  ("path", "name"),
  [("", "test"), ("gs://b/calls.jsonl.gz", "calls"), ("out/v1.2/", "v1.2"), (".", "input")],
)
def test_the_folder_is_named_by_the_split_or_the_input(path, name):
  config = types.SimpleNamespace(**vars(CONFIG_UNTRAINED) | {"decode_input": path})
  assert Decoded.of(config, "").name == name


def test_an_input_is_no_split(tmp_path):
  config = types.SimpleNamespace(**vars(CONFIG_UNTRAINED) | {"decode_input": "gs://b/calls"})
  assert (Decoded.of(config, "").split, Decoded.of(config, "").what) == ("", "gs://b/calls")
  assert Decoded.of(CONFIG_UNTRAINED, "").what == "split test"


def test_a_file_that_was_put_together_keeps_its_origin(tmp_path):
  other, source = Decoded.of(CONFIG_UNTRAINED, ""), Decoded.of(with_checkpoint("base"), "/m")
  other.write(str(tmp_path))
  source.write(str(tmp_path / "clips.jsonl.parts"))
  (tmp_path / "clips.jsonl").write_text("")
  assert decoded.read(tmp_path / "clips.jsonl") == source
  assert decoded.read(tmp_path / "others.jsonl") == decoded.read(tmp_path) == other


def test_one_of_an_earlier_version_is_read(tmp_path):
  earlier = {"run": "r", "split": "test", "checkpoint": "step", "step": 3, "normalizer": "basic"}
  (tmp_path / "decoded.json").write_text(json.dumps(earlier | {"max_new_tokens": 9}))
  source = decoded.read(tmp_path)
  assert (source.step, source.input, source.versions) == (3, "", {})


def test_controls_at_their_defaults_are_no_settings():
  """So a folder that a version without them began is continued."""
  source = Decoded.of(CONFIG_UNTRAINED, "")
  assert source.config["temperature"] == 0.0
  assert source.settings.keys() & {"temperature", "sampling_seed"} == set()
  assert source.settings["repetition_penalty"] == 1.1


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
