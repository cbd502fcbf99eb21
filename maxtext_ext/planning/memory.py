"""Device memory of a compiled step, or the compiler's refusal."""

import re
from dataclasses import dataclass
from typing import Any

GIB = 2**30
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": GIB, "T": 2**40}
_SIZE = r"([\d.]+)([KMGT]?)"
# The compiler's ways of refusing a program: "(32.59G) exceeds available HBM (30.75G)", of
# temporaries or of all, and "Used 32.59G of 30.75G hbm".
_REFUSALS = (
  re.compile(rf"\({_SIZE}i?B?\) exceeds available HBM \({_SIZE}i?B?\)"),
  re.compile(rf"Used {_SIZE}i?B? of {_SIZE}i?B? hbm"),
)


class DoesNotFit(ValueError):
  """Need of more memory than there is, however the model is divided."""


@dataclass(frozen=True, kw_only=True)
class Memory:
  """Bytes on each chip.

  Attributes:
    arguments: the train state and a batch, less what the outputs take over in place.
    temporaries: everything that exists within a step; what is too much when it does not fit.
    available: what a program may use.
  """

  arguments: float
  temporaries: float
  available: float

  @property
  def used(self) -> float:
    """Bytes that a step needs at once."""
    return self.arguments + self.temporaries

  @property
  def free(self) -> float:
    """Bytes that are left; negative where it does not fit."""
    return self.available - self.used

  @property
  def fits(self) -> bool:
    """Returns whether the step runs."""
    return self.free >= 0


def of_compiled(analysis: Any, available: float) -> Memory:
  """Reads `memory_analysis()` of a compiled program."""
  outputs = analysis.output_size_in_bytes - analysis.alias_size_in_bytes
  return Memory(
    arguments=float(analysis.argument_size_in_bytes + outputs),
    temporaries=float(analysis.temp_size_in_bytes),
    available=available,
  )


def of_refusal(message: str) -> Memory | None:
  """Reads the compiler's error, when it says that memory ran out; else returns None."""
  for pattern in _REFUSALS:
    if match := pattern.search(message):
      needed, unit, available, of_available = match.groups()
      there_is = float(available) * _UNITS[of_available]
      # Both have two decimals: what is refused is more than there is even where they are equal.
      least = there_is + 0.01 * _UNITS[of_available]
      wanted = max(float(needed) * _UNITS[unit], least)
      return Memory(arguments=0.0, temporaries=wanted, available=there_is)
  return None
