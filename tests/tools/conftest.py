"""The GPU host that the tests of remote.py and its modules share."""

from collections.abc import Iterator

import pytest
from standins.gpu_host import GpuHost


@pytest.fixture
def host(tmp_path) -> Iterator[GpuHost]:
  """A GPU host that is up, with nothing on it yet."""
  gpu_host = GpuHost(tmp_path)
  try:
    gpu_host.sshd.start()
    yield gpu_host
  finally:
    gpu_host.sshd.close()
