import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.audio.levels import decibels, measure

SINE = np.sin(2 * np.pi * 100 * np.arange(16_000) / 16_000).astype(np.float32)


def test_sine_at_half_scale():
  levels = measure(0.5 * SINE)
  assert levels.peak == pytest.approx(0.5)
  assert levels.rms == pytest.approx(0.5 / math.sqrt(2), rel=1e-5)
  assert levels.clipped == 0
  assert levels.offset == pytest.approx(0, abs=1e-6)


def test_clipped_sine():
  levels = measure(np.clip(2 * SINE, -1, 1))
  assert levels.clipped == pytest.approx(2 / 3, abs=0.01)  # |sin| > 1/2 for two thirds of the time
  assert levels.peak == 1


@pytest.mark.parametrize("extreme", [32_767, -32_768])
def test_integers_at_their_limits_are_clipped(extreme):
  levels = measure(np.array([0, 0, 0, extreme], np.int16))
  assert levels.clipped == 0.25
  assert levels.peak == abs(extreme) / 32_768


def test_just_below_full_scale_is_not_clipped():
  assert measure(np.array([32_766], np.int16)).clipped == 0


def test_offset_is_the_mean():
  assert measure(SINE * 0.1 + 0.05).offset == pytest.approx(0.05, abs=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_what_is_not_sound_has_no_finite_rms(bad):
  samples = SINE.copy()
  samples[7] = bad
  assert not math.isfinite(measure(samples).rms)


@given(st.lists(st.integers(-32_768, 32_767), min_size=1, max_size=500))
def test_equal_to_a_plain_computation(values):
  integers = np.array(values, np.int16)
  exact = np.array(values, np.float64) / 32_768
  for samples in (integers, exact.astype(np.float32)):
    levels = measure(samples)
    assert levels.peak == np.abs(exact).max()
    assert levels.rms == pytest.approx(math.sqrt((exact**2).mean()), rel=1e-5)
    assert levels.offset == pytest.approx(exact.mean(), abs=1e-5)
    assert levels.clipped == pytest.approx(np.mean(np.abs(exact) >= 32_767 / 32_768))


@pytest.mark.parametrize(("amplitude", "expected"), [(1.0, 0.0), (0.1, -20.0), (0.0, -math.inf)])
def test_decibels(amplitude, expected):
  assert decibels(amplitude) == expected
