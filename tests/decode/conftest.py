"""Places that the tests of output folders share."""

import pytest


@pytest.fixture(params=["disk", "bucket"])
def place(request, tmp_path) -> str:
  """An empty folder of a kind that decodes write to."""
  if request.param == "disk":
    return str(tmp_path)
  request.getfixturevalue("gcs")
  return "gs://bucket/folder"
