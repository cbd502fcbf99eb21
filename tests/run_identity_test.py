import fnmatch

import pytest

from maxtext_ext import run_identity
from maxtext_ext.checkpoint.model_file import shape_keys
from maxtext_ext.config import SpeechConfig
from maxtext_ext.run_identity import (
  describe_differences,
  fingerprint_of_keys,
  fingerprint_of_process,
  is_harmless,
)


@pytest.mark.parametrize(
  "table", ["HARMLESS", "CHANGEABLE", "TRAINING_ONLY", "OF_DECODING", "OF_A_MACHINE"]
)
def test_every_name_in_the_tables_is_of_a_key(table):
  known = SpeechConfig.model_fields
  patterns = getattr(run_identity, table)
  assert [pattern for pattern in patterns if not fnmatch.filter(known, pattern)] == []


def test_the_shape_of_a_model_the_optimizer_and_the_data_order_count():
  names = [
    *(set(shape_keys()) - {"attention", "tokenizer_path", "checkpoint_family"}),
    *("opt_type", "learning_rate", "adam_b2", "train_parts", "lora_rank", "lora_targets"),
    *("data_shuffle_seed", "init_weights_seed", "mixture", "mixture_temperature", "train_split"),
    *("max_target_length", "packing_lookahead", "windows_per_row", "min_characters"),
    *("language_in_prompt", "context", "curriculum", "scan_layers", "dtype", "weight_dtype"),
  ]
  assert [name for name in names if is_harmless(name)] == []
  contents = {"data_dir", "noise_dir", "rir_dir"}  # which count in their stead
  assert {name for name in run_identity.CHANGEABLE if is_harmless(name)} == contents


def test_logging_intervals_rows_and_places_do_not_count():
  keys = dict.fromkeys(
    [
      *("steps", "eval_interval", "checkpoint_period", "per_device_batch_size", "run_name"),
      *("data_dir", "tokenizer_path", "verbose", "dump_hlo", "remat_policy", "attention"),
      *("ici_fsdp_parallelism", "decode_rows", "max_new_tokens", "emb_dim"),
      *("tokens_per_second", "loop_repeats", "beams", "length_penalty"),
    ],
    1,
  )
  assert fingerprint_of_keys(keys) == {}


@pytest.mark.parametrize(
  ("one", "other"),
  [
    ({"max_seconds": 30}, {"max_seconds": 30.0}),
    ({"speed_range": (0.9, 1.0)}, {"speed_range": [0.9, 1]}),
    (
      {"mixture": [{"name": "a", "data_dir": "/x", "weight": 2}]},
      {"mixture": [{"name": "a", "data_dir": "/y", "weight": 2.0, "split": ""}]},
    ),
  ],
)
def test_values_that_mean_the_same_are_the_same(one, other):
  assert fingerprint_of_keys(one) == fingerprint_of_keys(other) != {}


def test_differences_name_each_key_with_both_values():
  ours = fingerprint_of_keys({"learning_rate": 0.5, "opt_type": "sgd", "adam_b2": 0.95})
  theirs = fingerprint_of_keys({"learning_rate": 2e-3, "opt_type": "adamw", "adam_b2": 0.95})
  assert describe_differences(ours, theirs) == [
    "learning_rate is 0.5, was 0.002",
    "opt_type is sgd, was adamw",
  ]


def test_a_long_value_is_shown_where_it_differs():
  ours, theirs = {"context": "a" * 500 + "b" * 500}, {"context": "a" * 500 + "c" * 500}
  (line,) = describe_differences(ours, theirs)
  assert len(line) < 200
  assert "...aaaaaaaaaabbbb" in line and "...aaaaaaaaaacccc" in line


def test_processes_must_agree_on_steps_but_not_on_where_their_copies_lie():
  one = fingerprint_of_process({"steps": 10, "learning_rate": 2e-3, "data_dir": "/a"})
  other = fingerprint_of_process({"steps": 20, "learning_rate": 2e-3, "data_dir": "/b"})
  labels = ("is", "on process 0")
  assert describe_differences(other, one, labels=labels) == ["steps is 20, on process 0 10"]


def test_a_key_that_only_one_process_is_given_is_a_difference():
  one, other = fingerprint_of_process({}), fingerprint_of_process({"learning_rate": 0.5})
  assert describe_differences(other, one) == ["learning_rate is 0.5, was nothing"]
