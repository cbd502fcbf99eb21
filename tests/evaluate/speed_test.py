"""Latency, throughput and failures of a server, from the lines of its answers."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.evaluate.hypothesis import Hypothesis
from maxtext_ext.evaluate.report import write_report
from maxtext_ext.evaluate.speed import Speed, measure
from maxtext_ext.evaluate.statements import state_speed


def line(began: float, ended: float, *, duration: float = 1.0, **extra: object) -> Hypothesis:
  return Hypothesis(
    id=f"{began}-{ended}",
    reference="one two",
    hypothesis="" if "error" in extra else "one two",
    duration=duration,
    extra={"began": began, "ended": ended, "latency": ended - began, "attempts": 1} | extra,
  )


def speed_of(*lines: Hypothesis) -> Speed:
  speed = measure(lines)
  assert speed is not None
  return speed


def test_figures_of_a_run_and_its_continuation():
  speed = speed_of(
    line(100.0, 102.0, duration=6.0),
    line(101.0, 104.0, duration=9.0, latency=2.5, attempts=3),
    line(103.0, 103.5, duration=50.0, error="HTTP 503: busy: later", attempts=4),
    line(900.0, 901.0, duration=5.0),  # of another day: the pause does not count
  )
  assert (speed.clips, speed.failed, speed.failures) == (4, 1, {"HTTP 503": 1})
  assert speed.repeats == 5
  assert speed.wall_seconds == 5.0
  assert speed.audio_seconds == 20.0
  assert speed.rtfx == 4.0
  assert speed.clips_per_second == 0.6
  assert speed.at_once == (2.0 + 3.0 + 0.5 + 1.0) / 5.0
  assert speed.latency_mean == pytest.approx((2.0 + 2.5 + 1.0) / 3)
  assert speed.latency_percentiles == tuple(np.percentile([2.0, 2.5, 1.0], [50, 95, 99]))


spans = st.lists(
  st.tuples(st.integers(0, 40), st.integers(0, 12)).map(lambda pair: (pair[0], sum(pair))),
  min_size=1,
)


@given(spans)
def test_wall_time_is_that_with_a_clip_at_the_server(pairs):
  busy = {second for began, ended in pairs for second in range(began, ended)}
  speed = speed_of(*(line(float(began), float(ended)) for began, ended in pairs))
  assert speed.wall_seconds == len(busy)
  total = sum(ended - began for began, ended in pairs)
  assert math.isclose(speed.at_once * len(busy), total if busy else 0.0)
  assert (speed.rtfx is None) == (not busy)


def test_lines_of_other_systems_have_no_speed():
  plain = Hypothesis(id="a", reference="one", hypothesis="one", extra={"latency": 1.0})
  assert measure([plain]) is None
  broken = [line(2.0, 1.0), line(math.nan, 1.0), line(0.0, math.inf)]
  assert measure(broken) is None
  assert (
    speed_of(line(0.0, 1.0, latency=math.nan, attempts=math.inf)).figures()
    | {
      "repeats": 0,
      "latency_mean": None,
      "latency_p50": None,
    }
    == speed_of(line(0.0, 1.0, latency="?")).figures()
  )


def test_statements_name_failures_by_reason():
  lines = [line(0.0, 1.0), line(0.0, 2.0), line(0.0, 0.5, error="HTTP 400: too long")]
  facts = state_speed(speed_of(*lines))
  assert facts == {
    "Latency": "p50 1.500 s, p95 1.950 s, p99 1.990 s, mean 1.500 s",
    "Real-time factor (RTFx)": "1.0 (2.0 s of audio in 2.000 s, 1 clips a second, 1.8 at once)",
    "Failures": "1 of 3 clips (HTTP 400: 1); scored as empty transcripts",
    "Repeated requests": "0",
  }
  none = state_speed(speed_of(line(0.0, 1.0, error="no answer within 1 s")))
  assert list(none) == ["Failures", "Repeated requests"]


def test_the_report_has_the_speed(tmp_path):
  lines = [line(0.0, 1.0), line(0.0, 2.0, error="<b>: x")]
  write_report(lines, tmp_path / "a.html", title="Server")
  page = (tmp_path / "a.html").read_text()
  assert "Speed of the server" in page
  assert "&lt;b&gt;: 1" in page
  assert page.count("No transcript: &lt;b&gt;: x") == 1
  assert r"- Failures: 1 of 2 clips (\<b>: 1); scored as empty" in (tmp_path / "a.md").read_text()
  figures = json.loads((tmp_path / "a.json").read_text())["speed"]
  assert (figures["rtfx"], figures["latency_p99"], figures["failures"]) == (0.5, 1.0, {"<b>": 1})
  write_report([Hypothesis(id="a", reference="b", hypothesis="b")], tmp_path / "b.html", title="")
  assert "Speed of the server" not in (tmp_path / "b.html").read_text()
  assert "speed" not in json.loads((tmp_path / "b.json").read_text())
