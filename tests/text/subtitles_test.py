"""Subtitles as FFmpeg reads them, and division of long texts."""

import io
import itertools

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from maxtext_ext.text.subtitles import LINE_CELLS, Cue, make_cues, to_srt, to_vtt

CUES = [
  Cue(start=0.0, end=1.2345, text="Hello there,\nyou & me <i>"),
  Cue(start=59.9996, end=3_725.5, text="שלום, world"),
  Cue(start=359_999.0, end=360_000.25, text="你好"),
]


def test_the_text_of_srt():
  assert to_srt(CUES) == (
    "1\n00:00:00,000 --> 00:00:01,234\nHello there,\nyou & me <i>\n\n"
    "2\n00:01:00,000 --> 01:02:05,500\nשלום, world\n\n"
    "3\n99:59:59,000 --> 100:00:00,250\n你好\n\n"
  )
  assert to_srt([]) == ""


def test_the_text_of_vtt():
  assert to_vtt(CUES[:1]) == (
    "WEBVTT\n\n00:00:00.000 --> 00:00:01.234\nHello there,\nyou &amp; me &lt;i&gt;\n\n"
  )
  assert to_vtt([]) == "WEBVTT\n\n"


@pytest.mark.parametrize(("write", "kind"), [(to_srt, "srt"), (to_vtt, "webvtt")])
def test_ffmpeg_reads_them(write, kind):
  with av.open(io.BytesIO(write(CUES).encode()), format=kind) as file:
    packets = [packet for packet in file.demux() if packet.size]
  times = [(float(p.pts * p.time_base), float(p.duration * p.time_base)) for p in packets]
  expected = [(cue.start, cue.end - cue.start) for cue in CUES]
  assert times == [pytest.approx(each, abs=2e-3) for each in expected]
  texts = [bytes(packet).decode() for packet in packets]
  assert texts[1:] == [cue.text for cue in CUES[1:]]


def test_cues_with_times_of_words():
  text = " ".join(f"word{i:02d}" for i in range(20)) + " " + "long" * 25
  words = [(word, (i + 0.25, i + 0.75)) for i, word in enumerate(text.split())]
  cues = make_cues(text, 0, 99, words)
  spans = [(cue.start, cue.end) for cue in cues]
  assert spans[0] == (0.25, 11.75), "12 words"
  assert [first.end <= second.start for first, second in itertools.pairwise(cues)] == [True] * (
    len(cues) - 1
  )
  assert spans[-1][1] == 20.75
  assert make_cues(text, 0, 99, words[1:]) == make_cues(text, 0, 99), "not all of its words"


@given(
  text=st.text(st.sampled_from("ab \nשл你好,."), max_size=400),
  start=st.floats(0, 1e4),
  seconds=st.floats(0.1, 30),
)
def test_long_texts_are_divided(text: str, start: float, seconds: float):
  cues = make_cues(text, start, start + seconds)
  assert "".join("".join(cue.text.split()) for cue in cues) == "".join(text.split())
  for cue in cues:
    lines = cue.text.split("\n")
    assert len(lines) <= 2
    assert all(0 < cell_len(line) <= LINE_CELLS for line in lines)
  edges = [edge for cue in cues for edge in (cue.start, cue.end)]
  assert edges == sorted(edges)
  if cues:
    assert (edges[0], edges[-1]) == (start, pytest.approx(start + seconds))


def test_words_stay_whole_and_long_cues_get_more_time():
  text = "word " * 17 + "ends."
  first, second = make_cues(text, 10.0, 20.0)
  assert first.text == " ".join(["word"] * 8) + "\n" + " ".join(["word"] * 8)
  assert second.text == "word ends."
  assert first.end == second.start == pytest.approx(10 + 10 * len(first.text) / 89, abs=0.2)
