"""Selectors: functions that choose the records of a conversion and their splits."""

import dataclasses
from collections.abc import Callable

from maxtext_ext.records.schema import Record


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Selected:
  """A record to write.

  Attributes:
    record: it is written unchanged; if it is the same object that the selector received, the
      bytes of its source may be copied.
    split: one of the conversion's splits.
  """

  record: Record
  split: str


@dataclasses.dataclass(frozen=True)
class Skipped:
  """A good record that the selector skips.

  Attributes:
    reason: a few words that many records share ("longer than 30 s"): they are counted by it.
  """

  reason: str


# A module-level function or an object of a frozen dataclass: worker processes unpickle it, and a
# resumed conversion compares it with that of the interrupted one.
Selector = Callable[[Record], Selected | Skipped]


def describe_selector(selector: Selector | None) -> str | None:
  """Returns a text that is equal for equal selectors, in every process."""
  if selector is None:
    return None
  if dataclasses.is_dataclass(selector):
    return f"{type(selector).__module__}.{selector!r}"
  name = getattr(selector, "__qualname__", "")
  if not name or "<" in name:  # <lambda>, <locals>
    raise ValueError(
      f"selector is {selector!r}, expected a module-level function or an object of a dataclass: "
      "it has to be the same in every process"
    )
  return f"{selector.__module__}.{name}"
