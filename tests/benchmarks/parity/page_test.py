"""docs/parity.md is what the command writes, and every line of it is within its tolerance."""

import dataclasses
import re

import numpy as np
import pytest

from benchmarks.parity import compare, page


def lines(text: str) -> list[list[str]]:
  """The table's cells without its head."""
  rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
  return rows[2:]


def test_the_page_holds_every_comparison_within_its_tolerance():
  rows = lines(page.OUT.read_text(encoding="utf-8"))
  assert [row[:2] for row in rows] == [[c.name, c.reference] for c in page.COMPARISONS]
  for row, comparison in zip(rows, page.COMPARISONS, strict=True):
    measured = float(re.sub(" differ$", "", row[2]))
    assert 0 <= measured <= comparison.tolerance == float(row[3]), row


def test_errors_are_relative_to_the_largest_value():
  want = np.array([[1.0, -4.0], [0.0, 2.0]])
  assert compare.relative(want + np.array([[0, 0], [0.2, -0.1]]), want) == pytest.approx(0.05)


@pytest.mark.parametrize(("measured", "status"), [((1e-5, 0), 0), ((1e-5, 3), 1), ((2e-4, 0), 1)])
def test_a_line_past_its_tolerance_is_the_exit_status(
  monkeypatch, tmp_path, capsys, measured, status
):
  kinds = [next(c for c in page.COMPARISONS if bool(c.tolerance) == bool(t)) for t in (1, 0)]
  made = [
    dataclasses.replace(kind, measure=lambda value=value: value)
    for kind, value in zip(kinds, measured, strict=True)
  ]
  monkeypatch.setattr(page, "COMPARISONS", made)
  out = tmp_path / "docs" / "parity.md"
  monkeypatch.setattr("sys.argv", ["parity", "--out", str(out)])
  with pytest.raises(SystemExit) as exited:
    page.main()
  assert exited.value.code == status
  shown = ["1.0e-05" if measured[0] == 1e-5 else "2.0e-04", f"{measured[1]} differ"]
  assert [row[2] for row in lines(out.read_text(encoding="utf-8"))] == shown
  assert ("PAST" in capsys.readouterr().out) == bool(status)
