"""An encoder of its own is one file, one line in ENCODERS and one yml; nothing else changes."""

import pathlib

import pytest

from maxtext_ext.decode import decode
from maxtext_ext.evaluate.evaluate import evaluate
from maxtext_ext.models.encoders import ENCODERS
from maxtext_ext.train.loop import main
from tests import tiny
from tests.families.toy_encoder import ToyEncoder
from tests.train.loop_test import assert_same_weights, losses, weights

YML = """
base_config: configs/experiments/demo.yml
speech_encoder: toy
encoder: {width: 24, num_mel_bins: 40}
"""


@pytest.mark.integration_test
def test_a_toy_encoder_trains_resumes_decodes_and_is_scored(tmp_path: pathlib.Path, monkeypatch):
  monkeypatch.setitem(ENCODERS, "toy", ToyEncoder)
  yml = tmp_path / "toy.yml"
  yml.write_text(YML)
  keys = [
    *tiny.make_run(tmp_path, train=24),
    *("base_num_decoder_layers=1", "per_device_batch_size=2", "max_new_tokens=4"),
    *("steps=4", "checkpoint_period=2", f"jax_cache_dir={tmp_path / 'programs'}"),
  ]
  whole = main(str(yml), [*keys, "run_name=whole", "learning_rate=0.01"])
  half = ["steps=2", "learning_rate_schedule_steps=4"]
  main(str(yml), tiny.last_wins([*keys, "run_name=cut", "learning_rate=0.01", *half]))
  resumed = main(str(yml), [*keys, "run_name=cut", "learning_rate=0.01"])
  assert losses(resumed.run_dir) == losses(whole.run_dir)
  assert_same_weights(weights(resumed.run_dir, 4), weights(whole.run_dir, 4))
  encoder = [path for path in weights(whole.run_dir, 4) if "speech_encoder" in path]
  assert any(path.endswith("project/kernel") for path in encoder)

  decoded = decode.main(str(yml), [*keys, "run_name=whole"])
  assert decoded.clips == 6
  assert evaluate(decoded.output).overall.utterances == 6
