"""Every broken source ends with its records quarantined for a reason, every odd one is read."""

import dataclasses
import json
import pathlib
import re
import subprocess
import sys
from typing import Any

import pytest

from maxtext_ext.cli import main
from tests.sources.fuzz import archives, lines, tables, tfrecords, tones
from tests.sources.fuzz.case import Case

CASES: dict[str, tuple[Case, ...]] = {
  "tfrecord": tfrecords.CASES,
  "jsonl": lines.CASES,
  "parquet": tables.CASES,
  "tar": archives.CASES,
}
MAX_SECONDS = 60.0  # of processor time, of which a case takes less than one
MAX_MIB = 600
ROOT = pathlib.Path(__file__).parents[3]
pytestmark = pytest.mark.integration_test


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
  """Outcome of the conversion of a case: a result line, and the folder in which it happened."""

  folder: pathlib.Path
  result: dict[str, Any]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest):
  """The outcomes of a format by the names of its cases; each format is converted once."""
  done: dict[str, dict[str, Outcome]] = {}

  def of(source_format: str) -> dict[str, Outcome]:
    if source_format not in done:
      root = tmp_path_factory.mktemp(source_format)
      done[source_format] = _convert_all(root, source_format, CASES[source_format])
    return done[source_format]

  return of


def _convert_all(
  root: pathlib.Path, source_format: str, cases: tuple[Case, ...]
) -> dict[str, Outcome]:
  jobs, folders = [], {}
  for index, case in enumerate(cases):
    folder = folders[case.name] = root / "cases" / f"{index:03d}"
    (folder / "in").mkdir(parents=True)
    source, out = case.write(folder / "in"), folder / "out"
    job = {"name": case.name, "format": source_format, "source": str(source), "out": str(out)}
    jobs.append(job)
  results: dict[str, dict[str, Any]] = {}
  while remaining := [job for job in jobs if job["name"] not in results]:
    results |= _run(root, remaining)
  return {name: Outcome(folder=folder, result=results[name]) for name, folder in folders.items()}


def _run(root: pathlib.Path, jobs: list[dict[str, str]]) -> dict[str, dict[str, Any]]:
  """Results of the first jobs, at least one; a process that dies has the next one on its hands."""
  jobs_path, results_path = root / "jobs.json", root / "results.jsonl"
  jobs_path.write_text(json.dumps(jobs))
  results_path.write_text("")
  command = [sys.executable, "-m", "tests.sources.fuzz.convert_cases", jobs_path, results_path]
  ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace")
  results = {result["name"]: result for result in map(json.loads, results_path.open())}
  if ended.returncode:
    died = jobs[len(results)]["name"]
    error = f"process ended with {ended.returncode}: {ended.stderr[-2000:]}"
    results[died] = {"name": died, "error": error}
  return results


@pytest.mark.parametrize(
  ("source_format", "case"),
  [
    pytest.param(source_format, case, id=f"{source_format}-{case.name}"[:80])
    for source_format, cases in CASES.items()
    for case in cases
  ],
)
def test_conversion(outcomes, source_format: str, case: Case) -> None:
  outcome = outcomes(source_format)[case.name]
  result = outcome.result
  if case.refused:
    assert re.search(f"^(ValueError|TooManyBadError): .*({case.refused})", result["error"])
  else:
    assert "error" not in result, result["error"]
    assert result["read"] == result["written"] + result["quarantined"]
    reasons = [reason for _, reason in result["bad"]]
    assert len(reasons) == len(case.bad) == result["quarantined"], reasons
    for reason, pattern in zip(reasons, case.bad, strict=True):
      assert re.search(pattern, reason)
    assert all(line.isprintable() and len(line) < 1100 for line in result["reasons"])
    assert [good["id"] for good in result["good"]] == list(case.good)
    for good in result["good"]:
      assert good["seconds"] == pytest.approx(1, abs=0.07)
      assert good["hertz"] == pytest.approx(tones.FREQUENCY, abs=4)
      assert good["peak"] == pytest.approx(0.55, abs=0.15)  # lossy formats overshoot
  assert result["seconds"] < MAX_SECONDS
  # The peak of the process is that of one of its cases.
  assert result["peak_mib"] < MAX_MIB or result["peak_mib"] == result["peak_mib_before"]
  assert {path.name for path in outcome.folder.iterdir()} <= {"in", "out"}, "written elsewhere"


@pytest.mark.parametrize("source_format", CASES)
def test_nothing_is_written_elsewhere(outcomes, source_format: str) -> None:
  folder = next(iter(outcomes(source_format).values())).folder
  assert len(list(folder.parent.iterdir())) == len(CASES[source_format])
  assert len(list(folder.parent.parent.iterdir())) == 3  # cases, jobs, results


@pytest.mark.parametrize("source_format", CASES)
def test_many_bad_records_stop_the_command_with_ten_reasons(
  source_format: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
  bad = [case for case in CASES[source_format] if case.bad and case.good][:12]
  for index, case in enumerate(bad):
    (tmp_path / "in" / f"{index:02d}").mkdir(parents=True)
    case.write(tmp_path / "in" / f"{index:02d}")
  source = str(tmp_path / "in" / "*" / f"a.{source_format}")
  command = ["data", "convert", source, str(tmp_path / "out"), "--from", source_format]
  with pytest.raises(SystemExit) as exited:
    main(command)
  said = capsys.readouterr().err
  assert exited.value.code == 2
  reasons = [line for line in said.splitlines() if re.search(r"/in/\d\d/a\.", line)]
  assert len(reasons) == 10
  assert re.search(bad[0].bad[0], reasons[0])
  assert "over max_bad_fraction=0.01" in said
  assert not list((tmp_path / "out").glob("*.manifest.json")), "it is not complete"


def test_the_corpus_is_as_large_as_promised() -> None:
  assert sum(bool(case.bad or case.refused) for cases in CASES.values() for case in cases) > 60
  for cases in CASES.values():
    assert len({case.name for case in cases}) == len(cases)
