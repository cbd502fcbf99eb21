"""The geometry of frames, chunks, windows and audio tokens.

Free of jax, so that the input workers may import it. A clip is 10 ms mel frames; 100 frames are a
chunk (1 s), whose convolutions give 13 tokens; 8 chunks are a window (8 s), the reach of the
encoder's attention. Figures of `Qwen3ASRFeatureExtractor` and `Qwen3ASREncoder` (transformers,
models/qwen3_asr).
"""

N_FFT = 400  # samples a frame looks at, 25 ms
HOP = 160  # samples, 10 ms
FRAMES_PER_CHUNK = 100  # 1 s
CHUNK_HOP = FRAMES_PER_CHUNK * HOP  # samples between the starts of two chunks of a clip
CHUNK_SAMPLES = CHUNK_HOP - HOP + N_FFT  # 16_240: all that the frames of a chunk look at
MIN_SAMPLES = 8_000  # shorter clips are zero-padded to this first

TOKENS_PER_CHUNK = 13
CHUNKS_PER_WINDOW = 8
TOKENS_PER_WINDOW = TOKENS_PER_CHUNK * CHUNKS_PER_WINDOW  # 104


def num_frames(samples: int) -> int:
  """Mel frames of a clip of `samples` samples: whole hops, after the padding to MIN_SAMPLES."""
  return max(samples, MIN_SAMPLES) // HOP


def audio_tokens[Ints](frames: Ints) -> Ints:
  """Encoder tokens of a clip of `frames` mel frames (an int, or integers of numpy or jax).

  Every chunk is convolved alone, so only the last, partial one is rounded: three times halved, up.
  """
  tokens = frames % FRAMES_PER_CHUNK
  for _ in range(3):
    tokens = (tokens - 1) // 2 + 1  # 0 stays 0
  return tokens + TOKENS_PER_CHUNK * (frames // FRAMES_PER_CHUNK)
