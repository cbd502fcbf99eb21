"""Checks of array shapes, which tests put around the functions of the package.

Only functions and dataclasses that name a shape are checked: other types are mypy's matter, and
checking them in every call took most of the time of tests in pure Python.
"""

import inspect
from collections.abc import Callable
from typing import Any, Self, get_args

import jaxtyping
from beartype import beartype

_jaxtyped = jaxtyping.jaxtyped


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
  """Applies beartype, except where `Self` stands: that it can only resolve for whole classes."""
  # As repr: it may stand inside another hint, such as `Self | None`.
  if any(repr(Self) in repr(hint) for hint in inspect.get_annotations(function).values()):
    return function
  return beartype(function)


def jaxtyped_where_shaped(*, typechecker: Callable[..., Any]) -> Callable[..., Any]:
  """Returns jaxtyping's decorator for what names a shape, and one without effect for the rest."""

  def decorate(decorated: Any) -> Any:
    hints = inspect.get_annotations(decorated).values()
    return _jaxtyped(decorated, typechecker=typechecker) if any(map(_shaped, hints)) else decorated

  return decorate


def _shaped(hint: Any) -> bool:
  """Returns whether a hint is an array with dimensions, or holds one: `tuple[Float[...], int]`."""
  if isinstance(hint, type) and issubclass(hint, jaxtyping.AbstractArray):
    return True
  # The arguments of a Callable come as a list.
  return any(map(_shaped, hint if isinstance(hint, list) else get_args(hint)))
