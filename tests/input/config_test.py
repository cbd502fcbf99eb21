import dataclasses

import pytest

from maxtext_ext.config import load
from maxtext_ext.input.config import InputConfig
from maxtext_ext.input.filters import Filters
from maxtext_ext.input.host_augment import HostAugment, NoiseOnly
from maxtext_ext.input.mixture import Mixture, NamedData
from maxtext_ext.input.spec_augment import SpecAugment


def test_from_config_reads_the_keys_of_a_run():
  keys = [
    "data_dir=d",
    "mixture=[{name: a, data_dir: x}, {name: b, data_dir: y, split: more, weight: 2}]",
    "mixture_temperature=3",
    "max_target_length=512",
    "windows_per_row=3",
    "min_seconds=0.5",
    "max_seconds=20",
    "min_characters=2",
    "max_characters=300",
    "min_characters_per_second=0.5",
    "max_characters_per_second=25",
    "max_bad_fraction=0.05",
    "data_shuffle_seed=7",
    "packing_lookahead=64",
    "audio_dtype=int16",
    "language_in_prompt=true",
    "context=c",
    "spec_augment_mels=10",
    "spec_augment_frames=8",
    "num_mel_bins_for_audio=80",
    "speed_range=[0.9,1.1]",
    "gain_db=[-6,6]",
    "noise_dir=n",
    "noise_snr_db=[0,20]",
    "noise_probability=0.25",
    "rir_dir=r",
    "rir_probability=0.5",
    "noise_only_rate=0.1",
    "noise_only_seconds=[2,4]",
    "curriculum=[[0.18, 1], [0.3, 2]]",
  ]
  got = InputConfig.from_config(load("configs/experiments/demo.yml", keys), split="train", rows=4)
  assert got == InputConfig(
    data_dir="d",
    split="train",
    mixture=Mixture(
      data=(
        NamedData(name="a", data_dir="x"),
        NamedData(name="b", data_dir="y", split="more", weight=2.0),
      ),
      temperature=3.0,
    ),
    rows=4,
    max_tokens=512,
    windows_per_row=3,
    filters=Filters(
      min_seconds=0.5,
      max_seconds=20.0,
      min_characters=2,
      max_characters=300,
      min_characters_per_second=0.5,
      max_characters_per_second=25.0,
    ),
    max_bad_fraction=0.05,
    seed=7,
    lookahead=64,
    audio_dtype="int16",
    language_in_prompt=True,
    context="c",
    spec_augment=SpecAugment(mel_width=10, frame_width=8, mel_bins=80),
    augment=HostAugment(
      speed_range=(0.9, 1.1),
      gain_db=(-6.0, 6.0),
      noise_dir="n",
      noise_snr_db=(0.0, 20.0),
      noise_probability=0.25,
      rir_dir="r",
      rir_probability=0.5,
    ),
    noise_only=NoiseOnly(rate=0.1, seconds=(2.0, 4.0)),
    curriculum=((0.18, 1), (0.3, 2)),
  )
  assert got.for_split("test") == dataclasses.replace(got, split="test")
  assert [got.max_words(step, 100) for step in (0, 17, 18, 29, 30)] == [1, 1, 2, 2, None]


def test_nothing_is_changed_or_left_out_by_default():
  got = InputConfig.from_config(load("configs/speech.yml", ["data_dir=d"]), split="train", rows=1)
  assert got == InputConfig(data_dir="d", audio_dtype="int16")


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"rows": 0}, "rows=0"),
    ({"max_bad_fraction": 1.5}, "max_bad_fraction=1.5"),
    (
      {"filters": Filters(max_seconds=60.0)},
      "780 audio tokens, which no row of max_target_length=160",
    ),
    ({"noise_only": NoiseOnly(rate=0.1)}, "noise_only_rate=0.1 without noise_dir"),
    (
      {"noise_only": NoiseOnly(rate=0.1), "augment": HostAugment(noise_dir="n")},
      r"noise_only_seconds=\[1, 10\], expected at most max_seconds=5",
    ),
    ({"curriculum": ((0.3, 2), (0.2, 3))}, "curriculum"),
    ({"curriculum": ((1.5, 2),)}, "curriculum"),
  ],
)
def test_values_are_checked(config, changes, message):
  with pytest.raises(ValueError, match=message):
    dataclasses.replace(config, **changes)
