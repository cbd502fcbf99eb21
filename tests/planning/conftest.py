"""Fixtures of the tests of plans: compilation as users have it."""

import pytest


@pytest.fixture(autouse=True)
def programs_are_compiled_as_always(monkeypatch):
  """Flags for tests on a CPU would reach the compiler of TPUs too."""
  monkeypatch.delenv("XLA_FLAGS", raising=False)
