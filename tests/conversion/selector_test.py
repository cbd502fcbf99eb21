"""A selector is known by a text that is the same in every process."""

import dataclasses
import functools
import subprocess
import sys

import pytest

from maxtext_ext.conversion.selector import Selected, Skipped, describe_selector
from maxtext_ext.records.schema import Record


@dataclasses.dataclass(frozen=True)
class Shorter:
  seconds: float

  def __call__(self, record: Record) -> Selected | Skipped:
    return Skipped(f"longer than {self.seconds:g} s")


class Unknown:
  def __call__(self, record: Record) -> Skipped:
    return Skipped("")


def drop(record: Record) -> Skipped:
  return Skipped("dropped")


def test_descriptions():
  assert describe_selector(None) is None
  assert describe_selector(drop).endswith("selector_test.drop")
  assert describe_selector(Shorter(2.5)).endswith("selector_test.Shorter(seconds=2.5)")
  assert describe_selector(Shorter(2.5)) != describe_selector(Shorter(2.0))


@pytest.mark.parametrize(
  "selector",
  [lambda record: drop(record), functools.partial(drop), Unknown()],
  ids=["lambda", "partial", "no dataclass"],
)
def test_what_differs_between_processes_is_refused(selector):
  with pytest.raises(ValueError, match="expected a module-level function or an object of a data"):
    describe_selector(selector)


def test_the_same_in_another_process():
  code = (
    "from maxtext_ext.prepare.select import Select\n"
    "from maxtext_ext.conversion.selector import describe_selector\n"
    "print(describe_selector(Select(to='train', language='Hebrew')))"
  )
  texts = {
    subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    for _ in range(2)
  }
  assert len(texts) == 1 and "language='Hebrew'" in texts.pop()
