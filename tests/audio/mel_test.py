"""The log-mel against transformers' WhisperFeatureExtractor (its numpy form, without torch)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.parity.mel import SIGNALS, chirps, draw, extractor, noise, one_row, reference
from benchmarks.parity.whisper import pack
from maxtext_ext.audio import mel
from maxtext_ext.audio.limits import SAMPLE_RATE
from maxtext_ext.input.windows import cut_chunks
from maxtext_ext.models.encoders.qwen3_audio import GEOMETRY
from maxtext_ext.models.encoders.whisper import WhisperConfig

TOLERANCE = 1e-4


@functools.cache
def jitted(num_mel_bins: int, form: str):
  del form  # a compiled function of its own for each
  return jax.jit(lambda *batch: mel.log_mel(*batch, num_mel_bins))


def ours(clips: list[np.ndarray], num_mel_bins: int, form: str = "rfft", **packing):
  batch, places = one_row(clips, **packing)
  out = np.asarray(jitted(num_mel_bins, form)(*batch)).reshape(-1, 100, num_mel_bins)
  per_clip = []
  for clip, place in zip(clips, places, strict=True):
    rows = out[place].reshape(-1, num_mel_bins)
    assert not rows[GEOMETRY.num_frames(clip.size) :].any(), "what is no frame must be exactly 0.0"
    per_clip.append(rows[: GEOMETRY.num_frames(clip.size)])
  empty = np.asarray(batch[1]).reshape(-1) == 0
  assert not out[empty].any()
  return per_clip


@pytest.fixture(params=["rfft", "matmul"])
def form(request, monkeypatch) -> str:
  """Both forms of the Fourier transform, on this machine's own device."""
  both = {"rfft": mel.dft_by_rfft, "matmul": mel.dft_by_matmul}[request.param]
  monkeypatch.setattr(mel, "dft_by_rfft", both)
  monkeypatch.setattr(mel, "dft_by_matmul", both)
  return request.param


@pytest.mark.parametrize("num_mel_bins", [80, 128])
def test_filters_equal_the_reference(num_mel_bins):
  expected = extractor(num_mel_bins).mel_filters
  assert mel.mel_filters(num_mel_bins).dtype == np.float64
  np.testing.assert_allclose(mel.mel_filters(num_mel_bins), expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize("num_mel_bins", [80, 128])
def test_equals_whisper_feature_extractor(signal, num_mel_bins, form):
  for seconds in (0.02, 0.5, 0.999, 1.0, 7.3, 16.0001):
    clip = draw(signal, seconds)
    (got,) = ours([clip], num_mel_bins, form)
    want = reference(clip, num_mel_bins)
    assert got.shape == want.shape == (GEOMETRY.num_frames(clip.size), num_mel_bins)
    np.testing.assert_allclose(got, want, rtol=0, atol=TOLERANCE, err_msg=f"{seconds} s")


def test_equals_it_on_twenty_minutes(form):
  """The loudest second comes last: a maximum over less than the whole clip would fail."""
  clip = np.tile(draw(chirps, 10.0), 120)
  clip[:-SAMPLE_RATE] *= 0.02
  (got,) = ours([clip], 80, form)
  np.testing.assert_allclose(got, reference(clip, 80), rtol=0, atol=TOLERANCE)


def test_int16_is_a_32768th():
  clip = np.round(draw(chirps, 3.2) * 32_768).clip(-32_768, 32_767).astype(np.int16)
  (got,) = ours([clip], 128)
  np.testing.assert_allclose(got, reference(clip, 128), rtol=0, atol=TOLERANCE)
  (same,) = ours([clip.astype(np.float32) / 32_768], 128)
  np.testing.assert_array_equal(got, same)


@pytest.mark.parametrize("garbage", [0.0, 7.0, np.nan])
def test_a_clip_does_not_depend_on_its_place(garbage, form):
  """Loud and quiet clips in one row, their chunks shuffled among empty places full of garbage."""
  rng = np.random.default_rng(3)
  lengths = (0.02, 1.3, 8.0, 2.51, 0.999)
  clips = [draw(SIGNALS[i], s, seed=i) * 10.0**-i for i, s in enumerate(lengths)]
  alone = [ours([clip], 80, form)[0] for clip in clips]
  total = sum(len(cut_chunks(clip, GEOMETRY)) for clip in clips)
  for _ in range(2):
    order = rng.permutation(24)[:total]
    order[rng.integers(total)] = 24  # so that the row always has the same 4 windows
    packed = ours(clips, 80, form, order=order, garbage=garbage)
    for a, b in zip(alone, packed, strict=True):
      np.testing.assert_allclose(b, a, rtol=0, atol=1e-6)


def test_every_row_has_clips_of_its_own():
  """Segment 1 of one row is not segment 1 of the next."""
  loud, quiet = draw(noise, 8.0), draw(noise, 8.0, seed=1) * 1e-6
  alone = [ours([clip], 80)[0] for clip in (loud, quiet)]
  batches = [one_row([clip])[0] for clip in (loud, quiet)]
  both = jitted(80, "rfft")(*(jnp.concatenate(pair) for pair in zip(*batches, strict=True)))
  for row, clip in zip(np.asarray(both), alone, strict=True):
    np.testing.assert_allclose(row.reshape(-1, 80), clip, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("seconds", "num_mel_bins"), [(1.2, 80), (29.996, 128), (31.0, 80)])
def test_padded_windows_equal_the_extractor_with_its_padding(seconds: float, num_mel_bins: int):
  geometry = WhisperConfig(d_model=2, heads=1, layers=1, ffn_dim=1).geometry
  clip = draw(chirps, seconds)
  (samples, frames, segment), _ = pack([clip], 2, geometry)
  got = jax.jit(lambda *batch: mel.log_mel(*batch, num_mel_bins, padded_windows=True))(
    samples, frames, segment
  )
  parts = [clip[:480_000], clip[480_000:]]
  for window, part in enumerate(parts[: 1 + (seconds > 30)]):
    want = extractor(num_mel_bins)(part, sampling_rate=SAMPLE_RATE, return_tensors="np")
    found = np.asarray(got[0, window]).reshape(3_000, num_mel_bins).T
    np.testing.assert_allclose(found, want["input_features"][0], rtol=0, atol=TOLERANCE)
  if seconds <= 30:  # a window of no clip is as Whisper sees silence
    np.testing.assert_allclose(got[0, 1], -1.5, atol=1e-6)
