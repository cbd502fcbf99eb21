"""SpecAugment (Park et al. 2019, arXiv:1904.08779): masks from the host, applied on the device."""

import zlib
from dataclasses import dataclass

import numpy as np

from maxtext_ext.audio.geometry import CHUNKS_PER_WINDOW, FRAMES_PER_CHUNK

_WINDOW_FRAMES = FRAMES_PER_CHUNK * CHUNKS_PER_WINDOW


@dataclass(frozen=True, kw_only=True)
class SpecAugment:
  """One masked band of mel bins a clip, and one masked span of frames in each 8 s of it."""

  mel_width: int = 0  # widest band, in mel bins; 0: none
  frame_width: int = 0  # longest span, in frames of 10 ms; 0: none
  mel_bins: int = 128

  def __post_init__(self) -> None:
    if not 0 <= self.mel_width <= self.mel_bins or not 0 <= self.frame_width <= _WINDOW_FRAMES:
      raise ValueError(
        f"spec_augment_mels={self.mel_width}, expected 0 to {self.mel_bins}"
        " (num_mel_bins_for_audio);"
        f" spec_augment_frames={self.frame_width}, expected 0 to {_WINDOW_FRAMES} (8 s)"
      )

  @property
  def on(self) -> bool:
    """Whether anything is ever masked."""
    return self.mel_width > 0 or self.frame_width > 0


def record_seed(seed: int, epoch: int, sample_id: str) -> tuple[int, int, int]:
  """Seed of a record's random draws: new in every epoch, the same on any host and in any order."""
  return seed, epoch, zlib.crc32(sample_id.encode())


def chunk_masks(config: SpecAugment, frames: int, seed: tuple[int, ...]) -> np.ndarray:
  """int32 [n, 4]: mel_from, mel_to, frame_from, frame_to of each chunk of a clip.

  Ends are exclusive and count inside the chunk; 0, 0 masks nothing. Widths are uniform from 0 to
  the widest.
  """
  rng = np.random.default_rng(seed)
  chunks = -(-frames // FRAMES_PER_CHUNK)
  masks = np.zeros((chunks, 4), np.int32)
  width = int(rng.integers(config.mel_width + 1))
  start = int(rng.integers(config.mel_bins - width + 1))
  if width:
    masks[:, :2] = start, start + width
  if not config.frame_width:
    return masks
  chunk_start = np.arange(chunks) * FRAMES_PER_CHUNK
  for window in range(0, frames, _WINDOW_FRAMES):
    length = min(frames - window, _WINDOW_FRAMES)
    width = int(rng.integers(min(config.frame_width, length) + 1))
    start = window + int(rng.integers(length - width + 1))
    spans = np.clip([start - chunk_start, start + width - chunk_start], 0, FRAMES_PER_CHUNK)
    hit = spans[1] > spans[0]
    masks[hit, 2:] = spans[:, hit].T
  return masks
