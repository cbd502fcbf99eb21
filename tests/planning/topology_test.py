import pytest
from maxtext.utils.accelerator_to_spec_map import UserFacingNameToSystemCharacteristics as MAXTEXT

from maxtext_ext.planning.topology import GENERATIONS, parse_topology

NAMES = [f"{name}-{size}" for name, (_, sizes) in GENERATIONS.items() for size in sizes]


@pytest.mark.parametrize("name", NAMES)
def test_slices_are_those_of_maxtext(name):
  ours, theirs = parse_topology(name), MAXTEXT[name]
  assert ours.compiler_topology == theirs.topology_name
  assert ours.chips == theirs.devices_per_slice
  assert ours.chips_per_host == theirs.chips_per_host_bounds
  assert ours.wrap == theirs.wrap
  assert ("megacore" if ours.chip.megacore else "default") == theirs.chip_config_name


@pytest.mark.parametrize(
  ("name", "chips"), [("v4-8", 4), ("v4-32", 16), ("v4-128", 64), ("v5p-8", 4), ("v5e-8", 8)]
)
def test_names_of_v4_and_v5p_count_cores(name, chips):
  assert parse_topology(name).chips == chips


def test_one_gpu_is_not_compiled_for():
  gpu = parse_topology("gpu:80GB")
  assert (gpu.chips, gpu.compiled, gpu.chip.hbm_bytes) == (1, False, 80e9)


@pytest.mark.parametrize("name", ["v4-9", "v4", "v7-8", "", "gpu:40GB", "v5e-2"])
def test_an_unknown_slice_is_refused_with_the_known_ones(name):
  with pytest.raises(ValueError, match="expected one of v4-8"):
    parse_topology(name)


@pytest.mark.parametrize("chip", {chip.name: chip for chip, _ in GENERATIONS.values()}.values())
def test_prices_say_where_they_are_from(chip):
  assert chip.price.dollars_per_hour > 0
  assert chip.price.source
  assert chip.price.date
