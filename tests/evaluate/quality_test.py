from maxtext_ext.evaluate.hypothesis import Hypothesis
from maxtext_ext.evaluate.quality import Quality, assess
from maxtext_ext.evaluate.wer import Texts


def assessed(*clips: dict[str, object]) -> Quality:
  hypotheses = [
    Hypothesis(**{"id": str(i), "duration": 30.0, "reference": "", "hypothesis": ""} | clip)
    for i, clip in enumerate(clips)
  ]
  return assess(hypotheses, [Texts(item.reference, item.hypothesis) for item in hypotheses])


def test_loops_are_those_that_nobody_said():
  said = "no no no no no no"
  quality = assessed(
    {"reference": "a", "hypothesis": said},
    {"reference": said, "hypothesis": said},
    {"reference": "a", "hypothesis": "a", "extra": {"finish_reason": "loop"}},
    {"reference": "一", "hypothesis": "一一一一一一"},
  )
  assert (quality.loops, quality.loop_rate) == (3, 0.75)


def test_cut_transcripts():
  quality = assessed(
    {"complete": False},
    {"extra": {"finish_reason": "length"}},
    {"complete": False, "extra": {"finish_reason": "length"}},
    {"extra": {"finish_reason": "stop"}},
  )
  assert (quality.cut, quality.cut_rate) == (3, 0.75)


def test_empty_transcripts_and_length():
  quality = assessed(
    {"reference": "one two", "hypothesis": ""},
    {"reference": "one two", "hypothesis": "one two three"},
    {"reference": "", "hypothesis": "not counted here"},
  )
  assert (quality.empty, quality.empty_rate, quality.length_ratio) == (1, 0.5, 0.75)


def test_words_on_clips_without_speech():
  quality = assessed(
    {"hypothesis": "thank you"},
    {"hypothesis": "", "duration": 60.0},
    {"reference": "one", "hypothesis": "one", "duration": 1000.0},
  )
  assert (quality.silence, quality.silence_with_text, quality.silence_words) == (2, 1, 2)
  assert quality.words_per_minute == 2 / 1.5


def test_without_speech_or_silence_some_rates_are_missing():
  assert assessed({"reference": "a", "hypothesis": "a"}).words_per_minute is None
  silent = assessed({"hypothesis": "a", "duration": 0.0})
  assert (silent.words_per_minute, silent.empty_rate, silent.length_ratio) == (None, None, None)


def test_figures_hold_counts_and_rates():
  figures = assessed({"reference": "יש meeting עכשיו", "hypothesis": "יש עכשיו"}).figures()
  assert figures["switched"] == {"utterances": 1, "words": 1, "edits": 1, "pier": 1.0}
  assert (figures["loop_rate"], figures["silence_words_per_minute"]) == (0.0, None)
