"""When a source has so many bad records that something is wrong with all of it."""

from collections.abc import Sequence

REASONS_SHOWN = 10
MIN_READ = 1_000  # records: before that, a few bad ones at the start say little of the whole


class TooManyBadError(ValueError):
  """More records are bad than `max_bad_fraction` allows.

  Attributes:
    summary: the error in one line.
    reasons: the first few bad records, a line each.
  """

  def __init__(self, summary: str, reasons: Sequence[str]) -> None:
    super().__init__("\n".join((summary, *reasons)))
    self.summary = summary
    self.reasons = tuple(reasons)

  def __reduce__(self) -> tuple[type, tuple[str, tuple[str, ...]]]:
    return type(self), (self.summary, self.reasons)


def too_many(read: int, bad: int, fraction: float, *, ended: bool) -> bool:
  """Whether a conversion has to stop: of all records at its end, of at least MIN_READ before."""
  return bad > fraction * (read if ended else max(read, MIN_READ))


def error_of(read: int, bad: int, fraction: float, reasons: Sequence[str]) -> TooManyBadError:
  """The error that says so."""
  return TooManyBadError(
    f"{bad} of {read} records are bad ({bad / read:.1%}), over max_bad_fraction={fraction:g}; "
    "correct the source, or allow more with --max-bad-fraction: what is done so far is kept",
    reasons,
  )
