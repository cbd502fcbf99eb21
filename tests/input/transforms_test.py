"""Transforms of the data chain."""

import numpy as np
import pytest
from inputs import with_keys

from maxtext_ext.audio.perturbation import Perturbation
from maxtext_ext.input.drops import Drop
from maxtext_ext.input.filters import Filters
from maxtext_ext.input.host_augment import SpecAugment
from maxtext_ext.input.transforms import (
  BuildUtterance,
  Chain,
  Clip,
  DecodeRecord,
  DrawMasks,
  FilterClip,
  MakeNoise,
  NoiseTurn,
  PerturbClip,
  Serialized,
)
from maxtext_ext.records.schema import encode_example


@pytest.fixture
def chain(config, tokenizer, noise_dir):
  """Every transform."""
  noisy = with_keys(config, noise_dir=noise_dir, noise_only_rate=0.5, noise_only_seconds=(3.0, 3.0))
  return Chain(
    (
      DecodeRecord(),
      FilterClip(filters=Filters(max_seconds=2.0)),
      PerturbClip(perturbation=Perturbation(speed_range=(0.5, 0.5)), seed=0),
      MakeNoise.from_config(noisy),
      BuildUtterance.from_config(config, tokenizer),
      DrawMasks(spec_augment=SpecAugment(spec_augment_mels=128), mel_bins=128, seed=0),
    )
  )


def test_a_record_becomes_an_utterance(chain, make_record):
  record = make_record(7, seconds=1.5)
  made = chain.map(Serialized(data=encode_example(record), dataset="a", epoch=3))
  assert (made.sample_id, made.text, made.epoch) == ("clip7", record.text, 3)
  assert len(made.samples) == 2 * len(record.audio), "half as fast"
  assert made.chunk_mask.shape == (made.chunks, 4)


@pytest.mark.parametrize(
  ("changes", "reason", "bad"),
  [
    ({"seconds": 2.5}, "outside max_seconds", False),
    ({"audio": np.full(16_000, np.nan, np.float32)}, "unusable", True),
    ({"seconds": 1.0, "language": "<none>"}, "unusable", True),
  ],
)
@pytest.mark.parametrize("dataset", ["", "a"])
def test_a_drop_reaches_the_end_with_its_reason(chain, make_record, changes, reason, bad, dataset):
  data = encode_example(make_record(7, **changes))
  dropped = chain.map(Serialized(data=data, dataset=dataset))
  assert isinstance(dropped, Drop)
  assert dropped.reason == (f"a: {reason}" if dataset else reason)
  assert dropped.bad == bad
  assert "clip7" in dropped.detail


def test_bytes_that_are_no_record_are_dropped(chain):
  dropped = chain.map(Serialized(data=b"no example", dataset="a"))
  assert (dropped.reason, dropped.bad) == ("a: unreadable", True)


def test_every_transform_passes_a_drop_on(chain):
  drop = Drop("a reason", "a detail")
  assert all(transform.map(drop) is drop for transform in chain.transforms)


def test_noise_alone_is_neither_filtered_nor_perturbed(chain):
  made, again, other = (chain.map(NoiseTurn(epoch=epoch)) for epoch in (4, 4, 5))
  assert (made.sample_id, made.text, len(made.samples)) == ("noise-only-4", "", 48_000)
  np.testing.assert_array_equal(made.samples, again.samples)
  assert not np.array_equal(made.samples, other.samples)


def test_nothing_to_do_leaves_an_element_as_it_is(make_record):
  clip = Clip(record=make_record(1))
  assert PerturbClip(perturbation=Perturbation(), seed=0).map(clip) is clip
