"""Benchmark of a server: sends the clips of data sets, keeps the answers, reports on them."""

import asyncio
import contextlib
import dataclasses
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import httpx2
from rich.console import Console

from maxtext_ext.audio.wav import encode_wav
from maxtext_ext.errors import AllFailedError
from maxtext_ext.evaluate.evaluate import evaluate
from maxtext_ext.evaluate.hypothesis import ERROR, Hypothesis
from maxtext_ext.evaluate.report import Fact
from maxtext_ext.evaluate.report_files import check_place
from maxtext_ext.evaluate.speed import ATTEMPTS, BEGAN, ENDED, LATENCY
from maxtext_ext.evaluate.system import AUTO
from maxtext_ext.evaluate.wer import Scores
from maxtext_ext.files.folder_lock import sole_writer
from maxtext_ext.files.outputs import is_inside
from maxtext_ext.progress import ProgressLine, say
from maxtext_ext.records.schema import Record, pcm16_samples
from maxtext_ext.server_benchmark.answers import AnswerFile
from maxtext_ext.server_benchmark.api import APIS, RequestOptions
from maxtext_ext.server_benchmark.client import Client, Outcome, Patience, find_model, parse_server
from maxtext_ext.server_benchmark.data import DataOptions, DataSet, Key, open_data, sample
from maxtext_ext.text.languages import language_code
from maxtext_ext.text.normalize import get_normalizer

REPORT_NAME = "report.html"
_SHOWN = 10  # records that are left out


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkOptions:
  """Options of a benchmark; all but the last three are fixed with the first answer.

  Attributes:
    server: URL up to and with /v1.
    model: its name there; None: the only one.
    api: a name of APIS.
    prompt, instruction, max_tokens: see RequestOptions.
    force_language: tell the server the language of each record.
    concurrency: clips at the server at a time.
    data: how the data sets are read.
    seed: of the sample that `max_samples` takes; None: the first records.
    max_samples: so many records of each data set; None: all.
    patience: limits of requests.
    key: of the server, "" for none; it is stored nowhere.
  """

  server: str
  model: str | None = None
  api: str = "transcriptions"
  prompt: str = ""
  instruction: str = ""
  max_tokens: int | None = None
  force_language: bool = False
  concurrency: int = 16
  data: DataOptions = dataclasses.field(default_factory=DataOptions)
  seed: int | None = None
  max_samples: int | None = None
  patience: Patience = dataclasses.field(default_factory=Patience)
  key: str = dataclasses.field(default="", repr=False)

  def __post_init__(self) -> None:
    if self.api not in APIS:
      raise ValueError(f"--api is {self.api!r}, expected one of {', '.join(APIS)}")
    named = {
      "prompt": self.prompt,
      "instruction": self.instruction,
      "language": self.force_language,
    }
    for name, value in named.items():
      if value and name not in APIS[self.api].takes:
        flag = "--force-language" if name == "language" else f"--{name}"
        others = " or ".join(other for other, api in APIS.items() if name in api.takes)
        raise ValueError(
          f"{flag}: --api {self.api} has no field for it, only {others}; leave it out"
        )
    for name in ("concurrency", "max_samples", "max_tokens"):
      value = getattr(self, name)
      if value is not None and value < 1:
        raise ValueError(f"{name} is {value}, expected 1 or more")


def run_benchmark(
  paths: Sequence[str],
  out: str,
  options: BenchmarkOptions,
  *,
  normalizer: str = AUTO,
  report: str | None = None,
  console: Console | None = None,
) -> Scores:
  """Asks a server for the transcripts that `out` does not have yet, and reports on all of them.

  Args:
    paths: the data sets, see `open_data`.
    out: local folder of the answers; see `answers`.
    normalizer: as of `evaluate`.
    report: path of the page; None: report.html in `out`.
    console: that prints the table; standard output by default.

  Raises:
    AllFailedError: no clip has a transcript; the report is written.
    ValueError: data, server or settings cannot be used, or `out` has answers of other settings.
    OSError: the server cannot be reached, or a file not be read or written.
  """
  if normalizer != AUTO:
    get_normalizer(normalizer)  # an unknown name is refused before the first request
  if report is not None:
    check_place(report, paths)
  for path in paths:
    if is_inside(out, path) and is_inside(path, out):
      raise ValueError(f"--out {out}: is where the data is read; name another folder for answers")
  options = dataclasses.replace(options, server=parse_server(options.server))
  data_sets = open_data(paths, options.data)
  if options.model is None:
    model = find_model(options.server, options.key)
    options = dataclasses.replace(options, model=model)
  left_out: list[str] = []
  with (
    sole_writer(out, "benchmark", "benchmark", instead="another --out"),
    AnswerFile(out, settings_of(options, data_sets)) as answers,
  ):
    if answers.answered:
      say(f"{out}: {len(answers.answered):,} clips have an answer already")
    _Run(options, data_sets, answers, left_out).ask()
    answered, failed = len(answers.answered), answers.failed
  for line in left_out[:_SHOWN]:
    say(f"left out: {line}")
  if len(left_out) > _SHOWN:
    say(f"left out: {len(left_out) - _SHOWN:,} more")
  if not answered and not failed:
    raise ValueError(f"{', '.join(paths)}: no record can be used; see the lines above")
  facts: dict[str, Fact] = {
    "server": options.server,
    "model": str(options.model),
    "api": options.api,
    "data": ", ".join(paths),
    "concurrency": options.concurrency,
    "left_out": len(left_out),
  }
  scores = evaluate(
    out,
    report=report or os.path.join(out, REPORT_NAME),
    normalizer=normalizer,
    title=f"{options.model} at {options.server}",
    extra=facts,
    console=console,
  )
  if not answered:
    raise AllFailedError(
      f"{out}: none of the {failed:,} clips has a transcript, for the reasons above; check the"
      " server, --model, --api and --timeout, then run the same command again"
    )
  return scores


def settings_of(options: BenchmarkOptions, data_sets: Sequence[DataSet]) -> dict[str, Any]:
  """Returns what the answers of a benchmark depend on, as JSON; another benchmark differs in it."""
  fields = dataclasses.asdict(options)
  for name in ("max_samples", "patience", "key", "data"):
    del fields[name]
  if options.seed is None:  # answers of the first records are older than the key
    del fields["seed"]
  return (
    fields
    | dataclasses.asdict(options.data)
    | {"data": [{"path": each.path, "version": each.version} for each in data_sets]}
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Question:
  """A clip, as the line of its answer without the answer, and its request."""

  line: Hypothesis
  request: httpx2.Request


class _Run:
  """One run of a benchmark: reads in a thread, keeps `concurrency` clips at the server."""

  def __init__(
    self,
    options: BenchmarkOptions,
    data_sets: Sequence[DataSet],
    answers: AnswerFile,
    left_out: list[str],
  ) -> None:
    self._options, self._data_sets, self._answers = options, data_sets, answers
    self._left_out = left_out
    self._api = APIS[options.api]
    limit = options.max_samples
    self._total = None if limit is None else limit * len(data_sets)

  def ask(self) -> None:
    """Asks for all clips without an answer; raises as `run_benchmark`."""
    started = len(self._answers.answered)
    with ProgressLine("benchmark", self._total, start=started) as progress:
      try:
        asyncio.run(self._ask(progress))
      except BaseExceptionGroup as group:
        raise group.exceptions[0] from None

  async def _ask(self, progress: ProgressLine) -> None:
    concurrency = self._options.concurrency
    # Encoded requests wait here, so that no clip at the server waits for the reading of the next.
    queue: asyncio.Queue[_Question | None] = asyncio.Queue(concurrency)
    client = Client(
      self._options.server,
      self._api,
      connections=concurrency,
      patience=self._options.patience,
      key=self._options.key,
    )
    async with client, asyncio.TaskGroup() as group:
      group.create_task(self._read(client, queue))
      for _ in range(concurrency):
        group.create_task(self._work(client, queue, progress))

  async def _read(self, client: Client, queue: asyncio.Queue[_Question | None]) -> None:
    questions = self._questions(client)
    while (question := await asyncio.to_thread(next, questions, None)) is not None:
      await queue.put(question)
    for _ in range(self._options.concurrency):
      await queue.put(None)

  async def _work(
    self, client: Client, queue: asyncio.Queue[_Question | None], progress: ProgressLine
  ) -> None:
    while (question := await queue.get()) is not None:
      outcome = await client.ask(question.request)
      self._answers.append(fill_line(question.line, outcome))
      failed = self._answers.failed
      progress.update(len(self._answers.answered) + failed, f"{failed} failed" if failed else "")

  def _questions(self, client: Client) -> Iterator[_Question]:
    options = self._options
    shared = RequestOptions(
      model=str(options.model),
      prompt=options.prompt,
      instruction=options.instruction,
      max_tokens=options.max_tokens,
    )
    seen: set[Key] = set()
    for data in self._data_sets:
      with contextlib.closing(data.clips(seen, self._left_out)) as clips:  # ends its processes
        for clip in self._chosen(clips):
          if (clip.dataset_name, clip.sample_id) in self._answers.answered:
            continue
          try:
            line, wav = make_line(clip), encode_wav(pcm16_samples(clip))
          except ValueError as error:  # text that is no Unicode, audio out of scale
            self._left_out.append(f"{clip.sample_id}: {error}")
            continue
          language = (
            language_code(clip.language) if options.force_language and clip.language else ""
          )
          request = client.request(**self._api.encode(shared, wav, language))
          yield _Question(line=line, request=request)

  def _chosen(self, clips: Iterator[Record]) -> Iterable[Record]:
    limit, seed = self._options.max_samples, self._options.seed
    if limit is None or seed is None:
      return itertools.islice(clips, limit)
    return sample(clips, limit, seed)


def make_line(clip: Record) -> Hypothesis:
  """Returns the line of a clip without a transcript. Raises ValueError where it cannot have one."""
  return Hypothesis(
    id=clip.sample_id,
    dataset=clip.dataset_name,
    language=clip.language,
    duration=clip.seconds,
    reference=clip.text,
    hypothesis="",
    extra={} if clip.speaker is None else {"speaker": clip.speaker},
  )


def fill_line(line: Hypothesis, outcome: Outcome) -> Hypothesis:
  """Adds the transcript or the error to the line of a clip, and the times, see `evaluate.speed`."""
  extra: dict[str, Any] = {
    **line.extra,
    BEGAN: round(outcome.began, 6),
    ENDED: round(outcome.ended, 6),
    LATENCY: round(outcome.latency, 6),
    ATTEMPTS: outcome.attempts,
  }
  reply = outcome.reply
  if reply is None:
    return dataclasses.replace(line, extra=extra | {ERROR: outcome.error})
  if reply.language is not None:
    extra["detected_language"] = reply.language
  return dataclasses.replace(line, hypothesis=reply.text, complete=reply.complete, extra=extra)
