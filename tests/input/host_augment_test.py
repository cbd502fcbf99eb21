import numpy as np
import pytest
import soundfile

from maxtext_ext.input.host_augment import HostAugment, NoiseOnly


@pytest.fixture
def sounds(tmp_path):
  for name in ("b.wav", "a.wav"):
    soundfile.write(tmp_path / name, np.ones(1_600, np.float32) / 2, 16_000)
  return tmp_path


def test_off_by_default_and_without_a_look_into_folders():
  assert not HostAugment().perturbation(30.0).on
  assert not HostAugment(noise_dir="gone", rir_dir="gone").perturbation(30.0).on


def test_files_are_looked_for_where_they_are_needed(sounds):
  augment = HostAugment(noise_dir=str(sounds), noise_probability=0.5, speed_range=(0.9, 1.1))
  got = augment.perturbation(20.0)
  assert got.on and got.noise_probability == 0.5 and got.speed_range == (0.9, 1.1)
  assert got.noises == (str(sounds / "a.wav"), str(sounds / "b.wav"))
  assert (got.rirs, got.max_seconds) == ((), 20.0)
  rooms = HostAugment(rir_dir=str(sounds), rir_probability=1.0).perturbation(20.0)
  assert len(rooms.rirs) == 2 and not rooms.noises


def test_a_folder_without_sounds_is_an_error_when_training_begins(tmp_path):
  augment = HostAugment(noise_dir=str(tmp_path), noise_probability=0.5)
  with pytest.raises(ValueError, match="no sounds found"):
    augment.perturbation(20.0)


@pytest.mark.parametrize(
  ("keys", "message"),
  [
    ({"noise_probability": 0.5}, "give noise_dir"),
    ({"rir_probability": 0.5}, "give rir_dir"),
    ({"speed_range": (1.1, 0.9)}, "speed_range"),
    ({"gain_db": (-90.0, 0.0)}, "gain_db"),
    (
      {"noise_dir": "d", "noise_probability": 1.5},
      r"noise_probability\n.*less than or equal to 1 .*input_value=1\.5",
    ),
  ],
)
def test_values_are_checked(keys, message):
  with pytest.raises(ValueError, match=message):
    HostAugment(**keys)


@pytest.mark.parametrize(
  ("keys", "message"),
  [
    ({"noise_only_rate": 1.0}, r"noise_only_rate\n.*less than 1 .*input_value=1\.0"),
    ({"noise_only_rate": -0.1}, r"noise_only_rate\n.*greater than or equal to 0"),
    ({"noise_only_seconds": (0.0, 1.0)}, r"noise_only_seconds=\[0, 1\], expected 0 < low <= high"),
    ({"noise_only_seconds": (2.0, 1.0)}, r"noise_only_seconds=\[2, 1\]"),
  ],
)
def test_noise_alone_is_checked(keys, message):
  with pytest.raises(ValueError, match=message):
    NoiseOnly(**keys)
