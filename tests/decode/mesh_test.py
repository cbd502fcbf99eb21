"""Answers on several devices are those on one."""

import json
import subprocess
import sys

import numpy as np
import pytest

from maxtext_ext.text.tokenizer import train_char_tokenizer
from tests import tiny
from tests.decode.on_devices import CONTROLS, DRAFTED, MODELS
from tests.train.processes import ROOT, environment, xla_flags

CASES = ("dense/fsdp", "dense/tensor", "mixture/fsdp", "adapted/tensor")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
  """Answers by case."""
  folder = tmp_path_factory.mktemp("tokenizer")
  train_char_tokenizer(tiny.WORDS, folder, ["English", "Hebrew"])
  run = subprocess.run(
    [
      *(sys.executable, "-m", "tests.decode.on_devices", str(folder)),
      *(f"{model}/one" for model in MODELS),
      *CASES,
    ],
    cwd=ROOT,
    env=environment(XLA_FLAGS=xla_flags(4)),
    stdout=subprocess.PIPE,
    check=True,
    text=True,
  )
  return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.cpu_only
@pytest.mark.slow
@pytest.mark.parametrize("case", [*CASES, f"{DRAFTED}/drafted"])
def test_answers_do_not_depend_on_the_number_of_devices(found, case):
  one, several = found[f"{case.partition('/')[0]}/one"], found[case]
  assert {id_: tokens for id_, (tokens, *_) in several.items()} == {
    id_: tokens for id_, (tokens, *_) in one.items()
  }
  for id_, (tokens, log_probs, accepted) in several.items():
    np.testing.assert_allclose(log_probs, one[id_][1], atol=1e-5)
    number = int(id_.removeprefix("clip").partition("-")[0]) % len(CONTROLS)
    if case.endswith("drafted") and number == 0:
      assert accepted >= len(tokens) - 1, "of its own text"
    elif CONTROLS[number]:
      assert accepted == 0, "these are no greedy clips"
  assert len({tuple(tokens) for tokens, *_ in one.values()}) > 5, "the clips differ"
