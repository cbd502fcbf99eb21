"""CONTRIBUTING.md names make targets, modules and files that exist; hooks run what lint runs."""

import importlib.util
import pathlib
import re

import pytest
import yaml

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")


def test_make_targets_exist():
  used = set(re.findall(r"^make (\w+)|`make (\w+)", PAGE, re.M))
  names = {name for pair in used for name in pair if name}
  assert {"env", "lint", "format", "test", "parity"} <= names
  assert all(re.search(rf"^{name}:", MAKEFILE, re.M) for name in names)


def test_modules_and_files_exist():
  modules = re.findall(r"python -m ([\w.]+)", PAGE)
  assert len(modules) >= 5
  assert all(importlib.util.find_spec(name) for name in modules)
  paths = re.findall(r"[\w.]+(?:/[\w.]+)+", re.sub(r"https?://\S+", "", PAGE))
  placeholders = ("NAME", "MODEL", "a/b")
  named = [path for path in paths if not any(part in path for part in placeholders)]
  assert len(named) > 10
  missing = [path for path in named if not (ROOT / path).exists() and not path.startswith(".venv")]
  assert not missing


@pytest.mark.parametrize(
  ("file", "name"),
  [
    ("models/encoders/__init__.py", "ENCODERS"),
    ("models/make.py", "MODELS"),
    ("sources/formats.py", "SOURCES"),
    ("text/normalize/__init__.py", "NORMALIZERS"),
    ("text/normalize/__init__.py", "OF_LANGUAGES"),
  ],
)
def test_dictionaries_to_add_to_are_there(file, name):
  assert re.search(rf"^{name}\b.* = {{", (ROOT / "maxtext_ext" / file).read_text("utf-8"), re.M)


def test_hooks_run_what_make_lint_runs():
  hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
  (repository,) = hooks["repos"]
  assert repository["repo"] == "local"
  recipe = MAKEFILE.split("\nlint:")[1].split("\n\n")[0].replace("$(python)", ".venv/bin/python")
  for hook in repository["hooks"]:
    assert hook["language"] == "system"
    assert hook["entry"] in recipe
