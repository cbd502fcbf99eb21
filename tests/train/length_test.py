"""The length of a run that is given in epochs."""

import pytest

from maxtext_ext import bridge
from maxtext_ext.config import load
from maxtext_ext.train.length import with_steps
from maxtext_ext.train.optimizer import make_optimizer
from tests import tiny


def test_epochs_become_steps_and_their_schedule(tmp_path, capsys):
  keys = [*tiny.make_run(tmp_path, train=200), "lr_schedule_type=cosine", "packing_lookahead=64"]
  keys += ["learning_rate=1.0", "learning_rate_final_fraction=0.1", "per_device_batch_size=2"]
  three = with_steps(load(tiny.DEMO, [*keys, "epochs=3"]))
  said = capsys.readouterr().err
  assert said.strip().splitlines()[-1] == f"epochs=3: {three.steps} steps of 2 rows"
  one = with_steps(load(tiny.DEMO, [*keys, "epochs=1"]))
  assert three.steps == pytest.approx(3 * one.steps, abs=3) and one.steps > 3
  schedule, _ = make_optimizer(three, bridge.make_mesh(three))
  assert float(schedule(three.steps - 1)) == pytest.approx(0.1, abs=1e-3)


def test_steps_that_are_given_stay():
  config = load(tiny.DEMO, ["steps=7"])
  assert with_steps(config) is config
