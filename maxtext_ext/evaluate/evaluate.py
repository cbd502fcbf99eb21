"""Evaluation of decoded splits: reads, scores, compares, prints and reports."""

import dataclasses
import os
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.text import Text

from maxtext_ext.escape import printable
from maxtext_ext.evaluate.boards import get_protocol
from maxtext_ext.evaluate.compare import compare
from maxtext_ext.evaluate.failures import describe_failures
from maxtext_ext.evaluate.findings import find
from maxtext_ext.evaluate.formats import counted, describe_intervals
from maxtext_ext.evaluate.hypotheses import describe_cut
from maxtext_ext.evaluate.report import Fact, TrainingCurves, write_report
from maxtext_ext.evaluate.report_files import check_place
from maxtext_ext.evaluate.sounds import require_folder
from maxtext_ext.evaluate.statements import state_calibration, state_quality, state_speed
from maxtext_ext.evaluate.system import AUTO, Path, System, load_system
from maxtext_ext.evaluate.table import board_table, comparison_table, rates_table
from maxtext_ext.evaluate.wer import Method, Scores
from maxtext_ext.files import storage
from maxtext_ext.files.outputs import is_inside, require_folder_place


def evaluate(
  path: Path | Sequence[Path],
  *,
  report: Path | None = None,
  normalizer: str = AUTO,
  metrics: Path | None = None,
  baseline: Path | None = None,
  title: str = "Speech recognition report",
  extra: Mapping[str, Fact] | None = None,
  console: Console | None = None,
  method: Method | None = None,
  protocol: str | None = None,
  manifests: Path | None = None,
  compare_with: Sequence[Path] = (),
  audio: Path | None = None,
) -> Scores:
  """Scores the hypotheses at `path`, prints a table and writes the report when asked to.

  Args:
    path: a file or directory of decode's JSON lines, or several, which are scored together.
    report: path of report.html; its figures are written beside it under the same stem, as .json
      and .md.
    normalizer: a name in maxtext_ext.text.normalize.NORMALIZERS, or "auto": that of the run, else
      of the language.
    metrics: metrics.jsonl of the training run, for its curves.
    baseline: hypotheses of the untrained model, best on the same utterances.
    extra: facts to list in the report, such as {"seconds": 412.0}.
    console: that prints the table; standard output by default.
    method: alignment, fields of groups, blocks and seed; a protocol has its own alignment.
    protocol: scores as this board does, by the names of `boards.PROTOCOLS`.
    manifests: folder to write the hypotheses to in the form of the protocol's board.
    compare_with: hypotheses of other systems, each compared on the utterances it has in common.
    audio: folder of records or sound files, for the players of the report.

  Raises:
    ValueError: a file that is missing or malformed, an unknown name, a normalizer or an alignment
      beside a protocol, manifests without one, or an output in the place of an input.
  """
  paths = [path] if isinstance(path, str | os.PathLike) else list(path)
  if protocol is not None and normalizer != AUTO:
    raise ValueError(f"the protocol {protocol} has its own normalizer; leave {normalizer!r} out")
  if protocol is not None and method is not None and method.alignment != Method.alignment:
    raise ValueError(f"the protocol {protocol} has its own alignment; leave {method.alignment} out")
  if manifests is not None and protocol is None:
    raise ValueError("manifests have the form of a board; name one by --protocol")
  if report is None and (metrics is not None or audio is not None):
    name = "metrics" if metrics is not None else "audio"
    raise ValueError(f"{name} is for the report only; name its page by --report, or leave it out")
  others = [*compare_with, *([] if baseline is None else [baseline])]
  if manifests is not None:
    _check_manifests(manifests, [*paths, *others])
  curves = None if metrics is None else TrainingCurves.read(metrics)
  if audio is not None:
    require_folder(audio)
  if report is not None:
    check_place(report, [*paths, *others, *(each for each in (metrics, audio) if each)])
  console = console or Console()
  method = method or Method()
  system = load_system(paths, normalizer=normalizer, method=method, protocol=protocol)
  scores = system.scores
  if protocol is None:
    normalizer = scores.normalizer  # of the other systems too
  # Lines of other systems need not have the fields of groups and blocks.
  plain = dataclasses.replace(method, by=(), block=AUTO)

  def load_other(place: Path) -> System:
    return load_system([place], normalizer=normalizer, method=plain, protocol=protocol)

  untrained = None if baseline is None else load_other(baseline).scores
  comparisons = []
  for place in compare_with:
    other = load_other(place)
    comparisons.append(
      compare((system.hypotheses, scores), (other.hypotheses, other.scores), place)
    )
  findings = find(system, protocol=protocol, comparisons=comparisons)

  def say(text: str) -> None:
    console.print(Text(printable(text)))

  console.print(rates_table(scores, untrained, system.reason))
  say(f"95% intervals of {describe_intervals(scores)}")
  if protocol is not None and (foreign := get_protocol(protocol).foreign(system.read)):
    say(
      f"{protocol} is no board for {', '.join(foreign)}: scored with the normalizer"
      f" {scores.normalizer}, so these rates say little"
    )
  if findings.board is not None:
    console.print(board_table(findings.protocol, findings.board))
  for comparison in comparisons:
    console.print(comparison_table(comparison))
    say(str(comparison.overall))
    if comparison.left_out:
      say(f"{counted(comparison.left_out, 'clip')} left out, which only one system has.")
  facts = state_quality(findings.quality)
  if findings.calibration is not None:
    facts |= state_calibration(findings.calibration)
  if findings.speed is not None:
    facts |= state_speed(findings.speed)
  for name, fact in facts.items():
    say(f"{name}: {fact}")
  if cut := scores.overall.cut:
    limits = {source.limit for source in system.sources}
    limit = limits.pop() if len(limits) == 1 else "max_new_tokens"
    say(describe_cut(cut, scores.overall.utterances, limit))
  if system.left_out:
    left_out = f"{system.left_out:,} of {system.left_out + len(system.read):,} lines"
    say(f"{left_out} have no reference and are left out")
    extra = {**(extra or {}), "lines without a reference, left out": left_out}
  if failures := describe_failures(system.read):
    for line in failures:
      say(line)
    extra = {**(extra or {}), "clips without a transcript": failures[0].rstrip(":")}
  if manifests is not None and protocol is not None:
    model = system.sources[0].run if system.sources else "model"
    for file in get_protocol(protocol).write(system.read, manifests, model):
      say(f"manifest: {file}")
  if report is not None:
    write_report(
      system.hypotheses,
      report,
      title=title,
      normalizer=scores.normalizer,
      scores=scores,
      normalizer_reason=system.reason,
      source=system.sources,
      curves=curves,
      baseline=untrained,
      extra=extra,
      findings=findings,
      audio=audio,
    )
  return scores


def _check_manifests(folder: Path, inputs: Sequence[Path]) -> None:
  """Raises ValueError unless manifests can be written apart from the hypotheses that are read."""
  place = os.fspath(folder)
  require_folder_place(place)
  for path in (os.fspath(each) for each in inputs):
    around = os.path.dirname(path) if storage.is_file(path) else path
    if is_inside(place, around) and is_inside(around, place):
      raise ValueError(f"{place} is where {path} is read; name another folder for the manifests")
