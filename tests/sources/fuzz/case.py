"""One broken or odd source, and what a conversion has to make of it."""

import dataclasses
import pathlib
from collections.abc import Callable

import numpy as np

from maxtext_ext.records.schema import Record
from tests.sources.fuzz import tones

BEFORE, CASE, AFTER = "before", "case", "after"  # ids of a case's record and of its neighbours
TEXT = "שלום hello"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
  """A source of one format.

  Attributes:
    name: what is special with it.
    write: writes it into an empty folder and returns the path to convert.
    bad: a regular expression for the reason of each bad record, in order.
    good: ids of the records that have to be written, in order, each with the tone as its sound.
    refused: a regular expression for the ValueError, where nothing can be converted at all.
  """

  name: str
  write: Callable[[pathlib.Path], pathlib.Path]
  bad: tuple[str, ...] = ()
  good: tuple[str, ...] = (BEFORE, AFTER)
  refused: str | None = None


def record(sample_id: str = CASE, **changes: object) -> Record:
  """A record of the tone."""
  fields = {"audio": tones.tone().astype(np.float32), "text": TEXT, "dataset_name": "fuzz"}
  return Record(**{"sample_id": sample_id} | fields | changes)
