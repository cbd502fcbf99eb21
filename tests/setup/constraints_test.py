"""setup/constraints.txt against the ranges of pyproject.toml."""

import pathlib
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = pathlib.Path(__file__).parents[2]


def read_pins(path: pathlib.Path) -> list[Requirement]:
  lines = path.read_text().splitlines()
  return [Requirement(line) for line in lines if line and not line.startswith("#")]


PINS = read_pins(ROOT / "setup/constraints.txt")
VERSIONS = {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in PINS}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"].values()
REQUIREMENTS = [Requirement(line) for group in (PROJECT["dependencies"], *EXTRAS) for line in group]


def test_each_line_is_one_exact_version():
  assert len(VERSIONS) == len(PINS)
  for pin in PINS:
    assert [part.operator for part in pin.specifier] == ["=="], pin
    assert not (pin.url or pin.marker or pin.extras), pin


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda r: r.name)
def test_what_we_ask_for_is_pinned_within_its_range(requirement):
  assert requirement.specifier.contains(VERSIONS[canonicalize_name(requirement.name)])


def test_the_range_of_jax_reaches_back_to_0_11_2():
  jax = next(r for r in REQUIREMENTS if r.name == "jax")
  assert jax.specifier.contains("0.11.2")


def test_no_torch():
  assert "torch" not in VERSIONS
