"""What several tests of records share."""

import fsspec
import gcs_server
import pytest


@pytest.fixture
def gcs(monkeypatch):
  """A storage server with the bucket `bucket`, which gs:// leads to."""
  with gcs_server.serving(monkeypatch, "bucket") as server:
    yield server


@pytest.fixture(params=["local", "memory", "gs"])
def root(request, tmp_path):
  """An empty folder of every kind that storage knows."""
  match request.param:
    case "local":
      yield str(tmp_path)
    case "memory":
      fsspec.filesystem("memory").store.clear()
      yield "memory://root/folder"
    case "gs":
      request.getfixturevalue("gcs")
      yield "gs://bucket/folder"
