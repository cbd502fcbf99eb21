"""A rehearsal on four workers: training with a worker that is killed, decoding, evaluation."""

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from gcs_server import GcsServer, StoredObject

from tests import tiny
from tests.standins.cloud import VARIABLE, Cloud
from tests.train.processes import free_address

ROOT = Path(__file__).parents[3]
RUNNER = ROOT / "tools" / "orchestration" / "multihost_runner.py"
SLICE = "pod"
WORKERS = 4
MODULE = "-m maxtext_ext.cli"
FOLDER = "code"  # of the workers, where the code is copied to
STEPS = 4  # with a checkpoint after each two
CLIPS = 8  # of the test split
RUNS = "gs://bucket/runs"
# A row of one window for each worker.
KEYS = (
  *tiny.SHAPE,
  *("base_num_decoder_layers=1", "encoder_layers_for_audio=1", "per_device_batch_size=1"),
  *("max_target_length=128", "windows_per_row=1", "max_seconds=4", "curriculum=[]"),
  *("packing_lookahead=16", "eval_interval=-1", "enable_tensorboard=false"),
  *("decode_rows=2", "max_new_tokens=4"),
  *("data_dir=gs://bucket/data", "tokenizer_path=gs://bucket/tokenizer"),
  f"base_output_directory={RUNS}",
)
# Of a test machine that has TensorFlow, which would take gs:// for itself.
NO_TENSORFLOW = 'import sys\nsys.modules["tensorflow"] = None\n'


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
  """Four workers, a bucket, and the runner on a machine beside them."""

  def __init__(self, folder: Path, bucket: Bucket) -> None:
    self.bucket = bucket
    self.cloud = Cloud(folder / "cloud")
    self.cloud.add_slice(SLICE, WORKERS)
    self._folder = folder
    self._runners: list[subprocess.Popen] = []

  def run(self, words: list[str], *flags: str) -> subprocess.Popen:
    """Starts a command of the package on the workers; the runner's output goes to `said`."""
    command = (
      f"JAX_COORDINATOR_ADDRESS={free_address()} JAX_NUM_PROCESSES={WORKERS}"
      f' JAX_PROCESS_ID="${{STANDIN_WORKER#*/}}" PYTHONPATH="$PWD:{self._folder / "site"}"'
      f" {shlex.join([sys.executable, *MODULE.split(), *words])}"
    )
    with (self._folder / "said").open("w") as said:
      runner = subprocess.Popen(
        [
          *(sys.executable, RUNNER, f"--TPU_PREFIX={SLICE}", "--PROJECT=p", "--ZONE=z"),
          *("--INTERNAL_IP=true", f"--RUN_NAME={FOLDER}", f"--LOG_DIR={self._folder / 'logs'}"),
          *("--ENV=MAXTEXT_EXT_RUN_SECRET", f"--COMMAND={command}", *flags),
        ],
        cwd=ROOT,
        env={
          **os.environ,
          **self.bucket.environment,
          VARIABLE: str(self.cloud.folder),
          "PATH": f"{ROOT / 'tests' / 'standins'}:{os.environ['PATH']}",
          "MULTIHOST_SETTLE": "0",  # no slice is taken away here
          "MAXTEXT_EXT_RUN_SECRET": "known to this run",
        },
        stdout=said,
        stderr=subprocess.STDOUT,
      )
    self._runners.append(runner)
    return runner

  def run_model(self, what: str, *keys: str, flags: tuple[str, ...] = ()) -> subprocess.Popen:
    """Starts training or decoding with the tiny model."""
    cache = f"jax_cache_dir={self._folder / 'cache'}"
    return self.run([what, tiny.DEMO, *tiny.last_wins([*KEYS, cache, *keys])], *flags)

  def finish(self, runner: subprocess.Popen) -> str:
    """What the runner said, which must succeed."""
    status = runner.wait(timeout=600)
    said = (self._folder / "said").read_text()
    assert status == 0, said
    return said

  def kill(self, worker: int) -> None:
    """Kills the training of a worker, in the folder with the copied code."""
    found = self.cloud.processes(SLICE, worker).items()
    pids = [pid for pid, command in found if command.startswith(f"{sys.executable} {MODULE} train")]
    (pid,) = pids
    assert Path(f"/proc/{pid}/cwd").readlink() == self.cloud.home(SLICE, worker) / FOLDER
    os.kill(pid, signal.SIGKILL)

  def losses(self, run: str) -> dict[int, float]:
    """The loss of each step."""
    lines = self.bucket.files(f"{RUNS}/{run}")["metrics.jsonl"].splitlines()
    return {line["step"]: line["loss"] for line in map(json.loads, lines)}

  def close(self) -> None:
    """Ends what still runs."""
    self.bucket.go_on.set()
    for runner in self._runners:
      runner.kill()
      runner.wait()
    for worker in range(WORKERS):
      self.cloud.end_machine(SLICE, worker)


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Pod]:
  """A pod whose bucket has data and a tokenizer."""
  tiny.make_run(tmp_path, train=24, test=CLIPS)
  (tmp_path / "site").mkdir()
  (tmp_path / "site" / "sitecustomize.py").write_text(NO_TENSORFLOW)
  with Bucket() as bucket:
    for part in ("data", "tokenizer"):
      for path in (tmp_path / part).iterdir():
        bucket.put(f"gs://bucket/{part}/{path.name}", path.read_bytes())
    pod = Pod(tmp_path, bucket)
    try:
      yield pod
    finally:
      pod.close()


@pytest.mark.cpu_only
@pytest.mark.integration_test
@pytest.mark.slow
def test_a_run_that_loses_a_worker_ends_as_if_it_had_not(pod: Pod) -> None:
  there = "--USE_EXISTING_FOLDER=true"
  training = (f"steps={STEPS}", "checkpoint_period=2")
  pod.finish(pod.run_model("train", "run_name=undisturbed", *training))

  # The last checkpoint is held up, so the first is complete and the run cannot end.
  pod.bucket.held = f"runs/disturbed/checkpoints/{STEPS}"
  keys = ("run_name=disturbed", *training)
  runner = pod.run_model("train", *keys, flags=(there, "--restarts=1"))
  assert pod.bucket.reached.wait(timeout=600)
  pod.kill(2)
  pod.bucket.go_on.set()
  said = pod.finish(runner)
  assert "worker 2 was ended by signal 9 (SIGKILL); stopping the others" in said
  assert "failure 1, of 1 allowed: worker 2 was ended by signal 9 (SIGKILL)" in said
  assert f"{RUNS}/disturbed: goes on after step 2 of {STEPS}" in said
  assert list(pod.losses("disturbed")) == [1, 2, 3, 4]
  assert pod.losses("disturbed") == pod.losses("undisturbed")

  pod.finish(pod.run_model("decode", "run_name=disturbed", "split=test", flags=(there,)))
  decoded = pod.bucket.files(f"{RUNS}/disturbed/decoded/test")
  shards = {name: data.count(b"\n") for name, data in decoded.items() if name.endswith(".jsonl")}
  names = [f"hypotheses-{worker:05d}-of-{WORKERS:05d}.jsonl" for worker in range(WORKERS)]
  assert shards == dict.fromkeys(names, CLIPS // WORKERS)

  words = ["evaluate", f"{RUNS}/disturbed/decoded/test", "--report", "report.html"]
  pod.finish(pod.run(words, there, "--WORKER=0"))
  report = json.loads((pod.cloud.home(SLICE, 0) / FOLDER / "report.json").read_text())
  assert (report["run"], report["split"], report["step"]) == ("disturbed", "test", STEPS)
  assert report["details"]["all"]["utterances"] == CLIPS
