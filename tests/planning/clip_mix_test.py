"""Clips that a plan for decoding assumes."""

import numpy as np
import pytest

from maxtext_ext.planning.clip_mix import LONGEST, SHORTEST, ClipMix


def mix(median: float) -> ClipMix:
  return ClipMix(median=median, tokens_per_chunk=13, chunk_seconds=1.0, chunks_per_window=8)


def test_lengths_are_log_normal_within_limits():
  seconds = mix(6.0).seconds
  assert np.median(seconds) == pytest.approx(6.0, rel=0.01)
  assert np.std(np.log(seconds)) == pytest.approx(0.7, rel=0.1)
  assert seconds.min() >= SHORTEST
  assert seconds.max() == LONGEST
  assert np.all(np.diff(seconds) >= 0)


def test_a_clip_needs_prompt_windows_and_steps():
  clips = mix(30.0)
  assert clips.seconds[-1] == 30.0
  assert clips.prompt_tokens[-1] == 30 * 13 + 15
  assert clips.windows[-1] == 4
  assert clips.steps[-1] == 91


def test_longer_clips_read_more_places():
  assert 128 <= mix(2.0).places_read(128) < mix(6.0).places_read(128) < mix(30.0).places_read(128)
  assert mix(30.0).places_read(128) <= 512
