"""A rehearsal on two workers: training with a worker that is killed, decoding, evaluation."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from gcs_server import GcsServer, StoredObject
from standins.cloud import Cloud
from standins.running import ROOT, environment

from tests import tiny
from tests.train.processes import free_address

SLICE = "qr-v4-16"
WORKERS = 2
STEPS = 4  # with a checkpoint after each two
CLIPS = 8  # of the test split
RUNS = "gs://bucket/checkpoints"
# A row of one window for each worker.
KEYS = (
  *tiny.SHAPE,
  *("base_num_decoder_layers=1", "encoder_layers_for_audio=1", "per_device_batch_size=1"),
  *("max_target_length=128", "windows_per_row=1", "max_seconds=4", "curriculum=[]"),
  *("packing_lookahead=16", "eval_interval=-1", "enable_tensorboard=false"),
  *(f"steps={STEPS}", "checkpoint_period=2", "decode_rows=2", "max_new_tokens=4"),
  f"clips_per_shard={CLIPS // WORKERS}",  # each worker writes one
  "tokenizer_path=gs://bucket/tokenizer",
)
# What a TPU knows of itself, workers of the stand-in are told; and they have no TensorFlow, which
# would take gs:// for itself. One that hangs says where.
SITE = """
import faulthandler, os, sys
sys.modules["tensorflow"] = None
faulthandler.dump_traceback_later(400)
if "MULTIHOST_WORKER" in os.environ:
  os.environ["JAX_PROCESS_ID"] = os.environ["MULTIHOST_WORKER"]
"""


class Bucket(GcsServer):
  """A bucket in which a checkpoint can be held up.

  Attributes:
    held: what is not stored before `go_on`: objects with this in their names.
    reached: there is such an object.
  """

  def __init__(self) -> None:
    super().__init__("bucket")
    self.held = ""
    self.reached = threading.Event()
    self.go_on = threading.Event()

  def store(self, bucket: str, name: str, *content: object) -> StoredObject:
    if self.held and self.held in name:
      self.reached.set()
      self.go_on.wait()
    return super().store(bucket, name, *content)


class Pod:
  """Two workers, a bucket, and a machine beside them.

  Attributes:
    cloud: the workers.
    bucket: gs://bucket.
  """

  def __init__(self, cloud: Cloud, bucket: Bucket, site: Path) -> None:
    self.cloud = cloud
    self.bucket = bucket
    self._site = site
    self._runners: list[subprocess.Popen] = []
    cloud.add_slice(SLICE, workers=WORKERS, accelerator_type="v4-16")
    for worker in range(WORKERS):
      (cloud.home(SLICE, worker) / "venv-maxtext").symlink_to(sys.prefix)
    (cloud.folder / "tmp").mkdir()

  def start(self, script: str, run_name: str, *flags: str) -> subprocess.Popen:
    """Starts a script of tools/ for the tiny model."""
    cluster = {"JAX_COORDINATOR_ADDRESS": free_address(), "JAX_NUM_PROCESSES": str(WORKERS)}
    settings = {"TPU_NAME": SLICE, "PROJECT": "p", "BUCKET": "gs://bucket"}
    with self._said.open("w") as said:
      runner = subprocess.Popen(
        [
          *(f"tools/{script}", *flags, "--ENV=MAXTEXT_EXT_RUN_SECRET", tiny.DEMO),
          *(*KEYS, f"run_name={run_name}", f"jax_cache_dir={self.cloud.folder / 'cache'}"),
        ],
        cwd=ROOT,
        env=environment(
          self.cloud,
          **(self.bucket.environment | cluster | settings),
          PYTHONPATH=str(self._site),
          MODEL_NAME="",  # that of the configuration
          SPLITS="test",
          VIRTUAL_ENV="",
          JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",  # the next processes compile nothing
          MAXTEXT_EXT_RUN_SECRET="known to this run",
        ),
        stdout=said,
        stderr=subprocess.STDOUT,
      )
    self._runners.append(runner)
    return runner

  @property
  def _said(self) -> Path:
    return self.cloud.folder / "said"

  def finish(self, runner: subprocess.Popen) -> str:
    """Returns what the runner said; it must succeed."""
    try:
      status = runner.wait(timeout=600)
    except subprocess.TimeoutExpired:
      status = None
    said = self._said.read_text()
    assert status == 0, said
    return said

  def kill(self, worker: int, run_name: str) -> None:
    """Kills the training of a worker, which runs the copied code."""
    home = self.cloud.home(SLICE, worker)
    training = f"{home}/venv-maxtext/bin/python -m maxtext_ext.cli train "
    found = self.cloud.processes(SLICE, worker).items()
    (pid,) = [pid for pid, command in found if command.startswith(training)]
    assert Path(f"/proc/{pid}/cwd").readlink() == home / f"train-{run_name}"
    os.kill(pid, signal.SIGKILL)

  def losses(self, run_name: str) -> dict[int, float]:
    """The loss of each step."""
    lines = self.bucket.files(f"{RUNS}/{run_name}")["metrics.jsonl"].splitlines()
    return {line["step"]: line["loss"] for line in map(json.loads, lines)}

  def close(self) -> None:
    """Ends what still runs."""
    self.bucket.go_on.set()
    for runner in self._runners:
      runner.kill()
      runner.wait()


@pytest.fixture
def pod(cloud: Cloud, tmp_path: Path) -> Iterator[Pod]:
  """A pod whose bucket has data and a tokenizer."""
  tiny.make_run(tmp_path, train=24, test=CLIPS)
  (tmp_path / "sitecustomize.py").write_text(SITE)
  with Bucket() as bucket:
    for part, folder in (("data", "grain_data_arrayrecord"), ("tokenizer", "tokenizer")):
      for path in (tmp_path / part).iterdir():
        bucket.put(f"gs://bucket/{folder}/{path.name}", path.read_bytes())
    pod = Pod(cloud, bucket, tmp_path)
    try:
      yield pod
    finally:
      pod.close()


@pytest.mark.cpu_only
@pytest.mark.integration_test
@pytest.mark.slow
def test_a_run_that_loses_a_worker_ends_as_if_it_had_not(pod: Pod) -> None:
  pod.finish(pod.start("train.sh", "undisturbed"))

  # The last checkpoint is held up, so the first is complete and the run cannot end.
  pod.bucket.held = f"checkpoints/disturbed/checkpoints/{STEPS}"
  runner = pod.start("train.sh", "disturbed", "--restarts=1")
  assert pod.bucket.reached.wait(timeout=600)
  pod.kill(1, "disturbed")
  pod.bucket.go_on.set()
  said = pod.finish(runner)
  assert "worker 1 was ended by signal 9 (SIGKILL); stopping the others" in said
  assert "failure 1, of 1 allowed: worker 1 was ended by signal 9 (SIGKILL)" in said
  assert f"{RUNS}/disturbed: resumes after step 2 of {STEPS}" in said
  assert list(pod.losses("disturbed")) == [1, 2, 3, 4]
  assert pod.losses("disturbed") == pod.losses("undisturbed")

  pod.finish(pod.start("run_batch_inference.sh", "disturbed"))
  decoded = pod.bucket.files(f"{RUNS}/disturbed/decoded")
  shards = {name: data.count(b"\n") for name, data in decoded.items() if name.endswith(".jsonl")}
  names = [f"test/hypotheses-{shard:05d}-of-{WORKERS:05d}.jsonl" for shard in range(WORKERS)]
  assert shards == dict.fromkeys(names, CLIPS // WORKERS)
  report = json.loads(decoded["test.json"])
  assert (report["run"], report["split"], report["step"]) == ("disturbed", "test", STEPS)
  assert report["details"]["all"]["utterances"] == CLIPS
