"""The structure of the package: imports go down the layers, never up and never round."""

import ast
import functools
import graphlib
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "maxtext_ext"

# Folders and modules of the package from the bottom up. Each may import those before it.
LAYERS = (
  *("version", "escape", "log", "errors", "progress", "run_identity", "bridge", "parallel"),
  "subconfig",
  "files",
  "pages",
  "audio",
  "text",
  "records",
  "sources",
  "conversion",
  "corpus",
  "prepare",
  "models",
  "input",
  "keys",
  "config",
  "hosts",
  "checkpoint",
  "evaluate",
  "server_benchmark",
  "decode",
  "train",
  "planning",
  "transcriber",
  "transcribe_files",
  *("preflight", "launch", "demo", "doctor", "compat"),
  *("cli_config", "cli_data", "cli_evaluate", "cli_launch", "cli_lm", "cli_plan"),
  *("cli_transcribe", "cli"),
)
# The only ones that may import MaxText.
BRIDGE = {"maxtext_ext.bridge"}


@functools.cache
def modules() -> dict[str, pathlib.Path]:
  """Files of the package by module name."""
  files = [path for path in PACKAGE.rglob("*.py") if "MaxText" not in path.parts]
  names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files]
  return {name.removesuffix(".__init__"): path for name, path in zip(names, files, strict=True)}


def imported(path: pathlib.Path) -> set[str]:
  """Returns what a file imports, at its head or in a function; `from a import b` as a.b.

  Imports under `if TYPE_CHECKING:` do not run and are left out.
  """
  found: set[str] = set()
  nodes: list[ast.AST] = [ast.parse(path.read_text("utf-8"))]
  while nodes:
    node = nodes.pop()
    if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
      nodes += node.orelse
    elif isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f"{path}: a relative import"
      found |= {f"{node.module}.{alias.name}" for alias in node.names}
    else:
      nodes += ast.iter_child_nodes(node)
  return found


def own_imports(name: str) -> set[str]:
  """Modules of the package that a module of it imports."""
  found = set()
  for target in imported(modules()[name]):
    if target.split(".")[0] != "maxtext_ext":
      continue
    module = target if target in modules() else target.rpartition(".")[0]
    assert module in modules(), f"{name} imports {target}, which is not there"
    found.add(module)
  return found


def test_the_diagram_of_the_layers_is_right():
  page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
  diagram = page.split("```text\n")[1].split("```")[0]
  # Names stand before the first gap of three spaces, the description behind it.
  drawn = [name for row in diagram.splitlines() for name in row.split("   ")[0].split()]
  assert drawn == [*reversed(LAYERS)]


def layer_of(name: str) -> str:
  return name.split(".")[1]


def test_every_part_of_the_package_has_its_layer():
  parts = {name.split(".")[1] for name in modules() if "." in name}
  assert len(set(LAYERS)) == len(LAYERS)
  assert parts == set(LAYERS)


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_go_down(layer: str):
  below = set(LAYERS[: LAYERS.index(layer)])
  upward = [
    f"{name} -> {target}"
    for name in modules()
    if "." in name and layer_of(name) == layer
    for target in sorted(own_imports(name))
    if "." not in target or layer_of(target) not in below | {layer}
  ]
  assert not upward


def test_no_files_import_each_other():
  # The package itself offers its public names when they are asked for, which starts no cycle.
  graph = {name: own_imports(name) for name in modules() if "." in name}
  graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the cycle


def test_only_the_bridge_imports_maxtext():
  found = {
    name
    for name, path in modules().items()
    if any(target.split(".")[0] in ("maxtext", "MaxText") for target in imported(path))
  }
  assert found == BRIDGE
  assert not [
    path
    for folder in ("data", "setup", "tools")
    for path in (ROOT / folder).rglob("*.py")
    if any(target.split(".")[0] == "maxtext" for target in imported(path))
  ]


@pytest.mark.parametrize("folder", ["maxtext_ext", "benchmarks", "data", "setup", "tools"])
def test_nothing_else_imports_tests(folder: str):
  files = list((ROOT / folder).rglob("*.py"))
  assert files
  found = [
    str(path.relative_to(ROOT))
    for path in files
    if any(target.split(".")[0] == "tests" for target in imported(path))
  ]
  assert not found


def test_an_upward_import_is_noticed(tmp_path: pathlib.Path):
  file = tmp_path / "sample.py"
  file.write_text(
    "from typing import TYPE_CHECKING\n"
    "from maxtext_ext.audio import mel, io as sound\n"
    "if TYPE_CHECKING:\n  import maxtext_ext.cli\n"
    "def f():\n  import maxtext.layers as m\n"
  )
  assert imported(file) == {
    "typing.TYPE_CHECKING",
    "maxtext_ext.audio.mel",
    "maxtext_ext.audio.io",
    "maxtext.layers",
  }
