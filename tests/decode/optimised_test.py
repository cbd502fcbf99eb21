"""Answers are the same bits in every slot and order, in code that XLA optimises as it usually does.

Other tests compile quickly instead.
"""

import json
import subprocess
import sys

import pytest

from maxtext_ext.text.tokenizer import train_char_tokenizer
from tests import tiny
from tests.train.processes import ROOT, environment


@pytest.mark.cpu_only
@pytest.mark.slow
def test_answers_have_the_same_bits_in_every_order(tmp_path):
  train_char_tokenizer(tiny.WORDS, tmp_path, ["English", "Hebrew"])
  run = subprocess.run(
    [sys.executable, "-m", "tests.decode.in_orders", str(tmp_path)],
    cwd=ROOT,
    env=environment(XLA_FLAGS=""),
    stdout=subprocess.PIPE,
    check=True,
    text=True,
  )
  found = json.loads(run.stdout.splitlines()[-1])
  assert len({tuple(tokens) for tokens, _ in found.values()}) > 5, "the clips differ"
  assert {id_: off for id_, (_, off) in found.items() if off} == {}
