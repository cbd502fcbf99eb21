"""Changes of a clip, measured on the result."""

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.audio.limits import AudioError
from maxtext_ext.audio.perturb import noise_clip, perturb, perturbed_length
from maxtext_ext.audio.perturbation import Perturbation

SEEDS = st.integers(0, 2**40) | st.tuples(st.integers(0, 9), st.integers(0, 9))


def clip_of(length, seed=0, level=0.1):
  return np.random.default_rng(seed).uniform(-level, level, length).astype(np.float32)


def decibels(power):
  return 10 * np.log10(power)


def power(samples):
  return np.mean(samples.astype(np.float64) ** 2)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
  """Noises of 0.2 s and 3 s, and rooms whose direct sound comes 50 and 0 samples late."""
  folder = tmp_path_factory.mktemp("sounds")
  rng = np.random.default_rng(0)
  rooms = []
  for delay in (50, 0):
    tail = 0.2 * rng.standard_normal(2_000) * np.exp(-np.arange(2_000) / 400)
    rooms.append(np.concatenate([np.zeros(delay), [0.9], tail]).astype(np.float32))
  sounds = {
    "short": clip_of(3_200, 1),
    "long": clip_of(48_000, 2),
    "late": rooms[0],
    "early": rooms[1],
    "echo": np.array([0, 0.8, 0, 0, 0.4], np.float32),
    "half_silent": np.concatenate([np.zeros(60_000, np.float32), clip_of(10, 3)]),
  }
  for name, samples in sounds.items():
    soundfile.write(folder / f"{name}.wav", samples, 16_000, "FLOAT")
  return {name: str(folder / f"{name}.wav") for name in sounds}


@given(length=st.integers(1, 40_000), seed=SEEDS)
def test_off_is_the_very_same_array(length, seed):
  assert not Perturbation().on
  samples = clip_of(length)
  assert perturb(samples, Perturbation(), seed) is samples


@given(length=st.integers(1, 40_000), seed=SEEDS, speed=st.floats(0.5, 1.5))
def test_speed_divides_the_length(length, seed, speed):
  config = Perturbation(speed_range=(speed, speed))
  got = perturb(clip_of(length), config, seed)
  assert len(got) == pytest.approx(length / (round(speed * 16_000) / 16_000), abs=0.51)
  assert got.dtype == np.float32


@given(length=st.integers(1, 40_000), seed=SEEDS, max_seconds=st.floats(0.01, 2.5))
def test_no_clip_is_slowed_down_beyond_max_seconds(length, seed, max_seconds):
  config = Perturbation(speed_range=(0.9, 1.1), max_seconds=max_seconds)
  got = perturb(clip_of(length), config, seed)
  assert len(got) <= max(length, max_seconds * 16_000)


@given(st.integers(1, 50_000), st.integers(0, 2**32 - 1), st.floats(0.5, 5.0))
def test_lengths_are_known_without_the_sound(length, seed, max_seconds):
  config = Perturbation(speed_range=(0.5, 1.5), max_seconds=max_seconds)
  changed = perturb(np.zeros(length, np.float32), config, seed)
  assert perturbed_length(length, config, seed) == len(changed)


@pytest.mark.parametrize("speed", [0.9, 1.0, 1.07])
def test_speed_moves_the_pitch(speed):
  tone = 0.3 * np.sin(2 * np.pi * 500 * np.arange(32_000) / 16_000).astype(np.float32)
  got = perturb(tone, Perturbation(speed_range=(speed, speed)), 0)
  spectrum = np.abs(np.fft.rfft(got * np.hanning(len(got))))
  assert spectrum.argmax() * 16_000 / len(got) == pytest.approx(500 * speed, abs=0.6)


def test_speeds_are_drawn_from_the_whole_range():
  lengths = [
    len(perturb(clip_of(9_000), Perturbation(speed_range=(0.9, 1.1)), s)) for s in range(300)
  ]
  assert 9_000 / max(lengths) < 0.905
  assert 9_000 / min(lengths) > 1.095
  assert len(set(lengths)) > 150


@given(length=st.integers(2_000, 40_000), seed=SEEDS, name=st.sampled_from(["late", "early"]))
def test_a_room_keeps_length_and_power(files, length, seed, name):
  config = Perturbation(rir_probability=1.0, rirs=(files[name],))
  clip = clip_of(length)
  got = perturb(clip, config, seed)
  assert got.shape == clip.shape
  assert got.dtype == np.float32
  assert decibels(power(got) / power(clip)) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("name", ["late", "early"])
def test_a_room_keeps_the_timing(files, name):
  click = np.zeros(5_000, np.float32)
  click[1_234] = 0.5
  got = perturb(click, Perturbation(rir_probability=1.0, rirs=(files[name],)), 0)
  assert np.abs(got).argmax() == 1_234
  assert np.abs(got[:1_234]).max() < 1e-6


def test_a_room_is_a_convolution(files):
  clip = clip_of(3_000)
  got = perturb(clip, Perturbation(rir_probability=1.0, rirs=(files["echo"],)), 0)
  expected = 0.8 * clip
  expected[3:] += 0.4 * clip[:-3]
  expected *= np.sqrt(power(clip) / power(expected))
  np.testing.assert_allclose(got, expected, atol=1e-6)


@given(
  length=st.integers(100, 40_000),
  level=st.floats(1e-4, 0.02),
  snr=st.floats(-5, 40),
  seed=SEEDS,
  name=st.sampled_from(["short", "long"]),
)
def test_noise_has_the_ratio_that_was_drawn(files, length, level, snr, seed, name):
  clip = clip_of(length, level=level)
  config = Perturbation(noise_probability=1.0, noise_snr_db=(snr, snr), noises=(files[name],))
  got = perturb(clip, config, seed)
  noise = got.astype(np.float64) - clip
  assert decibels(power(clip) / power(noise)) == pytest.approx(snr, abs=0.1)


@pytest.mark.parametrize("name", ["short", "long"])
def test_short_noise_is_repeated_and_long_noise_cut_at_random(files, name):
  clip = clip_of(10_000, level=0.01)
  noise = soundfile.read(files[name], dtype="float32")[0]
  config = Perturbation(noise_probability=1.0, noise_snr_db=(0.0, 0.0), noises=(files[name],))
  starts = set()
  for seed in range(20):
    added = perturb(clip, config, seed) - clip
    begin = added[: len(noise)]
    match = np.fft.irfft(np.fft.rfft(noise) * np.fft.rfft(begin, len(noise)).conj(), len(noise))
    start = int(match.argmax())
    starts.add(start)
    if name == "long":
      assert start + len(clip) <= len(noise)
    expected = np.resize(np.roll(noise, -start), len(clip))
    np.testing.assert_allclose(added / np.std(added), expected / np.std(expected), atol=1e-3)
  assert len(starts) > 15


def test_silence_has_no_ratio(files):
  silence = np.zeros(1_000, np.float32)
  config = Perturbation(
    noise_probability=1.0, noises=(files["short"],), rir_probability=1.0, rirs=(files["late"],)
  )
  assert perturb(silence, config, 0) is silence
  clip = clip_of(1_000)
  config = Perturbation(noise_probability=1.0, noises=(files["half_silent"],))
  assert perturb(clip, config, 0) is clip


@given(length=st.integers(1, 2_000), seed=SEEDS, gain=st.floats(-60, 19))
def test_gain_is_exact_below_full_scale(length, seed, gain):
  clip = clip_of(length)
  got = perturb(clip, Perturbation(gain_db=(gain, gain)), seed)
  np.testing.assert_allclose(got, clip * np.float64(10) ** (gain / 20), rtol=1e-6)


@given(length=st.integers(1, 2_000), seed=SEEDS, level=st.floats(1e-3, 3), gain=st.floats(0.1, 60))
def test_beyond_full_scale_the_whole_clip_is_lower(length, seed, level, gain):
  clip = clip_of(length, level=level)
  got = perturb(clip, Perturbation(gain_db=(gain, gain)), seed)
  expected = clip * np.float64(10) ** (gain / 20)
  expected /= max(1, np.abs(expected).max())
  np.testing.assert_allclose(got, expected, rtol=1e-5)
  assert np.abs(got).max() <= 1


STAGES = {
  "speed": lambda _: {"speed_range": (0.9, 1.1)},
  "room": lambda files: {"rir_probability": 1.0, "rirs": (files["late"], files["early"])},
  "noise": lambda files: {"noise_probability": 1.0, "noises": (files["short"], files["long"])},
  "gain": lambda _: {"gain_db": (-10.0, 3.0)},
}


@given(chosen=st.sets(st.sampled_from(sorted(STAGES)), min_size=1), seed=SEEDS)
def test_a_function_of_its_arguments(files, chosen, seed):
  config = Perturbation(**{k: v for stage in chosen for k, v in STAGES[stage](files).items()})
  assert config.on
  clip = clip_of(8_000)
  kept = clip.copy()
  got = perturb(clip, config, seed)
  np.testing.assert_array_equal(got, perturb(clip.copy(), config, seed))
  np.testing.assert_array_equal(clip, kept)
  assert got.dtype == np.float32 and np.isfinite(got).all()


def test_a_view_of_stored_bytes_will_do(files):
  clip = clip_of(5_000)
  view = np.frombuffer(b"x" + clip.tobytes(), "<f4", offset=1)
  assert not view.flags.aligned
  parts = {k: v for stage in STAGES.values() for k, v in stage(files).items()}
  config = Perturbation(**parts)
  np.testing.assert_array_equal(perturb(view, config, 3), perturb(clip, config, 3))
  assert perturb(view, Perturbation(), 3) is view


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_every_part_of_the_seed_counts(files, stage):
  clip = clip_of(8_000)
  config = Perturbation(**STAGES[stage](files))
  seeds = [*range(10), *((7, n) for n in range(1, 11)), *((n, 3, 3) for n in range(10))]
  kinds = len({perturb(clip, config, seed).tobytes() for seed in seeds})
  assert kinds == (2 if stage == "room" else 30)  # there are two rooms


@pytest.mark.parametrize("seed", range(5))
def test_the_stages_draw_independently(files, seed):
  """All together give what each gives alone, one after the other."""
  parts = [STAGES[stage](files) for stage in ("speed", "room", "noise", "gain")]
  clip = clip_of(8_000, level=0.02)
  apart = clip
  for part in parts:
    apart = perturb(apart, Perturbation(**part), seed)
  together = perturb(clip, Perturbation(**{k: v for part in parts for k, v in part.items()}), seed)
  np.testing.assert_array_equal(together, apart)


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_a_share_of_the_clips_gets_noise_and_a_room(files, probability):
  clip = clip_of(500)
  for config in (
    Perturbation(noise_probability=probability, noises=(files["short"],)),
    Perturbation(rir_probability=probability, rirs=(files["late"],)),
  ):
    changed = sum(perturb(clip, config, seed) is not clip for seed in range(1_000))
    assert changed / 1_000 == pytest.approx(probability, abs=0.05)


@given(low=st.floats(0.01, 2), extra=st.floats(0, 2), seed=SEEDS)
def test_noise_clips_are_parts_of_files(files, low, extra, seed):
  clip = noise_clip((files["short"], files["long"]), (low, low + extra), seed)
  assert low * 16_000 - 1 <= len(clip) <= (low + extra) * 16_000 + 1
  assert clip.dtype == np.float32
  sounds = [soundfile.read(files[name], dtype="float32")[0] for name in ("short", "long")]
  assert any(np.isin(clip, sound).all() for sound in sounds)
  np.testing.assert_array_equal(
    clip, noise_clip((files["short"], files["long"]), (low, low + extra), seed)
  )


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"speed_range": (0.4, 1.0)}, r"speed_range=\[0.4, 1\], expected 0.5 <= low <= high <= 1.5"),
    ({"speed_range": (1.1, 0.9)}, "speed_range"),
    ({"speed_range": (float("nan"), 1.0)}, "speed_range"),
    ({"gain_db": (3.0, -3.0)}, "gain_db"),
    ({"gain_db": (0.0, 61.0)}, "gain_db"),
    ({"noise_snr_db": (30.0, 5.0)}, "noise_snr_db"),
    ({"noise_probability": 1.5}, r"noise_probability\n.*less than or equal to 1 "),
    ({"rir_probability": -0.1}, "rir_probability"),
    ({"noise_probability": 0.5}, "noise_probability=0.5 without files; give noise_dir"),
    ({"rir_probability": 0.5}, "rir_probability=0.5 without files; give rir_dir"),
    ({"max_seconds": 0.0}, r"max_seconds\n.*greater than 0"),
    ({"max_seconds": float("inf")}, r"max_seconds\n.*finite"),
  ],
)
def test_configurations_are_checked(fields, message):
  with pytest.raises(ValueError, match=message):
    Perturbation(**fields)


@pytest.mark.parametrize("seconds", [(0.0, 1.0), (2.0, 1.0), (1.0, float("inf"))])
def test_lengths_of_noise_clips_are_checked(files, seconds):
  with pytest.raises(ValueError, match="noise_only_seconds"):
    noise_clip((files["short"],), seconds, 0)


def test_noise_clips_need_files():
  with pytest.raises(ValueError, match=r"from 0 files.*noise_dir"):
    noise_clip((), (1.0, 2.0), 0)


@pytest.mark.parametrize("kind", ["noise", "rir"])
def test_a_file_that_is_gone_is_named(tmp_path, kind):
  gone = str(tmp_path / "gone.wav")
  config = Perturbation(**{f"{kind}_probability": 1.0, f"{kind}s": (gone,)})
  with pytest.raises(AudioError, match=r"gone\.wav"):
    perturb(clip_of(100), config, 0)
