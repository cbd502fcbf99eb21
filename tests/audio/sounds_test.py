import numpy as np
import pytest
import soundfile

from maxtext_ext.audio.limits import AudioError
from maxtext_ext.audio.sounds import SoundCache, find_sounds, load_noise, load_response


def write(path, samples, rate=16_000):
  path.parent.mkdir(parents=True, exist_ok=True)
  soundfile.write(path, samples, rate)
  return str(path)


def test_sounds_are_found_in_folders_of_any_depth_in_order(tmp_path):
  tone = np.full(100, 0.5)
  names = ["b/x.wav", "a/deep/y.FLAC", "z.ogg"]
  for name in names:
    write(tmp_path / name, tone)
  (tmp_path / "a" / "notes.txt").write_text("no sound")
  assert find_sounds(str(tmp_path)) == tuple(sorted(str(tmp_path / name) for name in names))


@pytest.mark.parametrize("folder", ["empty", "missing"])
def test_a_folder_without_sounds_is_an_error(tmp_path, folder):
  (tmp_path / "empty").mkdir()
  with pytest.raises(ValueError, match=f"{folder}: no sounds found, expected a local folder"):
    find_sounds(str(tmp_path / folder))


def test_noise_is_averaged_and_a_response_has_its_first_channel(tmp_path):
  left, right = np.random.default_rng(0).integers(-9_000, 9_000, (2, 500), np.int16)
  path = write(tmp_path / "two.wav", np.stack([left, right], axis=1))
  np.testing.assert_allclose(load_noise(path), (left + right) / 65_536, atol=1e-7)
  np.testing.assert_array_equal(load_response(path), left / np.float32(32_768))


@pytest.mark.parametrize("load", [load_noise, load_response])
def test_sounds_come_at_16_khz_and_cannot_be_written_to(tmp_path, load):
  path = write(tmp_path / "fast.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 4_800), 48_000)
  sound = load(path)
  assert (sound.shape, sound.dtype) == ((1_600,), np.float32)
  with pytest.raises(ValueError, match="read-only"):
    sound[0] = 1


@pytest.mark.parametrize("load", [load_noise, load_response])
@pytest.mark.parametrize(
  ("content", "reason"),
  [(None, ""), (b"no sound at all", ""), (np.zeros(100), "silent"), (np.zeros(0), "0 samples")],
)
def test_errors_name_the_file(tmp_path, load, content, reason):
  path = tmp_path / "broken.wav"
  if isinstance(content, bytes):
    path.write_bytes(content)
  elif content is not None:
    write(path, content)
  with pytest.raises(AudioError, match=rf"broken\.wav.*{reason}"):
    load(str(path))


def test_a_file_is_decoded_once_while_it_is_held():
  decoded = []

  def decode(path):
    decoded.append(path)
    return np.zeros(10, np.float32)

  cache = SoundCache(100)
  for path in "aabab":
    cache.get(path, decode)
  assert decoded == ["a", "b"]
  cache.get("c", decode)  # 120 bytes: the one that was not used for longest goes, which is a
  assert cache.nbytes == 80
  cache.get("b", decode)
  cache.get("a", decode)
  assert decoded == ["a", "b", "c", "a"]


def test_what_is_larger_than_the_cache_is_given_but_not_held():
  cache = SoundCache(100)
  cache.get("small", lambda _: np.zeros(10, np.float32))
  assert len(cache.get("large", lambda _: np.zeros(1_000, np.float32))) == 1_000
  assert cache.nbytes == 40
