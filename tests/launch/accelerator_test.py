import pytest

from maxtext_ext.launch.accelerator import Gpu, Tpu, parse_accelerator, parse_tpu

TPUS = {  # name, topology, hosts, chips of a host
  "v4-8": ("v4-8", "2x2x1", 1, 4),
  "v4-32": ("v4-32", "2x2x4", 4, 4),
  "tpu-v4-32": ("v4-32", "2x2x4", 4, 4),
  "v5p-16": ("v5p-16", "2x2x2", 2, 4),
  "v5e-8": ("v5litepod-8", "2x4", 1, 8),
  "v5litepod-16": ("v5litepod-16", "4x4", 4, 4),
  "v6e-1": ("v6e-1", "1x1", 1, 1),
  "v6e-64": ("v6e-64", "8x8", 16, 4),
}
GPUS = {"H100:8": ("H100", 8), "A100": ("A100", 1), "A100-80GB:2": ("A100-80GB", 2)}


@pytest.mark.parametrize("text", TPUS)
def test_slices(text):
  tpu = parse_accelerator(text)
  assert isinstance(tpu, Tpu)
  assert (tpu.name, tpu.topology, tpu.hosts, tpu.chips_per_host) == TPUS[text]


@pytest.mark.parametrize("text", GPUS)
def test_gpus(text):
  assert parse_accelerator(text) == Gpu(name=GPUS[text][0], count=GPUS[text][1])


@pytest.mark.parametrize(
  "text", ["v4-33", "v9-8", "H100:0", "H100:many", "", "8xH100", "v4", "tpu", "v5e:8"]
)
def test_what_is_neither_is_refused(text):
  with pytest.raises(ValueError, match="expected"):
    parse_accelerator(text)


def test_an_engine_for_slices_alone_takes_no_gpu():
  with pytest.raises(ValueError, match="--accelerator H100: `launch xpk` is for TPU slices"):
    parse_tpu("H100", "xpk")
