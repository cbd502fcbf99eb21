"""A benchmark against a server that is slow, busy, drops connections and returns nonsense."""

import dataclasses
import io
import json
import socket

import numpy as np
import pytest
from rich.console import Console

from maxtext_ext.errors import AllFailedError
from maxtext_ext.evaluate.hypotheses import read_hypotheses
from maxtext_ext.server_benchmark.benchmark import BenchmarkOptions, run_benchmark
from maxtext_ext.server_benchmark.client import Patience
from maxtext_ext.server_benchmark.data import DataOptions
from tests import asr_server
from tests.server_benchmark import corpora

EAGER = Patience(first=0.0, attempts=3)
CLIPS = 12


def samples(number: int) -> int:
  return len(corpora.record(number).audio)


@pytest.fixture
def server():
  with asr_server.serve() as state:
    state.texts = corpora.texts(CLIPS)
    yield state


@pytest.fixture
def data(tmp_path):
  return corpora.write_jsonl(tmp_path / "eval.jsonl", CLIPS, language="en")


class Benchmark:
  """Benchmarks of a server with one set of data, and what they printed."""

  def __init__(self, server, data, folder):
    self._server, self._data, self.out = server, data, folder / "out"
    self.console = Console(file=io.StringIO(), width=200)

  def run(self, *, normalizer="auto", **options):
    defaults = {"server": self._server.url, "concurrency": 4, "patience": EAGER}
    return run_benchmark(
      [self._data],
      str(self.out),
      BenchmarkOptions(**defaults | options),
      normalizer=normalizer,
      console=self.console,
    )

  @property
  def lines(self):
    return {each.id: each for each in read_hypotheses(self.out)}

  @property
  def figures(self):
    return json.loads((self.out / "report.json").read_text())


@pytest.fixture
def benchmark(server, data, tmp_path):
  return Benchmark(server, data, tmp_path)


@pytest.mark.parametrize("api", ["transcriptions", "chat"])
def test_all_clips_are_asked_for_and_scored(benchmark, server, api):
  server.together = 4  # answers nothing before four clips are there
  server.texts[samples(3)] = "language English<asr_text>wordd"
  scores = benchmark.run(api=api)
  assert server.most == 4
  assert set(server.counts().values()) == {1}
  assert (scores.overall.utterances, scores.overall.words.edits) == (CLIPS, 1)
  assert scores.normalizer == "english"
  lines = benchmark.lines
  assert lines["clip3"].hypothesis == "wordd"
  assert lines["clip3"].extra["detected_language"] == "English"
  assert lines["clip0"].duration == 0.1
  figures = benchmark.figures
  assert figures["title"] == f"qwen at {server.url}"
  assert (figures["model"], figures["api"], figures["concurrency"]) == ("qwen", api, 4)
  assert "secret" not in (benchmark.out / "benchmark.json").read_text()


def test_the_figures_are_what_the_server_did(benchmark, server):
  faults = {
    1: [503, asr_server.RESET],
    2: [429],
    4: [503] * 9,
    5: [400],
    6: [b"<html>"],
    7: [asr_server.CLOSE] * 9,
  }
  server.faults = {samples(number): list(each) for number, each in faults.items()}
  scores = benchmark.run()
  counts = server.counts()
  tries = {1: 3, 2: 2, 4: 3, 5: 1, 6: 1, 7: 3}
  assert counts == {samples(number): tries.get(number, 1) for number in range(CLIPS)}
  failed = {4, 5, 6, 7}
  speed = benchmark.figures["speed"]
  assert speed["clips"] == CLIPS
  assert speed["failures"] == {
    "HTTP 503": 1,
    "HTTP 400": 1,
    "unusable answer": 1,
    "connection lost": 1,
  }
  assert speed["repeats"] == sum(counts.values()) - CLIPS
  heard = [number for number in range(CLIPS) if number not in failed]
  assert speed["audio_seconds"] == pytest.approx(sum(map(samples, heard)) / 16_000)
  # Failed clips count as empty transcripts.
  assert scores.overall.words.deletions == 2 * len(failed) == scores.overall.words.edits
  # The client saw each answer after the server had begun it, and the wall time holds them all.
  lines = benchmark.lines
  answers = {len(each.samples): each for each in server.asked}  # the last of each clip
  latencies = []
  for number in heard:
    extra, answer = lines[f"clip{number}"].extra, answers[samples(number)]
    latencies.append(extra["latency"])
    assert extra["latency"] + 1e-5 >= answer.replied - answer.received
    assert extra["began"] <= answer.received + 1e-5 and answer.replied <= extra["ended"] + 1e-5
  for percent in (50, 95, 99):
    assert speed[f"latency_p{percent}"] == pytest.approx(np.percentile(latencies, percent))
  spans = [(line.extra["began"], line.extra["ended"]) for line in lines.values()]
  longest = max(end for _, end in spans) - min(begin for begin, _ in spans)
  assert max(end - begin for begin, end in spans) <= speed["wall_seconds"] <= longest + 1e-6
  assert speed["rtfx"] == pytest.approx(speed["audio_seconds"] / speed["wall_seconds"])
  printed = benchmark.console.file.getvalue()
  assert "Failures: 4 of 12 clips (" in printed and "Latency: p50 " in printed
  assert "clip5: HTTP 400: fault 400" in printed
  assert "Speed of the server" in (benchmark.out / "report.html").read_text()


def test_a_second_run_asks_for_what_is_missing(benchmark, server):
  server.faults = {samples(1): [400]}
  benchmark.run(max_samples=3)
  assert set(server.counts()) == {samples(number) for number in range(3)}
  before = benchmark.lines
  assert list(before) and "error" in before["clip1"].extra
  server.asked.clear()
  scores = benchmark.run()
  # The clip that failed, and those beyond the first three.
  assert set(server.counts()) == {samples(number) for number in (1, *range(3, CLIPS))}
  assert (scores.overall.utterances, scores.wer) == (CLIPS, 0.0)
  assert benchmark.lines["clip0"].extra == before["clip0"].extra
  server.asked.clear()
  benchmark.run()
  assert not server.asked


def test_a_sample_is_random_and_grows(benchmark, server):
  benchmark.run(max_samples=4, seed=1)
  drawn = set(server.counts())
  assert len(drawn) == 4 and drawn != {samples(number) for number in range(4)}
  server.asked.clear()
  with pytest.raises(ValueError, match="seed was 1, is 2"):
    benchmark.run(max_samples=4, seed=2)
  with pytest.raises(ValueError, match="seed was 1, is null"):
    benchmark.run()
  assert not server.asked
  benchmark.run(max_samples=7, seed=1)
  assert len(server.counts()) == 3 and not drawn & set(server.counts())
  benchmark.run(seed=1)
  assert set(benchmark.lines) == {f"clip{number}" for number in range(CLIPS)}


def test_a_server_that_ends_loses_no_answer(benchmark, server):
  with socket.socket() as unused:
    unused.bind(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
    with pytest.raises(OSError, match="no connection"):
      benchmark.run(server=url, model="qwen")
  benchmark.out = benchmark.out.with_name("other")
  benchmark.run(max_samples=2)
  server.faults = {samples(3): [401]}
  with pytest.raises(ValueError, match="HTTP 401"):
    benchmark.run(concurrency=4)
  kept = set(benchmark.lines)
  assert kept >= {"clip0", "clip1"}
  server.asked.clear()
  assert benchmark.run().wer == 0.0
  missing = [number for number in range(CLIPS) if f"clip{number}" not in kept]
  assert set(server.counts()) == set(map(samples, missing))


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"model": "other"}, 'model was "qwen", is "other"'),
    ({"concurrency": 5}, "concurrency was 4, is 5"),
    ({"prompt": "names"}, 'prompt was "", is "names"'),
    ({"data": DataOptions(language="he")}, 'language was null, is "he"'),
  ],
)
def test_other_settings_are_refused(benchmark, server, change, message):
  benchmark.run(max_samples=1)
  server.asked.clear()
  with pytest.raises(ValueError, match=message):
    benchmark.run(**change)
  assert not server.asked
  benchmark.run(max_samples=2, patience=dataclasses.replace(EAGER, attempts=2), key="k")
  assert len(server.asked) == 1


def test_changed_data_are_refused(benchmark, tmp_path):
  benchmark.run(max_samples=1)
  corpora.write_jsonl(tmp_path / "eval.jsonl", CLIPS - 1, language="en")
  with pytest.raises(ValueError, match="data was"):
    benchmark.run(max_samples=1)


def test_the_language_is_told_when_asked(benchmark, server):
  benchmark.run(max_samples=1, force_language=True, prompt="names", max_tokens=7)
  fields = server.asked[0].fields
  assert (fields["language"], fields["prompt"]) == ("en", "names")
  assert fields["max_completion_tokens"] == "7"


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"api": "speech"}, "--api is 'speech', expected one of transcriptions, chat"),
    ({"api": "chat", "force_language": True}, "--force-language: --api chat has no field for it"),
    ({"instruction": "x"}, "--instruction: --api transcriptions .*, only chat; leave it out"),
    ({"concurrency": 0}, "concurrency is 0, expected 1 or more"),
  ],
)
def test_options_that_do_not_fit_are_refused(options, message):
  with pytest.raises(ValueError, match=message):
    BenchmarkOptions(server="http://a/v1", **options)


def test_an_unknown_normalizer_is_refused_before_the_first_request(benchmark, server):
  with pytest.raises(ValueError, match="klingon"):
    benchmark.run(normalizer="klingon")
  assert not server.asked
  assert benchmark.run(normalizer="none", max_samples=1).normalizer == "none"


def test_data_without_a_clip_are_refused(benchmark, tmp_path, capsys):
  (tmp_path / "eval.jsonl").write_text('{"audio": "none.wav", "text": "x"}\n')
  with pytest.raises(ValueError, match="no record can be used"):
    benchmark.run()
  assert "left out: " in capsys.readouterr().err


def test_data_are_not_overwritten(server, data, tmp_path):
  options = BenchmarkOptions(server=server.url)
  with pytest.raises(ValueError, match=r"eval\.jsonl: the page is HTML"):
    run_benchmark([data], str(tmp_path / "out"), options, report=data)
  with pytest.raises(ValueError, match="is where the data is read"):
    run_benchmark([str(tmp_path)], str(tmp_path), options)
  assert not server.asked


def test_it_fails_where_no_clip_has_a_transcript(benchmark, server):
  server.faults = {samples(number): [400] for number in range(2)}
  with pytest.raises(AllFailedError, match="none of the 2 clips has a transcript"):
    benchmark.run(max_samples=2)
  assert benchmark.figures["speed"]["failed"] == 2
  assert benchmark.run(max_samples=2).wer < 1.0  # the same command, a server that is well
