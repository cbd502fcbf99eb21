"""A CTC model from training in length buckets to transcripts."""

import json
import pathlib

import pytest

from maxtext_ext import Transcriber
from maxtext_ext.decode import decode
from maxtext_ext.evaluate.evaluate import evaluate
from maxtext_ext.files.jsonl import METRICS_FILE, read_metrics
from maxtext_ext.records.schema import Record
from maxtext_ext.text.alphabet import Alphabet
from maxtext_ext.train.loop import main
from maxtext_ext.train.metric_writer import UNALIGNED_FILE
from tests import tiny
from tests.families.toy_ctc_test import LETTERS, clips, tones
from tests.train.loop_test import assert_same_weights, losses, weights

YML = """
base_config: configs/experiments/lmu_demo.yml
encoder: {layers: 1, width: 32, heads: 2, memory: 4, memory_d: 8, theta: 8, num_mel_bins: 20}
vocab_size: 5
spec_augment_frames: 0
"""


@pytest.mark.integration_test
@pytest.mark.slow
def test_an_lmu_trains_in_buckets_resumes_decodes_and_is_scored(tmp_path: pathlib.Path):
  yml = tmp_path / "lmu.yml"
  yml.write_text(YML)
  quick = Record(sample_id="quick", audio=tones("a"), text="a" * 12)
  tiny.write_split(tmp_path / "data", "train", [*clips(64, seed=0), quick])
  tiny.write_split(tmp_path / "data", "validation", clips(6, seed=1), shards=1)
  tiny.write_split(tmp_path / "data", "test", clips(6, seed=2), shards=1)
  Alphabet(LETTERS).write(tmp_path / "alphabet")
  keys = [
    *(f"data_dir={tmp_path / 'data'}", f"tokenizer_path={tmp_path / 'alphabet'}"),
    *(f"base_output_directory={tmp_path / 'runs'}", f"jax_cache_dir={tmp_path / 'programs'}"),
    *("per_device_batch_seconds=12", "length_buckets=2", "max_seconds=6", "steps=200"),
    *("checkpoint_period=100", "learning_rate=0.01", "eval_interval=100"),
  ]
  whole = main(str(yml), [*keys, "run_name=whole"])
  half = ["run_name=cut", "steps=100", "learning_rate_schedule_steps=200"]
  main(str(yml), tiny.last_wins([*keys, *half]))
  resumed = main(str(yml), [*keys, "run_name=cut"])
  assert losses(resumed.run_dir) == losses(whole.run_dir)
  assert_same_weights(weights(resumed.run_dir, 200), weights(whole.run_dir, 200))
  metrics = pathlib.Path(whole.run_dir, METRICS_FILE)
  assert len({rows for _, rows in read_metrics(metrics, "clips")}) > 1, "batches of equal seconds"
  assert [step for step, _ in read_metrics(metrics, "eval_wer")] == [100, 200]
  _, last = read_metrics(metrics, "eval_loss")[-1]
  assert last < 0.5 * losses(whole.run_dir)[1], (last, losses(whole.run_dir)[1])
  left_out = pathlib.Path(whole.run_dir, UNALIGNED_FILE).read_text().splitlines()
  assert {json.loads(line)["id"] for line in left_out} == {"quick"}
  assert not any(clips for _, clips in read_metrics(metrics, "unaligned_clips"))
  decoded = decode.main(str(yml), [*keys, "run_name=whole"])
  assert (decoded.clips, decoded.cut) == (6, 0)
  assert evaluate(decoded.output).overall.utterances == 6
  said = Transcriber.from_pretrained(whole.run_dir).transcribe(tones("cab a"))
  assert set(said.text) <= set(LETTERS)
