"""A plain language model with the template instruct: one trainer, decoder and Transcriber."""

import pathlib

import numpy as np
import pytest
import yaml

from maxtext_ext import Transcriber
from maxtext_ext.decode import decode
from maxtext_ext.evaluate.evaluate import evaluate
from maxtext_ext.files.jsonl import METRICS_FILE, read_metrics
from maxtext_ext.keys.yml import MODEL_FILE
from maxtext_ext.train.loop import main
from tests import tiny
from tests.text.templates.instruct_test import byte_level

# As SmolLM2's layers, in the shape of the demo.
LLAMA2 = ("decoder_block=llama2", "use_qk_norm=false", "rope_max_timescale=100000")
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


@pytest.mark.slow
@pytest.mark.integration_test
def test_it_trains_is_evaluated_decoded_and_transcribes(tmp_path: pathlib.Path):
  tokenizer = byte_level(tmp_path / "smollm2", SPECIAL, eos_token="<|im_end|>")
  keys = tiny.last_wins(
    [
      *tiny.make_run(tmp_path, train=16),
      *(*LLAMA2, "template=instruct", "instruction=Write.", f"tokenizer_path={tokenizer}"),
      *("base_num_decoder_layers=1", "per_device_batch_size=2", "max_new_tokens=4"),
      *("steps=2", "checkpoint_period=2", "eval_interval=2", "eval_clips=2", "run_name=smollm2"),
      f"jax_cache_dir={tmp_path / 'programs'}",
    ]
  )
  run = main(tiny.DEMO, keys)
  assert [step for step, _ in read_metrics(pathlib.Path(run.run_dir, METRICS_FILE), "eval_wer")]
  decoded = decode.main(tiny.DEMO, keys)
  assert decoded.clips == 6
  assert evaluate(decoded.output).overall.utterances == 6
  model = yaml.safe_load(pathlib.Path(run.run_dir, MODEL_FILE).read_text())
  assert model["instruction"] == "Write."
  transcriber = Transcriber.from_pretrained(run.run_dir)
  (said,) = transcriber.transcribe([np.zeros(16_000, np.float32) + 0.1], language="he")
  assert said.language == "Hebrew"
