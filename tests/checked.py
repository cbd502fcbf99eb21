"""The type checker that tests put around every function of the package."""

import inspect
from collections.abc import Callable
from typing import Any, Self

from beartype import beartype


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
  """beartype, except where `Self` stands: that it can only resolve for whole classes."""
  # As repr: it may stand inside another hint, such as `Self | None`.
  if any(repr(Self) in repr(hint) for hint in inspect.get_annotations(function).values()):
    return function
  return beartype(function)
