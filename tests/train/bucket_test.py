"""A run in a bucket: saved, lost sight of, and gone on with."""

import re

import pytest
from gcs_server import GcsServer

from tests import tiny
from tests.train.processes import launcher, wait_until


@pytest.mark.integration_test
@pytest.mark.slow
def test_a_bucket_that_cannot_be_reached_ends_the_run_and_keeps_its_checkpoints(tmp_path):
  keys = (*tiny.make_run(tmp_path, train=24), "base_output_directory=gs://bucket/runs")
  keys = (*keys, "run_name=away", "checkpoint_period=2", "per_device_batch_size=1")
  keys = (*keys, "base_num_decoder_layers=1", "encoder_layers_for_audio=1")
  keys = (*keys, "learning_rate_schedule_steps=1000")
  run = "gs://bucket/runs/away"
  with launcher(tmp_path) as made:
    with GcsServer("bucket") as server:
      training = made.start(*keys, "steps=100000", environment=server.environment)
      wait_until(lambda: "checkpoints/4/commit_success.txt" in server.files(run), training)
      server.vanish()
      assert training.wait() == 2, training.errors
    last = training.errors.splitlines()[-1]
    assert last.startswith("error: gs://bucket/runs: ") and "Cannot connect to host" in last
    assert "Traceback" not in training.errors
    whole = re.compile(r"checkpoints/(\d+)/commit_success.txt")
    with GcsServer("bucket") as again:
      again.buckets = server.buckets
      done = 4 + max(int(m[1]) for name in again.files(run) if (m := whole.fullmatch(name)))
      training = made.start(*keys, f"steps={done}", environment=again.environment)
      assert training.wait() == 0, training.errors
      assert f"checkpoints/{done}/commit_success.txt" in again.files(run)
      assert again.files(run)["metrics.jsonl"].count(b"\n") == done
