"""A cloud with one slice of four workers, whose processes are ended after the test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from standins.cloud import Cloud


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
  made = Cloud(tmp_path / "cloud")
  made.add_slice("qr-v4-32")
  yield made
  with made.state() as state:
    workers = [
      (name, each) for name, node in state["nodes"].items() for each in range(node["workers"])
    ]
  for name, worker in workers:
    made.end_machine(name, worker)
