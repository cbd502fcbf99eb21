"""Long audio by a stand-in of an engine, which writes what it hears and answers out of order."""

import itertools

import numpy as np
import pytest

from maxtext_ext.audio.limits import SAMPLE_RATE, AudioError
from maxtext_ext.audio.pieces import cut_pieces
from maxtext_ext.audio.voice import FRAME
from maxtext_ext.decode.interface import Answer, Written
from maxtext_ext.decode.long_audio import Recording, transcribe
from maxtext_ext.decode.request import Request
from maxtext_ext.input.collate import info
from maxtext_ext.input.utterance import Utterance
from maxtext_ext.models.encoders.qwen3_audio import GEOMETRY
from maxtext_ext.text.joining import join_texts

AT_ONCE = 5  # clips that the stand-in holds


def recording(seconds: float, seed: int = 0, **fields) -> Recording:
  samples = np.random.default_rng(seed).normal(scale=0.1, size=round(seconds * SAMPLE_RATE))
  return Recording(blocks=lambda: iter([samples.astype(np.float32)]), **fields)


def build(name: str, samples: np.ndarray, source: Recording) -> Request:
  return Request(
    Utterance(
      sample_id=name,
      dataset_name="",
      language=source.language,
      text=source.context or "",
      samples=samples,
      prompt=np.zeros(1, np.int32),
      target=np.zeros(0, np.int32),
      audio_start=0,
      geometry=GEOMETRY,
    )
  )


def hear(samples: np.ndarray) -> str:
  return f"{len(samples)}:{int(1e6 * abs(float(samples[0])))}"


def answer(request: Request, text: str | None = None, reason: str = "stop") -> Answer:
  written = Written(tokens=[1], finish_reason=reason, log_probs=(-0.5, -0.25))
  clip = request.utterance
  text = hear(clip.samples) if text is None else text
  return Answer(clip=info(clip), language="English", text=text, written=written)


class Engine:
  """Holds a few clips and answers the newest first."""

  def __init__(self) -> None:
    self.most = 0

  def run(self, clips):
    clips = iter(clips)
    while held := list(itertools.islice(clips, AT_ONCE)):
      self.most = max(self.most, sum(len(clip.utterance.samples) for clip in held))
      yield from map(answer, reversed(held))


def test_the_text_is_that_of_its_pieces_in_order():
  engine = Engine()
  source = recording(600)
  ((number, result),) = transcribe([source], engine.run, build, piece_seconds=20.0)
  pieces = list(cut_pieces(source.blocks(), 20 * SAMPLE_RATE))
  assert number == 0
  assert len(pieces) > 30
  assert result.text == join_texts(hear(piece.samples) for piece in pieces)
  assert [segment.text for segment in result.segments] == [hear(p.samples) for p in pieces]
  ends = [(piece.start + len(piece.samples)) / SAMPLE_RATE for piece in pieces]
  assert [segment.end for segment in result.segments] == ends
  assert [segment.start for segment in result.segments] == [0.0, *ends[:-1]]
  assert result.seconds == 600
  assert engine.most <= AT_ONCE * 20 * SAMPLE_RATE
  assert {segment.log_prob for segment in result.segments} == {-0.375}


def test_recordings_go_together_and_each_gets_its_own():
  sources = [recording(seconds, seed) for seed, seconds in enumerate((31, 4, 70, 2))]
  together = dict(transcribe(sources, Engine().run, build, piece_seconds=10.0))
  for number, source in enumerate(sources):
    assert dict(transcribe([source], Engine().run, build, piece_seconds=10.0)) == {
      0: together[number]
    }
  assert list(transcribe([], Engine().run, build)) == []


def test_silence_is_not_decoded():
  silent = Recording(blocks=lambda: iter([np.zeros(50 * SAMPLE_RATE, np.float32)]))
  results = dict(transcribe([recording(3), silent], Engine().run, build, piece_seconds=10.0))
  assert (results[1].text, results[1].finish_reason) == ("", "no_speech")
  assert results[1].seconds == 50
  assert results[1].uncovered == ()
  assert results[0].finish_reason == "stop"
  (alone,) = transcribe([silent], Engine().run, build)
  assert alone[1].finish_reason == "no_speech"


def test_an_empty_answer_is_no_speech_and_a_cut_one_is_not():
  reasons = iter(["stop", "length"])
  ((_, result),) = transcribe(
    [recording(18)],
    lambda clips: (answer(clip, "", next(reasons)) for clip in clips),
    build,
    piece_seconds=10.0,
  )
  assert [segment.finish_reason for segment in result.segments] == ["no_speech", "length"]
  assert not result.complete


def test_bad_audio_does_not_keep_others():
  def broken():
    yield np.full(25 * SAMPLE_RATE, 0.1, np.float32)
    raise AudioError("cut short")

  sources = [recording(3), Recording(blocks=broken), recording(3)]
  results = dict(transcribe(sources, Engine().run, build, piece_seconds=10.0))
  assert isinstance(results[1], AudioError)
  assert results[0] == results[2]


def test_language_and_context_reach_every_piece():
  seen = []

  def run(clips):
    for clip in clips:
      seen.append((clip.utterance.language, clip.utterance.text))
      yield answer(clip)

  source = recording(18, language="Hebrew", context="names")
  ((_, result),) = transcribe([source], run, build, piece_seconds=10.0)
  assert seen == [("Hebrew", "names")] * 2
  assert result.language == "Hebrew"


@pytest.mark.parametrize(
  ("plain", "text"),
  [("", ""), ("good morning", "good morning"), ("Dinah Kohen", "Dana Cohen")],
)
@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_the_context_does_not_leak_into_the_text(plain, text, at_once):
  """The model writes its context whatever is said, and without one what it hears."""
  asked = []

  def run(clips):
    clips = iter(clips)
    while held := list(itertools.islice(clips, at_once)):
      for clip in reversed(held):
        asked.append(clip.utterance.text)
        yield answer(clip, clip.utterance.text or plain)

  source = recording(40, context="Dana Cohen")
  ((_, result),) = transcribe([source], run, build, piece_seconds=10.0)
  assert len(result.segments) > 3
  assert {segment.text for segment in result.segments} == {text}
  assert {segment.finish_reason for segment in result.segments} == {"stop" if text else "no_speech"}
  assert sorted(asked) == sorted(["", "Dana Cohen"] * len(result.segments))


def test_seeds_do_not_depend_on_other_recordings():
  """Also those of pieces that are decoded again without the context."""
  seeds: dict[tuple[str, int], list[int]] = {}

  def run(clips):
    for clip in clips:
      number = clip.utterance.sample_id.split()[0]
      piece = len(clip.utterance.samples)
      seeds.setdefault((number, piece), []).append(clip.seed)
      yield answer(clip, clip.utterance.text)

  def drawn(sources, sampling_seed=0):
    seeds.clear()
    list(transcribe(sources, run, build, piece_seconds=10.0, sampling_seed=sampling_seed))
    return dict(seeds)

  source, other = recording(25, context="Dana Cohen"), recording(31, seed=1)
  alone = drawn([source])
  assert len(alone) > 2
  assert all(len(each) == 2 and len(set(each)) == 1 for each in alone.values())
  assert len({each[0] for each in alone.values()}) == len(alone), "pieces differ"
  twice = drawn([source, other, source])
  for place in ("audio[0]", "audio[2]"):
    assert {piece: s for (name, piece), s in twice.items() if name == place} == {
      piece: s for (_, piece), s in alone.items()
    }
  assert drawn([source], sampling_seed=1) != alone


@pytest.mark.parametrize("context", ["", "Dana Cohen"])
def test_other_answers_are_asked_for_once(context):
  asked = []

  def run(clips):
    for clip in clips:
      asked.append(clip)
      yield answer(clip, "Dana Cohen is here" if context else "Dana Cohen")

  ((_, result),) = transcribe([recording(40, context=context)], run, build, piece_seconds=10.0)
  assert len(asked) == len(result.segments) > 3


def test_a_detector_leaves_out_noise_and_times_the_speech():
  samples = np.full(30 * SAMPLE_RATE, 0.1, np.float32)
  samples[12 * SAMPLE_RATE : 15 * SAMPLE_RATE] = 0.5
  heard = []

  def run(clips):
    for clip in clips:
      heard.append(clip.utterance.seconds)
      yield answer(clip)

  ((_, result),) = transcribe(
    [Recording(blocks=lambda: iter([samples]))],
    run,
    build,
    make_detector=lambda: lambda part: part.reshape(-1, FRAME)[:, 0] > 0.3,
  )
  assert sum(heard) == pytest.approx(3.6, abs=0.1)
  (spoken,) = [segment for segment in result.segments if segment.text]
  assert (spoken.start, spoken.end) == (pytest.approx(12, abs=0.04), pytest.approx(15, abs=0.04))
