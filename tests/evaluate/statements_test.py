from maxtext_ext.evaluate.calibration import calibrate
from maxtext_ext.evaluate.decoded import Decoded
from maxtext_ext.evaluate.hypothesis import Hypothesis
from maxtext_ext.evaluate.quality import assess
from maxtext_ext.evaluate.statements import (
  state_calibration,
  state_method,
  state_quality,
  state_source,
)
from maxtext_ext.evaluate.wer import Texts, score


def clip(number: int, said: str, heard: str, **extra: object) -> Hypothesis:
  return Hypothesis(
    id=str(number),
    duration=30.0,
    reference=said,
    hypothesis=heard,
    extra=extra,
    complete=number > 0,
  )


def stated(*clips: Hypothesis) -> dict[str, str]:
  return state_quality(assess(clips, [Texts(item.reference, item.hypothesis) for item in clips]))


def test_quality_is_stated_with_counts():
  clips = [clip(0, "a b c d", ""), clip(1, "", "so"), clip(2, "a b", "c c c c c c")]
  assert stated(*clips) == {
    "Loops": "33.33% (1 of 3)",
    "Cut transcripts": "33.33% (1)",
    "Empty transcripts of speech": "50.00% (1 of 2)",
    "Words written for a word said": "1",
    "Clips without speech": "1, 1 with text, 2 words a minute",
  }


def test_what_does_not_occur_is_not_stated():
  names = stated(clip(1, "a", "a")).keys()
  assert not names & {"Clips without speech", "Code-switched words (PIER)"}
  switched = stated(clip(1, "יש meeting עכשיו", "יש עכשיו"))
  assert switched["Code-switched words (PIER)"] == "100.00% of 1 word in 1 clip"


def test_calibration_is_stated():
  words = [{"word": "a", "confidence": 0.5}, {"word": "x", "confidence": 0.25}]
  clips = [clip(1, "a b", "a x", words=words), clip(2, "a b", "a b", words=words)]
  texts = [Texts(item.reference, item.hypothesis) for item in clips]
  result = calibrate(clips, texts, [str.lower] * 2)
  assert result is not None
  assert state_calibration(result) == {
    "Words with a confidence": "2, 50.00% right",
    "Expected calibration error (ECE)": "0.3750",
    "Right above wrong words (AUROC)": "1",
    "Left out": "1 clips whose words the normaliser joins",
  }


def test_method_and_source_are_named():
  scores = score([clip(1, "a", "a"), clip(2, "b", "b")])
  assert state_method(scores, "as asked") == {
    "Normaliser": "basic (as asked)",
    "Alignment": "levenshtein",
    "95% intervals": "of 2 blocks by clip, 1,000 resamples, seed 0 (rough: few blocks)",
  }
  source = Decoded(
    run="r", split="dev", checkpoint="step", step=7, normalizer="basic", max_new_tokens=9
  )
  assert state_source(source) == "split dev by step 7 of run r"
