"""Run identity: a command that goes on with another run is refused in one line."""

import json
import logging
import os
import pathlib
import shutil
import socket

import pytest
import yaml

from maxtext_ext import Transcriber, bridge
from maxtext_ext.checkpoint.fingerprint import (
  check_model,
  read_fingerprint,
  warn_of_other_model,
)
from maxtext_ext.checkpoint.model_file import shape_keys, write_model
from maxtext_ext.checkpoint.training import with_base_weights
from maxtext_ext.config import load, run_dir_of
from maxtext_ext.decode.decode import find_weights
from maxtext_ext.decode.engines import make_engine
from maxtext_ext.files.folder_lock import LockedError, sole_writer
from maxtext_ext.text.tokenizer import Tokenizer, train_char_tokenizer
from maxtext_ext.train.loop import train
from maxtext_ext.train.setup import prepare
from tests import tiny

SMALL = ("per_device_batch_size=1", "base_num_decoder_layers=1", "encoder_layers_for_audio=1")


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> list[str]:
  """`key=value` strings of a run with one checkpoint; no step of it was taken."""
  folder = tmp_path_factory.mktemp("run")
  keys = [*tiny.make_run(folder, train=12, test=1), *SMALL, "run_name=held", "steps=2"]
  config = load(tiny.DEMO, keys)
  with prepare(config) as run, bridge.mesh_scope(config, run.mesh):
    next(run.batches)
    run.checkpoints.save(1, run.state, run.batches.get_state())
  return keys


def content(keys: list[str]) -> dict[str, bytes]:
  """Every file of the run."""
  (runs,) = (key.partition("=")[2] for key in keys if key.startswith("base_output_directory="))
  files = sorted(path for path in pathlib.Path(runs).rglob("*") if path.is_file())
  return {str(path): path.read_bytes() for path in files}


def value(keys: list[str], name: str) -> pathlib.Path:
  return pathlib.Path(next(key for key in keys if key.startswith(f"{name}=")).partition("=")[2])


def refused(keys: list[str], *changes: str) -> str:
  """The one line with which a changed command is refused; nothing is written."""
  before = content(keys)
  with pytest.raises(ValueError) as refusal:
    prepare(load(tiny.DEMO, [*keys, *changes]))
  assert content(keys) == before
  line = str(refusal.value)
  assert "\n" not in line and len(line) < 1000
  return line


def goes_on(keys: list[str], *changes: str) -> int:
  with prepare(load(tiny.DEMO, [*keys, *changes])) as run:
    return run.start


@pytest.mark.parametrize(
  ("change", "said"),
  [
    ("rope_max_timescale=100", "rope_max_timescale is 100, was 1000000"),
    ("opt_type=sgd", "opt_type is sgd, was adamw"),
    ("min_characters=5", "min_characters is 5, was 0"),
    ("learning_rate=0.5", "learning_rate is 0.5, was 0.002"),
    ("data_shuffle_seed=3", "data_shuffle_seed is 3, was 0"),
  ],
)
def test_a_key_that_counts_is_refused_with_both_values(keys, change, said):
  line = refused(keys, change)
  assert f"held holds a different run: {said}. To resume, give the old values" in line


def test_every_difference_is_named(keys):
  others = [key for key in keys if not key.startswith("base_emb_dim=")]
  line = refused(others, "base_emb_dim=64", "context=names")
  assert "base_emb_dim is 64, was 32; context is names, was ''" in line
  assert "accept_changes" not in line, "no run can take up another width"


def test_a_tokenizer_with_more_entries_than_the_model_is_refused_in_training_and_decoding(keys):
  own = ("vocab_size=", "run_name=")
  others = [key for key in keys if not key.startswith(own)]
  config = load(tiny.DEMO, [*others, "vocab_size=64", "run_name=narrow"])
  with pytest.raises(ValueError, match=r"entries, the model vocab_size=64; give the tokenizer"):
    prepare(config)
  tokenizer = Tokenizer.from_directory(config.tokenizer_path)
  with pytest.raises(ValueError, match=r"entries, the model vocab_size=64; give the tokenizer"):
    make_engine(config, bridge.make_mesh(config), tokenizer)


def test_another_tokenizer_is_refused_wherever_it_lies(keys, tmp_path):
  train_char_tokenizer(["other letters"], tmp_path / "other", ["English"])
  assert "tokenizer_path is " in refused(keys, f"tokenizer_path={tmp_path / 'other'}")


def test_other_data_of_as_many_records_is_refused(keys, tmp_path):
  tiny.write_split(tmp_path / "data", "train", tiny.records(12, seed=7))
  assert "data_dir is train 2 files of" in refused(keys, f"data_dir={tmp_path / 'data'}")


def test_harmless_keys_and_copies_of_what_it_reads_go_on(keys, tmp_path):
  for name in ("data", "tokenizer"):
    shutil.copytree(value(keys, "data_dir").parent / name, tmp_path / name)
  moved = [f"data_dir={tmp_path / 'data'}", f"tokenizer_path={tmp_path / 'tokenizer'}"]
  harmless = [
    "steps=4",
    "checkpoint_period=7",
    "remat_policy=full",
    "verbose=true",
    "decode_rows=3",
  ]
  assert goes_on(keys, *moved, *harmless) == 1


def test_the_fingerprint_stands_in_the_run_and_in_its_checkpoint(keys):
  run = value(keys, "base_output_directory") / "held"
  of_run = json.loads((run / "run.json").read_text())["fingerprint"]
  assert of_run["learning_rate"] == "0.002" and "steps" not in of_run
  assert read_fingerprint(str(run), str(run / "checkpoints" / "1")) == of_run


def copy_of(keys: list[str], tmp_path: pathlib.Path) -> list[str]:
  """Keys of a copy of the run, which a test may change."""
  shutil.copytree(value(keys, "base_output_directory"), tmp_path / "runs")
  others = [key for key in keys if not key.startswith("base_output_directory=")]
  return [*others, f"base_output_directory={tmp_path / 'runs'}"]


def forget(keys: list[str]) -> pathlib.Path:
  """Makes the run one of an earlier version; its folder."""
  run = value(keys, "base_output_directory") / "held"
  (run / "run.json").unlink()
  for file in run.glob("checkpoints/*/checksums-*.json"):
    file.unlink()
  for file in run.glob("checkpoints/*/_CHECKPOINT_METADATA"):
    file.write_text(json.dumps(json.loads(file.read_text()) | {"custom_metadata": None}))
  return run


def test_an_old_run_is_held_to_its_model_and_gets_a_fingerprint(keys, tmp_path):
  copy = copy_of(keys, tmp_path)
  run = forget(copy)
  assert "rope_max_timescale is 100, was 1000000" in refused(copy, "rope_max_timescale=100")
  assert goes_on(copy, "adam_b2=0.9") == 1, "nobody knows what it was"
  assert json.loads((run / "run.json").read_text())["fingerprint"]["adam_b2"] == "0.9"
  assert "adam_b2 is 0.8, was 0.9" in refused(copy, "adam_b2=0.8")


def test_an_old_run_with_another_optimizer_is_one_line(keys, tmp_path):
  copy = copy_of(keys, tmp_path)
  forget(copy)
  assert "checkpoints/1 does not fit this configuration: give the keys" in refused(
    copy, "opt_type=sgd"
  )


def test_a_filter_that_is_accepted_drops_and_counts_what_waits(keys, tmp_path):
  copy = copy_of(keys, tmp_path)
  change = ("min_characters=8", "accept_changes=[min_characters]")
  with prepare(load(tiny.DEMO, [*copy, *change])) as run:
    state = run.batches.get_state()
    dropped = state["tally"]["dropped"]["outside min_characters"]
    assert dropped > 0 and len(state["waiting"]) > 0
    assert next(run.batches)["inputs"].any()


def test_only_what_can_change_is_accepted(keys):
  with pytest.raises(ValueError, match="accept_changes: opt_type cannot change within a run"):
    load(tiny.DEMO, [*keys, "accept_changes=[opt_type]"])


def test_a_run_that_is_being_written_is_left_alone(keys):
  config = load(tiny.DEMO, keys)
  before = content(keys)
  with sole_writer(run_dir_of(config), "run", "run"), pytest.raises(LockedError) as refusal:
    train(config)
  assert content(keys) == before
  assert str(refusal.value) == (
    f"{run_dir_of(config)}: another run writes there, process {os.getpid()} on"
    f" {socket.gethostname()}; wait for its end, or give another run_name"
  )


def decoding(keys: list[str], *changes: str) -> None:
  """Asks what decoding asks before weights are loaded."""
  config = load(tiny.DEMO, [*keys, *changes])
  check_model(config, find_weights(config))


def test_decoding_takes_the_model_and_the_tokenizer_of_the_run(keys, tmp_path):
  train_char_tokenizer(["other letters"], tmp_path / "other", ["English"])
  changes = ["rope_max_timescale=100", f"tokenizer_path={tmp_path / 'other'}"]
  with pytest.raises(ValueError, match="items is of another model: ") as refusal:
    decoding(keys, *changes)
  assert "rope_max_timescale is 100, was 1000000; tokenizer_path is " in str(refusal.value)


def test_decoding_may_differ_in_what_training_alone_needs_and_says_how_prompts_do(keys, caplog):
  with caplog.at_level(logging.WARNING, "maxtext_ext.checkpoint.fingerprint"):
    decoding(keys, "learning_rate=1", "min_seconds=1", "split=train", "max_new_tokens=9", "steps=7")
    assert not caplog.records
    decoding(keys, "context=names")
  (record,) = caplog.records
  assert "context is names, was ''" in record.getMessage()


def test_a_transcriber_takes_the_model_of_the_run(keys):
  run = value(keys, "base_output_directory") / "held"
  with pytest.raises(ValueError, match="rope_max_timescale is 100, was 1000000"):
    Transcriber.from_pretrained(run, rope_max_timescale=100)


def test_a_run_that_starts_from_weights_of_another_model_is_told(keys, caplog):
  path = f"load_parameters_path={value(keys, 'base_output_directory') / 'held'}"
  config = load(tiny.DEMO, [*keys, path, "run_name=new", "rope_max_timescale=100"])
  config = with_base_weights(config)
  with caplog.at_level(logging.WARNING, "maxtext_ext.checkpoint.fingerprint"):
    warn_of_other_model(config, config.load_parameters_path)
  (record,) = caplog.records
  assert "rope_max_timescale is 100, was 1000000" in record.getMessage()


def test_unusual_keys_stand_in_the_model_file(keys, tmp_path):
  write_model(load(tiny.DEMO, [*keys, "final_logits_soft_cap=30.0"]), str(tmp_path))
  again = load("configs/speech.yml", [f"model_name={tmp_path}"])
  assert again.final_logits_soft_cap == 30.0
  stored = yaml.safe_load((tmp_path / "model.yml").read_text())
  assert set(stored) == {*shape_keys(), "scan_layers", "dtype", "weight_dtype"} | {
    "final_logits_soft_cap"
  }
