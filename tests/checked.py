"""The type checker that tests put around every function of the package."""

import inspect
from collections.abc import Callable
from typing import Any, Self

from beartype import beartype


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
  """beartype, except where `Self` stands: that it can only resolve for whole classes."""
  if Self in inspect.get_annotations(function).values():
    return function
  return beartype(function)
