"""Memory and cost of decoding by estimate, against the arrays that there are."""

import jax
import pytest

from maxtext_ext.planning.compile_step import load_for
from maxtext_ext.planning.topology import parse_topology
from maxtext_ext.planning.uncompiled_decode import DecodeEstimator

GPU = parse_topology("gpu:80GB")
TINY = ["model_name=qwen3-asr-tiny", "windows_per_row=1", "max_target_length=256", "max_seconds=15"]
TINY += ["weight_dtype=bfloat16"]
PLACE_BYTES = 2 * 2 * 2 * 32 * 2  # two layers, keys and values, two heads of 32, bfloat16


@pytest.fixture(scope="module")
def estimator():
  config = load_for("configs/speech.yml", TINY, GPU)
  return DecodeEstimator(config, jax.devices()[:1], "gpu", GPU.chip.hbm_bytes)


def test_arrays_are_counted_exactly(estimator):
  shape, memory = estimator.describe(), estimator.memory(64, 512, "O0")
  assert shape.place_bytes == PLACE_BYTES
  assert shape.weights_bytes == memory.weights == pytest.approx(2 * 0.7e6, rel=0.1)
  assert memory.cache == pytest.approx(64 * 512 * PLACE_BYTES, rel=0.01)
  assert memory.total.used > memory.weights + memory.cache + memory.ready
  more = estimator.memory(128, 512, "O0")
  assert more.cache == 2 * memory.cache
  assert more.weights == memory.weights


def test_work_grows_with_slots_and_weights_are_read_once(estimator):
  few, many = estimator.costs(64), estimator.costs(128)
  assert many.step.flops == 2 * few.step.flops
  assert few.step.hbm_bytes < many.step.hbm_bytes < 2 * few.step.hbm_bytes
  assert many.prefill == few.prefill
  assert few.prefill.flops > few.encode.flops > 0
