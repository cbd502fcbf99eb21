"""Dropped records: reasons, counts and the limit."""

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

_log = logging.getLogger(__name__)

_SMALL = 1000  # records; with fewer read than this a bad one or two say little
_KEPT = 10  # reasons that an error shows
_REASON_LENGTH = 200  # characters


@dataclass(frozen=True)
class Drop:
  """Dropped record.

  Attributes:
    reason: a word or two, by which it is counted.
    detail: id of the record, and the full reason.
    bad: the record itself cannot be used; otherwise it does not suit this run.
    sample_id: of the record, where a list of them is written.
  """

  reason: str
  detail: str
  bad: bool = False
  sample_id: str = ""


class DropCounter:
  """Counter of read and dropped records, which stops a run with too many bad ones.

  Attributes:
    dropped: records left out, by reason.

  Args:
    max_bad_fraction: bad records among those read (or among 1000, if fewer were read).
  """

  def __init__(self, max_bad_fraction: float) -> None:
    self._max_bad_fraction = max_bad_fraction
    self._read = 0
    self._bad = 0
    self._reasons: list[str] = []
    self.dropped: Counter[str] = Counter()

  def count(self) -> None:
    """Counts a record that has been read."""
    self._read += 1

  def drop(self, dropped: Drop) -> None:
    """Counts a record that is left out.

    Raises:
      ValueError: more are bad than allowed; shows the first ten.
    """
    if not self.dropped[dropped.reason]:
      _log.warning(
        "dropped (%s): %s; more of these are only counted", dropped.reason, dropped.detail
      )
    self.dropped[dropped.reason] += 1
    if not dropped.bad:
      return
    self._bad += 1
    if len(self._reasons) < _KEPT:
      self._reasons.append(dropped.detail[:_REASON_LENGTH])
    if self._bad > self._max_bad_fraction * max(self._read, _SMALL):
      raise ValueError(
        f"{self._bad} of {self._read} records read cannot be used, more than "
        f"max_bad_fraction={self._max_bad_fraction:g} of them: mend or convert the data again, or "
        "raise max_bad_fraction. The first: " + "; ".join(self._reasons)
      )

  def get_state(self) -> dict[str, Any]:
    """Returns the counts as JSON values."""
    return {
      "read": self._read,
      "bad": self._bad,
      "reasons": list(self._reasons),
      "dropped": dict(self.dropped),
    }

  def set_state(self, state: dict[str, Any]) -> None:
    """Continues from counts."""
    self._read, self._bad = state["read"], state["bad"]
    self._reasons, self.dropped = list(state["reasons"]), Counter(state["dropped"])

  @classmethod
  def sum_states(cls, states: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Sums the counts of several counters."""
    total = cls(1.0)
    for state in states:
      total._read += state["read"]
      total._bad += state["bad"]
      total._reasons = [*total._reasons, *state["reasons"]][:_KEPT]
      total.dropped.update(state["dropped"])
    return total.get_state()
