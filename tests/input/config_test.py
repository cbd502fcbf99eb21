import dataclasses

import pytest
from inputs import with_keys

from maxtext_ext.config import load
from maxtext_ext.input.config import InputConfig
from maxtext_ext.input.curriculum import Curriculum
from maxtext_ext.input.datasets import Datasets, NamedData
from maxtext_ext.input.filters import Filters
from maxtext_ext.input.host_augment import HostAugment, NoiseOnly, SpecAugment
from maxtext_ext.input.packing_config import Packing
from maxtext_ext.models.encoders.qwen3_audio import GEOMETRY
from maxtext_ext.text.prompt_keys import PromptKeys


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
    "audio_dtype=float32",
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
    geometry=GEOMETRY,
    datasets=Datasets(
      data_dir="d",
      mixture=[
        NamedData(name="a", data_dir="x"),
        NamedData(name="b", data_dir="y", split="more", weight=2.0),
      ],
      mixture_temperature=3.0,
    ),
    split="train",
    rows=4,
    max_tokens=512,
    mel_bins=80,
    seed=7,
    packing=Packing(windows_per_row=3, packing_lookahead=64, audio_dtype="float32"),
    prompt=PromptKeys(language_in_prompt=True, context="c"),
    filters=Filters(
      min_seconds=0.5,
      max_seconds=20.0,
      min_characters=2,
      max_characters=300,
      min_characters_per_second=0.5,
      max_characters_per_second=25.0,
      max_bad_fraction=0.05,
    ),
    augment=HostAugment(
      speed_range=(0.9, 1.1),
      gain_db=(-6.0, 6.0),
      noise_dir="n",
      noise_snr_db=(0.0, 20.0),
      noise_probability=0.25,
      rir_dir="r",
      rir_probability=0.5,
    ),
    noise_only=NoiseOnly(noise_only_rate=0.1, noise_only_seconds=(2.0, 4.0)),
    spec_augment=SpecAugment(spec_augment_mels=10, spec_augment_frames=8),
    curriculum=Curriculum(curriculum=[(0.18, 1), (0.3, 2)]),
  )
  assert got.for_split("test") == dataclasses.replace(got, split="test")


def test_nothing_is_changed_or_left_out_by_default():
  got = InputConfig.from_config(load("configs/speech.yml", ["data_dir=d"]), split="train", rows=1)
  assert got == InputConfig(geometry=GEOMETRY, datasets=Datasets(data_dir="d"))


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"rows": 0}, "rows=0"),
    ({"max_bad_fraction": 1.5}, r"max_bad_fraction\n.*less than or equal to 1 .*input_value=1\.5"),
    (
      {"filters": Filters(max_seconds=60.0)},
      "780 audio tokens, which no row of max_target_length=160",
    ),
    ({"noise_only": NoiseOnly(noise_only_rate=0.1)}, "noise_only_rate=0.1 without noise_dir"),
    (
      {"noise_only": NoiseOnly(noise_only_rate=0.1), "augment": HostAugment(noise_dir="n")},
      r"noise_only_seconds=\[1, 10\], expected at most max_seconds=5",
    ),
    (
      {"spec_augment_mels": 129},
      r"spec_augment_mels=129, expected 0 to 128 \(num_mel_bins_for_audio\)",
    ),
    ({"spec_augment_frames": 801}, r"spec_augment_frames=801, expected 0 to 800 \(8 s\)"),
  ],
)
def test_values_are_checked(config, changes, message):
  with pytest.raises(ValueError, match=message):
    with_keys(config, **changes)
