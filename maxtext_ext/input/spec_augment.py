"""SpecAugment (Park et al. 2019, arXiv:1904.08779): masks from the host, applied on the device."""

import zlib

import numpy as np

from maxtext_ext.audio.geometry import Geometry
from maxtext_ext.input.host_augment import SPAN, SpecAugment


def record_seed(seed: int, epoch: int, sample_id: str) -> tuple[int, int, int]:
  """Computes a record's random seed: new in every epoch, independent of host and order."""
  return seed, epoch, zlib.crc32(sample_id.encode())


def chunk_masks(
  config: SpecAugment, frames: int, seed: tuple[int, ...], *, mel_bins: int, geometry: Geometry
) -> np.ndarray:
  """Draws int32 [n, 4]: mel_from, mel_to, frame_from, frame_to of each chunk of a clip.

  Ends are exclusive and count inside the chunk; 0, 0 masks nothing. Widths are uniform from 0 to
  the widest.
  """
  rng = np.random.default_rng(seed)
  size = geometry.frames_per_chunk
  chunks = -(-frames // size)
  masks = np.zeros((chunks, 4), np.int32)
  width = int(rng.integers(config.spec_augment_mels + 1))
  start = int(rng.integers(mel_bins - width + 1))
  if width:
    masks[:, :2] = start, start + width
  if not config.spec_augment_frames:
    return masks
  chunk_start = np.arange(chunks) * size
  for window in range(0, frames, SPAN):
    length = min(frames - window, SPAN)
    width = int(rng.integers(min(config.spec_augment_frames, length) + 1))
    start = window + int(rng.integers(length - width + 1))
    spans = np.clip([start - chunk_start, start + width - chunk_start], 0, size)
    hit = spans[1] > spans[0]
    masks[hit, 2:] = spans[:, hit].T
  return masks
