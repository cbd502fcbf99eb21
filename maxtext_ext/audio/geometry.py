"""Time geometry of a speech encoder: frames, chunks, windows and audio tokens of a clip.

A clip is 10 ms mel frames, a chunk is a fixed number of frames that an encoder downsamples to a
fixed number of tokens, and a window is a fixed number of chunks, the reach of its attention. Free
of jax, so that the input workers may import it.
"""

from dataclasses import dataclass
from typing import Any

from maxtext_ext.audio.limits import SAMPLE_RATE

N_FFT = 400  # samples a frame looks at, 25 ms
HOP = 160  # samples, 10 ms


@dataclass(frozen=True, kw_only=True)
class Geometry:
  """Division of a clip's time by an encoder.

  Chunks join without a gap: a clip's tokens are the sum over its chunks, so only the last, partial
  chunk is rounded.

  Attributes:
    frames_per_chunk: mel frames of a chunk.
    halvings: convolutions of stride 2 that a chunk passes, each rounding its frames up.
    stack: halved frames that become one token; those left over at the end of a clip are dropped.
    chunks_per_window: chunks that attend to each other.
    tails_share_windows: whether the last chunks of several clips may stand in one window.
    padded_windows: whether a clip is padded with silence to whole windows, of which each has a
      log-mel of its own, as if it were the whole clip.
    min_samples: shorter clips are zero-padded to this.
  """

  frames_per_chunk: int
  halvings: int
  stack: int = 1
  chunks_per_window: int
  tails_share_windows: bool
  padded_windows: bool = False
  min_samples: int

  def __post_init__(self) -> None:
    halved = self._halve(self.frames_per_chunk)
    assert halved % self.stack == 0, f"{halved} frames of a chunk are no stacks of {self.stack}"
    assert not (self.padded_windows and self.tails_share_windows), "padding is no other clip's"
    assert self.min_samples > N_FFT // 2, "a clip is reflected by half a frame at both ends"
    assert self.num_tokens(0) > 0, f"a clip of {self.min_samples} samples gives no token"

  @property
  def chunk_hop(self) -> int:
    """Samples between the starts of two chunks of a clip."""
    return self.frames_per_chunk * HOP

  @property
  def chunk_samples(self) -> int:
    """Samples that the frames of a chunk cover; the last ones overlap the next chunk."""
    return self.chunk_hop - HOP + N_FFT

  @property
  def chunk_seconds(self) -> float:
    """Seconds between the starts of two chunks of a clip."""
    return self.chunk_hop / SAMPLE_RATE

  @property
  def window_seconds(self) -> float:
    """Seconds of a full window."""
    return self.chunks_per_window * self.chunk_seconds

  @property
  def tokens_per_chunk(self) -> int:
    """Audio tokens of a full chunk."""
    return self._halve(self.frames_per_chunk) // self.stack

  @property
  def tokens_per_window(self) -> int:
    """Audio tokens of a full window."""
    return self.tokens_per_chunk * self.chunks_per_window

  def num_frames(self, samples: int) -> int:
    """Mel frames of a clip of so many samples: whole hops, after the padding to `min_samples`."""
    return max(samples, self.min_samples) // HOP

  def num_chunks(self, samples: int) -> int:
    """Chunks of a clip of so many samples, of which the last one may be partial.

    In padded windows those that hold any sound: the last frames see it behind the clip's own.
    """
    frames = self.num_frames(samples)
    if self.padded_windows:
      window = self.frames_per_chunk * self.chunks_per_window
      heard = (samples + N_FFT // 2 - 1) // HOP + 1
      frames = min(max(frames, heard), -(-frames // window) * window)
    return -(-frames // self.frames_per_chunk)

  def tokens[Ints](self, frames: Ints) -> Ints:
    """Audio tokens of so many mel frames of a clip, an int or integers of numpy or jax."""
    count: Any = frames  # what ints, numpy and jax can do alike has no type
    full, partial = count // self.frames_per_chunk, count % self.frames_per_chunk
    return full * self.tokens_per_chunk + self._halve(partial) // self.stack

  def seconds_of(self, token: int) -> tuple[float, float]:
    """Start and end, from the start of a clip, of the frames that give an audio token."""
    chunk, place = divmod(token, self.tokens_per_chunk)
    frames = (1 << self.halvings) * self.stack
    start = chunk * self.frames_per_chunk + place * frames
    end = min(start + frames, (chunk + 1) * self.frames_per_chunk)
    return start * HOP / SAMPLE_RATE, end * HOP / SAMPLE_RATE

  def num_tokens(self, samples: int) -> int:
    """Audio tokens of a clip of so many samples."""
    return self.tokens(self.num_frames(samples))

  def _halve[Ints](self, frames: Ints) -> Ints:
    count: Any = frames
    for _ in range(self.halvings):
      count = (count + 1) // 2
    return count
