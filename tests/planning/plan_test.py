"""Whole plans: a process that compiles with libtpu for chips that are not here."""

import json
import os
import subprocess
import sys

import pytest

from maxtext_ext.planning.compiler import Compiler, environment
from maxtext_ext.planning.memory import GIB
from maxtext_ext.planning.topology import parse_topology

TINY = [
  *("model_name=qwen3-asr-tiny", "windows_per_row=1", "max_target_length=256"),
  "max_seconds=15",  # of a clip that such a row holds
]
DECODED = [*TINY, "ici_fsdp_parallelism=1", "ici_data_parallelism=2", "ici_tensor_parallelism=2"]
CONFIG = "configs/speech.yml"


def run(*args: str) -> subprocess.CompletedProcess[str]:
  command = [sys.executable, "-m", "maxtext_ext.cli", "plan", CONFIG, *args]
  return subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)


def test_the_users_own_environment_stays_as_it_is():
  before = dict(os.environ)
  assert environment(parse_topology("v5e-8"))["TPU_ACCELERATOR_TYPE"] == "v5litepod-8"
  assert dict(os.environ) == before


@pytest.mark.integration_test
@pytest.mark.slow
def test_the_real_step_is_compiled_for_a_v4_8():
  with Compiler(parse_topology("v4-8")) as compiler:
    shape = compiler.describe(CONFIG, [*TINY, "per_device_batch_size=2"])
    assert (shape.rows, shape.micro_rows_per_chip) == (8, 2)
    with pytest.raises(ValueError, match="unknown key nonsense"):
      compiler.describe(CONFIG, ["nonsense=1"])
    compiled = compiler.compile(CONFIG, TINY, with_cost=True)
    assert compiled.memory.available == 30.75 * GIB  # the compiler's own words, on a refusal
    assert 0.001 < compiled.memory.arguments / GIB < 0.1
    assert compiled.memory.fits
    assert compiled.cost.flops > 1e8
    assert compiled.cost.hbm_bytes > 1e6
    assert compiled.cost.sent_bytes > 1e5  # weights and gradients of 0.7M parameters over 4 chips
    # The same process compiles the programs of decoding.
    shape = compiler.describe_decode(CONFIG, DECODED)
    assert (shape.lanes, shape.slots, shape.sharding) == (2, 32, {"data": 2, "tensor": 2})
    assert shape.longest_places >= 30 * 13 + 6 * 30  # of prompt and text
    memory = compiler.decode_memory(CONFIG, DECODED, slots=16, places=256)
    # Two layers, keys and values, one of two heads of 32 numbers in bfloat16.
    assert memory.cache == pytest.approx(16 * 256 * 2 * 2 * 32 * 2, rel=0.2)
    assert memory.total.fits
    assert memory.total.used > memory.weights + memory.cache + memory.ready
    few = ("scan_layers=false", "base_num_decoder_layers=1", "encoder_layers_for_audio=1")
    costs = compiler.decode_costs(CONFIG, [*DECODED, *few], slots=16)
    assert costs.prefill.flops > costs.encode.flops > costs.step.flops > 0
    assert costs.close.hbm_bytes > 0.8 * memory.cache, "half of the cache is read and written"


@pytest.mark.integration_test
@pytest.mark.slow
def test_a_plan_for_a_gpu_by_estimate():
  finished = run(*TINY, "--topology", "gpu:80GB", "--hours", "1000", "--json", "--search")
  assert finished.returncode == 0, finished.stderr
  assert "by estimate" in finished.stdout
  figures = json.loads(finished.stdout.splitlines()[-1])
  assert figures["rows_per_chip"] > 100
  assert figures["hbm_gib_per_chip"] < 80
  for key in ("seconds_per_step", "audio_seconds_per_chip_second", "mfu", "epoch_dollars"):
    assert figures[key] > 0, key


def test_an_unknown_slice_is_one_line():
  finished = run("--topology", "v4-7")
  assert finished.returncode == 2
  assert finished.stderr.startswith("error: topology 'v4-7' is not known; expected one of v4-8,")
  assert finished.stderr.count("\n") == 1
