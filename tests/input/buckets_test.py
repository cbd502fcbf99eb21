"""Limits of buckets: the best of their number, and few."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from inputs import with_keys

from maxtext_ext.input.buckets import (
  MOST_BUCKETS,
  PADDING,
  choose_limits,
  frames_of_clips,
  longest_seconds,
  rows_of,
)
from maxtext_ext.input.mixture import Element
from maxtext_ext.input.reading import NoiseData
from maxtext_ext.input.row_windows import Sample
from maxtext_ext.input.transforms import Chain


def padding(frames: list[int], unit: int, limits: tuple[int, ...]) -> float:
  """Share of the frames of all rows that are empty."""
  rows = [next(limit for limit in limits if count <= limit * unit) * unit for count in frames]
  return 1 - sum(frames) / sum(rows)


@given(
  frames=st.lists(st.integers(1, 60), min_size=1, max_size=30),
  unit=st.sampled_from([1, 8]),
  most=st.integers(1, 3),
)
def test_no_other_limits_of_that_number_leave_less_padding(frames, unit, most):
  longest = -(-max(frames) // unit)
  limits = choose_limits(np.array(frames), np.ones(len(frames)), unit, longest, most, 0.0)
  assert limits[-1] == longest and list(limits) == sorted(set(limits))
  lengths = sorted({-(-count // unit) for count in frames})
  others = itertools.combinations(lengths[:-1], min(most, len(lengths)) - 1)
  assert padding(frames, unit, limits) == pytest.approx(
    min(padding(frames, unit, (*chosen, longest)) for chosen in others)
  )


@pytest.mark.parametrize(
  ("mean", "spread", "most"),
  [(12.0, 0.3, 14), (6.0, 0.5, 24)],  # seconds: read books, and conversations
)
def test_a_few_programs_leave_less_than_five_percent_of_padding(mean, spread, most):
  rng = np.random.default_rng(0)
  frames = np.clip(rng.lognormal(np.log(100 * mean), spread, 20_000), 50, 3000).astype(int)
  longest = -(-int(frames.max()) // 8)
  limits = choose_limits(frames, np.ones(len(frames)), 8, longest, MOST_BUCKETS, PADDING)
  assert padding(frames.tolist(), 8, limits) < 0.05
  assert len(limits) <= most


def test_limits_are_chosen_quickly_among_very_long_clips():
  frames = np.arange(100, 2_000_000, 2_000)
  limits = choose_limits(frames, np.ones(len(frames)), 8, 250_000, MOST_BUCKETS, PADDING)
  assert limits[-1] == 250_000 and padding(frames.tolist(), 8, limits) < 0.06


def test_batches_have_about_as_many_seconds_whatever_their_bucket(config):
  assert rows_of(config, 3) == config.rows
  # Windows of 8 s, and rows for 4 devices.
  seconds = with_keys(
    dataclasses.replace(config, layout="bucketed"), per_device_batch_seconds=100.0, row_multiple=4
  )
  assert [rows_of(seconds, windows) for windows in (1, 2, 6, 12, 100)] == [48, 24, 8, 4, 4]
  with pytest.raises(ValueError, match="per_device_batch_seconds=100: rows of several clips"):
    dataclasses.replace(seconds, layout="packed")


class Stored:
  def __init__(self, *seconds: float) -> None:
    self.samples = np.array([round(each * 16_000) for each in seconds])

  @property
  def lengths(self) -> "Stored":
    return self


def test_the_longest_clip_is_taken_at_its_slowest_speed(config):
  data = Stored(1.0, 4.0, 6.0, -1.0)
  assert longest_seconds(config, [data]) == 4.0, "6 s are over max_seconds"
  assert longest_seconds(with_keys(config, speed_range=(0.9, 1.0)), [data]) == 4 / 0.9
  assert longest_seconds(with_keys(config, speed_range=(0.5, 1.0)), [data]) == 5.0


def test_clips_count_as_often_as_they_are_read(config):
  keys = {"speed_range": (0.5, 1.5), "noise_only_seconds": (1.0, 3.0), "min_seconds": 0.5}
  elements = tuple(Element(dataset, 0, 0) for dataset in (0, 0, 0, 1, 2))
  datasets = (Stored(2.0), Stored(0.4, 4.0, 6.0), NoiseData())
  sample = Sample(datasets=datasets, chain=Chain(()), elements=elements)
  frames, weights = frames_of_clips(with_keys(config, **keys), sample)
  first, second, noise = np.split(frames, [9, 18])
  assert (first.max(), first.min()) == (400, 133)
  assert (second.max(), second.min()) == (500, 266)
  assert (noise.max(), noise.min()) == (300, 100)
  assert [part.sum() for part in np.split(weights, [9, 18])] == pytest.approx([3, 1, 1])
