"""Batches and positions as earlier versions made them, by their checksums.

A run that goes on with a new version sees the same batches. Where a change is meant to alter them,
the failing test prints the new checksum. Perturbed samples are left out: their last bits depend on
the processor; their lengths are in the other arrays.
"""

import dataclasses
import hashlib
import json

import pytest
from inputs import with_keys

from maxtext_ext.input.collate import info
from maxtext_ext.input.pipeline import (
  Filters,
  HostAugment,
  NoiseOnly,
  SpecAugment,
  decode_split,
  eval_iterator,
  train_iterator,
)

AUGMENT = {"speed_range": (0.9, 1.1), "gain_db": (-6.0, 6.0), "noise_probability": 0.5}
STEPS = 40


@pytest.fixture(scope="module")
def cases(config, mixture, noise_dir, faulty_dir):
  """Configs by name."""
  plain = with_keys(config, audio_dtype="int16")
  noise = NoiseOnly(noise_only_rate=0.25, noise_only_seconds=(0.5, 1.5))
  changes = {
    "plain": {},
    "windows from data": {"windows_per_row": 0},
    "faulty": {
      "data_dir": faulty_dir,
      "filters": Filters(min_seconds=0.3, max_seconds=5.0),
      "max_bad_fraction": 1.0,
    },
    "curriculum": {"curriculum": ((0.1, 1), (0.3, 2))},
    "spec augment": {"spec_augment": SpecAugment(spec_augment_mels=20, spec_augment_frames=30)},
    "perturbed": {"augment": HostAugment(noise_dir=noise_dir, **AUGMENT)},
    "noise only": {"augment": HostAugment(noise_dir=noise_dir), "noise_only": noise},
    "mixture": {"data_dir": "", "mixture": mixture},
    "all": {
      "data_dir": "",
      "mixture": mixture,
      "augment": HostAugment(noise_dir=noise_dir, **AUGMENT),
      "noise_only": noise,
      "spec_augment": SpecAugment(spec_augment_mels=20, spec_augment_frames=30),
      "curriculum": ((0.1, 1), (0.3, 2)),
      "filters": Filters(max_seconds=5.0, max_characters_per_second=6.0),
    },
  }
  return {name: with_keys(plain, **change) for name, change in changes.items()}


class Checksum:
  """Short checksum of arrays and of what JSON can hold."""

  def __init__(self) -> None:
    self._hash = hashlib.sha256()

  def add(self, arrays, *others) -> None:
    """Adds a batch and what belongs to it."""
    for key in sorted(arrays):
      self._hash.update(f"{key} {arrays[key].dtype} {arrays[key].shape}".encode())
      self._hash.update(arrays[key].tobytes())
    self._hash.update(json.dumps(others).encode())

  def __str__(self) -> str:
    return self._hash.hexdigest()[:12]


def without_samples(arrays):
  return {key: value for key, value in arrays.items() if key != "samples"}


TRAIN = {
  ("plain", 1): "70c6c6df9d73",
  ("plain", 3): "a3cf7fc6fc21",
  ("windows from data", 1): "42a0471e93ac",
  ("faulty", 2): "1fdcf8e18cab",
  ("curriculum", 2): "b66e8a460577",
  ("spec augment", 1): "641edb372c85",
  ("perturbed", 1): "86ea71a40c7d",
  ("noise only", 2): "8ba9a46c9af1",
  ("mixture", 1): "9e6f49e946b5",
  ("all", 2): "9e0e63493ae8",
}


@pytest.mark.parametrize(("name", "hosts"), TRAIN)
def test_training_batches(cases, tokenizer, name, hosts):
  checksum = Checksum()
  exact = not cases[name].augment.noise_dir
  for host in range(hosts):
    batches = train_iterator(cases[name], tokenizer, steps=STEPS, host_index=host, host_count=hosts)
    for _ in range(20):
      batch = next(batches)
      checksum.add(batch if exact else without_samples(batch), batches.records)
    checksum.add({}, batches.get_state(), batches.metrics())
    batches.close()
  assert str(checksum) == TRAIN[name, hosts]


EVAL = {
  ("plain", 1): "cd764b1d8e37",
  ("plain", 3): "3d3dc252d1bf",
  ("windows from data", 1): "aed1c5d3b5a5",
  ("faulty", 2): "f25b6ce65566",
  ("mixture", 1): "feba1fc55c54",
}


@pytest.mark.parametrize(("name", "hosts"), EVAL)
def test_evaluation_batches(cases, tokenizer, name, hosts):
  checksum = Checksum()
  for host in range(hosts):
    split = "validation" if name in ("mixture", "all") else "train"
    batches = eval_iterator(cases[name], tokenizer, split, host_index=host, host_count=hosts)
    for batch in batches:
      checksum.add(batch, batches.records)
    checksum.add({}, batches.get_state(), batches.dropped)
  assert str(checksum) == EVAL[name, hosts]


DECODE = {
  ("plain", 1): "bcd3960154b5",
  ("plain", 2): "75afe204e4a3",
  ("faulty", 1): "b711dc0d8d67",
  ("mixture", 1): "86ccddaa3772",
}


@pytest.mark.parametrize(("name", "hosts"), DECODE)
def test_decoded_clips(cases, tokenizer, name, hosts):
  checksum = Checksum()
  for host in range(hosts):
    split = "validation" if name in ("mixture", "all") else "train"
    batches = iter(decode_split(cases[name], tokenizer, split, host_index=host, host_count=hosts))
    for clip in batches:
      arrays = {"prompt": clip.prompt, "samples": clip.samples}
      fields = dataclasses.asdict(info(clip))
      for younger in ("speaker", "language_forced"):  # than the digests
        del fields[younger]
      checksum.add(arrays, fields, batches.dropped)
  assert str(checksum) == DECODE[name, hosts]
