"""MaxText's configuration keys: their types and ranges, from a list made by setup/maxtext_keys.py.

Importing MaxText's own declarations takes five seconds; a test compares the list with them.
"""

import functools
import importlib.util
import json
import os
import pathlib

from maxtext_ext.keys.values import Kind

FILE = pathlib.Path(__file__).with_name("maxtext_keys.json")


@functools.cache
def maxtext_kinds() -> dict[str, Kind]:
  """Returns the kind of values that each key takes, by its name."""
  return {name: Kind(**fields) for name, fields in json.loads(FILE.read_text("utf-8")).items()}


def configs_folder() -> str:
  """Returns MaxText's folder of yml files."""
  if chosen := os.environ.get("MAXTEXT_CONFIGS_DIR"):  # which MaxText reads too
    return chosen
  spec = importlib.util.find_spec("maxtext")
  assert spec is not None and spec.origin is not None
  return str(pathlib.Path(spec.origin).parent / "configs")
