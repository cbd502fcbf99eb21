import resource

import pytest

from maxtext_ext.files import limits

NONE = resource.RLIM_INFINITY


@pytest.mark.parametrize(
  ("before", "asked"),
  [
    ((256, NONE), [(4096, NONE)]),  # macOS
    ((1024, 1_048_576), [(4096, 1_048_576)]),
    ((256, 2048), [(2048, 2048)]),
    ((4096, 4096), []),
    ((65_536, NONE), []),
    ((NONE, NONE), []),
  ],
)
def test_the_limit_is_raised_as_far_as_allowed(monkeypatch, before, asked):
  calls = []
  monkeypatch.setattr(resource, "getrlimit", lambda kind: before)
  monkeypatch.setattr(resource, "setrlimit", lambda kind, values: calls.append(values))
  limits.raise_open_files()
  assert calls == asked


def test_a_system_that_refuses_keeps_its_limit(monkeypatch):
  def refuse(kind, values):
    raise ValueError("current limit exceeds maximum limit")

  monkeypatch.setattr(resource, "getrlimit", lambda kind: (256, NONE))
  monkeypatch.setattr(resource, "setrlimit", refuse)
  limits.raise_open_files()
