"""Flags of command lines in MaxText's manner: upper case, and true or false written out."""

from __future__ import annotations

import argparse

from orchestration import gcloud

_WORDS = {
  **dict.fromkeys(("true", "t", "yes", "y", "1", "on"), True),
  **dict.fromkeys(("false", "f", "no", "n", "0", "off"), False),
}


def boolean(text: str) -> bool:
  """Reads true or false, in any of the usual spellings."""
  value = _WORDS.get(text.strip().lower())
  if value is None:
    raise argparse.ArgumentTypeError(f"{text!r}: expected true or false")
  return value


def project_and_zone(project: str, zone: str) -> tuple[str, str]:
  """Returns both, from the gcloud configuration where they are empty.

  Raises:
    ValueError: one is neither named nor configured.
  """
  project = project or gcloud.setting("project")
  zone = zone or gcloud.setting("compute/zone")
  if not project:
    raise ValueError("no project: give --PROJECT, or run `gcloud config set project PROJECT`")
  if not zone:
    raise ValueError("no zone: give --ZONE, or run `gcloud config set compute/zone ZONE`")
  return project, zone
