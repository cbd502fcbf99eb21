"""Sound files of formats that libsndfile cannot write, by FFmpeg."""

import io

import av
import numpy as np


def encode_by_ffmpeg(
  samples: np.ndarray,
  rate: int,
  container: str,
  codec: str,
  options: dict[str, str] | None = None,
  codec_options: dict[str, str] | None = None,
  path: str | None = None,
) -> bytes:
  """A file of mono samples, float32 [T]; `path` for the few options that read it again."""
  memory = io.BytesIO()
  with av.open(path or memory, "w", format=container, options=options or {}) as file:
    stream = file.add_stream(codec, rate=rate, layout="mono", options=codec_options or {})
    frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
    frame.sample_rate = rate
    fit = av.AudioResampler(
      format=stream.format, layout="mono", rate=rate, frame_size=stream.frame_size or 1024
    )
    for part in (*fit.resample(frame), *fit.resample(None), None):
      for packet in stream.encode(part):
        file.mux(packet)
  if path:
    with open(path, "rb") as written:
      return written.read()
  return memory.getvalue()
