"""Memory and cost of decoding by estimate, against the arrays that there are."""

import jax
import pytest

from maxtext_ext.decode import lowering
from maxtext_ext.planning.compile_decode import DecodeCompiler
from maxtext_ext.planning.compile_step import load_for
from maxtext_ext.planning.memory import DoesNotFit
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


@pytest.mark.parametrize(
  ("keys", "problem"),
  [
    (["beams=4"], "beams is 4, expected 1, as plans are of greedy decoding"),
    (["beams=8", "decode_rows=4"], "beams is 8, expected at most decode_rows=4"),
    (["beams=4", "temperature=1"], "cannot be combined with beams=4"),
  ],
)
def test_beams_are_refused(keys, problem):
  config = load_for("configs/speech.yml", [*TINY, *keys], GPU)
  with pytest.raises(ValueError, match=problem):
    DecodeEstimator(config, jax.devices()[:1], "gpu", GPU.chip.hbm_bytes)


class Refused:
  """Lowered program that the compiler refuses."""

  def __init__(self, message):
    self.message = message

  def compile(self, compiler_options):
    raise jax.errors.JaxRuntimeError(self.message)


def test_counting_says_when_memory_runs_out(estimator, monkeypatch):
  refusal = "(128.00G) exceeds available HBM (30.75G)"
  monkeypatch.setattr(DecodeCompiler, "_lower_encoding", lambda *_: None)
  monkeypatch.setattr(lowering, "lower_prefill", lambda *_: Refused(refusal))
  with pytest.raises(DoesNotFit, match=r"need 128\.0 of 30\.75 GiB a chip: lower decode_rows"):
    DecodeCompiler.costs(estimator, 64)
  monkeypatch.setattr(lowering, "lower_prefill", lambda *_: Refused("INTERNAL: another"))
  with pytest.raises(jax.errors.JaxRuntimeError, match="another"):
    DecodeCompiler.costs(estimator, 64)


def test_work_grows_with_slots_and_weights_are_read_once(estimator):
  few, many = estimator.costs(64), estimator.costs(128)
  assert many.step.flops == 2 * few.step.flops
  assert few.step.hbm_bytes < many.step.hbm_bytes < 2 * few.step.hbm_bytes
  assert many.prefill == few.prefill
  assert few.prefill.flops > few.encode.flops > 0
