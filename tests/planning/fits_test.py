"""Promises of what fits: the real step, audio encoder included, compiled for its slice."""

import pytest

from maxtext_ext.planning.compiler import Compiler
from maxtext_ext.planning.memory import GIB
from maxtext_ext.planning.topology import parse_topology

USABLE = 30.75  # GiB of a TPU v4


def used(experiment: str, topology: str, *overrides: str, rows: int) -> float:
  """GiB a chip of an experiment, which must ask for that many packed rows of 2048 tokens."""
  path = f"configs/experiments/{experiment}.yml"
  with Compiler(parse_topology(topology)) as compiler:
    shape = compiler.describe(path, overrides)
    assert shape.micro_rows_per_chip >= rows
    assert (shape.tokens_per_row, shape.accumulation) == (2048, 1)
    assert shape.windows_per_row >= 15
    memory = compiler.compile(path, overrides).memory
  assert memory.available == USABLE * GIB
  assert memory.fits
  return memory.used / GIB


@pytest.mark.integration_test
@pytest.mark.slow
def test_omni_with_adapters_fits_a_v4_32():
  assert 5 < used("arabic_omni_v4_32", "v4-32", rows=4) < 20


@pytest.mark.integration_test
@pytest.mark.slow
def test_every_weight_of_asr_trains_on_a_v4_8():
  keys = ("per_device_batch_size=16",)
  assert 10 < used("hebrew_full", "v4-8", *keys, rows=16) < 26
