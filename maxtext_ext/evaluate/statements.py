"""Statements of a report about quality and calibration: names and values of its lists."""

from maxtext_ext.evaluate.calibration import Calibration
from maxtext_ext.evaluate.decoded import Decoded
from maxtext_ext.evaluate.formats import counted, describe_intervals, format_number, format_rate
from maxtext_ext.evaluate.quality import Quality
from maxtext_ext.evaluate.speed import PERCENTILES, Speed
from maxtext_ext.evaluate.wer import Scores
from maxtext_ext.pages.duration import format_duration


def state_source(source: Decoded) -> str:
  """Names clips, checkpoint and run: "split test by step 1200 of run hebrew"."""
  return f"{source.what} by {source.weights} of run {source.run}"


def state_method(scores: Scores, reason: str) -> dict[str, str]:
  """Lists how the rates were computed."""
  return {
    "Normaliser": f"{scores.normalizer} ({reason})",
    "Alignment": scores.method.alignment,
    "95% intervals": f"of {describe_intervals(scores)}",
  }


def state_quality(quality: Quality) -> dict[str, str]:
  """Lists signs of bad transcripts."""
  facts = {
    "Loops": f"{format_rate(quality.loop_rate)} ({quality.loops:,} of {quality.utterances:,})",
    "Cut transcripts": f"{format_rate(quality.cut_rate)} ({quality.cut:,})",
    "Empty transcripts of speech": (
      f"{format_rate(quality.empty_rate)} ({quality.empty:,} of {quality.speech:,})"
    ),
    "Words written for a word said": format_number(quality.length_ratio),
  }
  if quality.silence:
    facts["Clips without speech"] = (
      f"{quality.silence:,}, {quality.silence_with_text:,} with text,"
      f" {format_number(quality.words_per_minute)} words a minute"
    )
  if quality.switched is not None:
    words = counted(quality.switched.words, "word")
    clips = counted(quality.switched.utterances, "clip")
    rate = format_rate(quality.switched.rate)
    facts["Code-switched words (PIER)"] = f"{rate} of {words} in {clips}"
  return facts


def state_calibration(calibration: Calibration) -> dict[str, str]:
  """Lists figures of the confidences of words."""
  facts = {
    "Words with a confidence": f"{calibration.words:,}, {format_rate(calibration.accuracy)} right",
    "Expected calibration error (ECE)": f"{calibration.ece:.4f}",
    "Right above wrong words (AUROC)": format_number(calibration.auroc),
  }
  if calibration.left_out:
    facts["Left out"] = f"{calibration.left_out:,} clips whose words the normaliser joins"
  return facts


def state_speed(speed: Speed) -> dict[str, str]:
  """Lists latency, throughput and failures of a server."""
  facts = {}
  if speed.latency_mean is not None:
    shares = zip(PERCENTILES, speed.latency_percentiles, strict=True)
    latencies = ", ".join(f"p{share} {_seconds(latency)}" for share, latency in shares)
    facts["Latency"] = f"{latencies}, mean {_seconds(speed.latency_mean)}"
    facts["Real-time factor (RTFx)"] = (
      f"{speed.rtfx or 0.0:,.1f} ({format_duration(speed.audio_seconds)} of audio in"
      f" {_seconds(speed.wall_seconds)}, {format_number(speed.clips_per_second)} clips a second,"
      f" {speed.at_once:.1f} at once)"
    )
  facts["Failures"] = f"{speed.failed:,} of {speed.clips:,} clips"
  if speed.failures:
    reasons = ", ".join(f"{reason}: {count:,}" for reason, count in speed.failures.items())
    facts["Failures"] += f" ({reasons}); scored as empty transcripts"
  facts["Repeated requests"] = f"{speed.repeats:,}"
  return facts


def _seconds(seconds: float) -> str:
  return f"{seconds:.3f} s" if seconds < 10 else f"{seconds:.1f} s"
