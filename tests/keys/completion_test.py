"""Completions that a shell offers for the beginning of an argument."""

import pytest

from maxtext_ext.keys.completion import complete_config, complete_override


@pytest.mark.parametrize(
  ("before", "incomplete", "offered"),
  [
    ([], "ste", ["steps=", "steps=1000"]),
    (["steps=3"], "decode_r", ["decode_rows=", "decode_rows=32"]),
    ([], "use_qk_n", ["use_qk_norm=", "use_qk_norm_in_gdn="]),  # MaxText's alone
    ([], "dtype=", ["dtype=float32", "dtype=bfloat16", "dtype=float16"]),
    ([], "verbose=t", ["verbose=true"]),
    ([], "steps=", []),
    ([], "nonsense", []),
    ([], "nonsense=", []),
    ([], "checkpoint_di", []),  # follows from other keys
    # As bash cuts `dtype=` and `dtype=b` into words.
    (["dtype"], "", ["float32", "bfloat16", "float16"]),
    (["dtype", "="], "b", ["bfloat16"]),
    (["dtype", "=", "bfloat16"], "verbo", ["verbose=", "verbose=true", "verbose=false"]),
  ],
)
def test_keys_and_choices_are_offered(before, incomplete, offered):
  assert complete_override(before, incomplete) == offered


def test_without_a_beginning_the_keys_of_a_run_are_offered():
  offered = complete_override([], "")
  assert "learning_rate=" in offered and "lora_rank=" in offered
  assert "wandb_project_name=" not in offered, "the others only when they are begun"


def test_configurations_are_offered():
  assert complete_config("configs/experiments/d") == ["configs/experiments/demo.yml"]
