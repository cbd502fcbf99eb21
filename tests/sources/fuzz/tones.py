"""The sound that all cases are made of, in WAV, FLAC and other files, and forgeries of them."""

import functools
import io
import struct

import numpy as np
import soundfile

RATE = 16_000  # Hz
FREQUENCY = 200  # Hz, so that a rate of 1 kHz still carries it
AMPLITUDE = 0.5


def tone(rate: int = RATE, seconds: float = 1.0) -> np.ndarray:
  """A sine, [T] float64."""
  return AMPLITUDE * np.sin(2 * np.pi * FREQUENCY * np.arange(round(seconds * rate)) / rate)


def encoded(kind: str, subtype: str | None = None, *, rate: int = RATE, channels: int = 1) -> bytes:
  """A second of the tone as libsndfile writes it; all channels alike.

  Args:
    kind: "WAV", "FLAC", "OGG", "MP3", "AIFF" ...
    subtype: "PCM_24", "DOUBLE" ...; None: the usual one.
    rate: in Hz.
    channels: how many.
  """
  return encoded_samples(np.repeat(tone(rate)[:, None], channels, axis=1), kind, subtype, rate=rate)


def encoded_samples(
  samples: np.ndarray, kind: str, subtype: str | None = None, *, rate: int = RATE
) -> bytes:
  """Samples as libsndfile writes them."""
  file = io.BytesIO()
  soundfile.write(file, samples, rate, format=kind, subtype=subtype)
  return file.getvalue()


def pcm16(samples: np.ndarray) -> bytes:
  """Little-endian 16-bit samples."""
  return np.rint(samples * 32_767).astype("<i2").tobytes()


def wav(
  data: bytes | None = None,
  *,
  rate: int = RATE,
  channels: int = 1,
  bits: int = 16,
  tag: int = 1,
  align: int | None = None,
  fmt_size: int | None = None,
  data_size: int | None = None,
  before: bytes = b"",
  after: bytes = b"",
) -> bytes:
  """A WAV file whose header says what it is told to, whatever the data are.

  Args:
    data: of the data chunk; None: a second of the tone, 16-bit mono.
    rate, channels, bits: as declared.
    tag: of the encoding; 1: integers, 3: floats.
    align: bytes of a frame as declared; None: what channels and bits make.
    fmt_size: declared size of the fmt chunk; None: the true one.
    data_size: declared size of the data chunk; None: the true one.
    before: chunks between fmt and data.
    after: chunks behind the data.
  """
  data = pcm16(tone()) if data is None else data
  align = channels * bits // 8 & 0xFFFF if align is None else align
  a_second = rate * align & 0xFFFF_FFFF
  fmt = struct.pack("<HHIIHH", tag, channels, rate, a_second, align, bits)
  body = b"WAVE" + chunk(b"fmt ", fmt, fmt_size) + before + chunk(b"data", data, data_size) + after
  return chunk(b"RIFF", body)


def chunk(name: bytes, data: bytes, size: int | None = None) -> bytes:
  """A RIFF chunk, its size forged where one is given."""
  return name + struct.pack("<I", len(data) if size is None else size) + data


def float_wav(samples: np.ndarray) -> bytes:
  """32-bit float samples, or 64-bit ones, whatever they are."""
  bits = samples.dtype.itemsize * 8
  return wav(samples.astype(f"<f{bits // 8}").tobytes(), tag=3, bits=bits)


def with_value(value: float, at: slice | int, dtype: type = np.float32) -> bytes:
  """The tone as float WAV with some samples replaced."""
  samples = tone().astype(dtype)
  samples[at] = value
  return float_wav(samples)


def flac(*, rate: int | None = None, total: int | None = None) -> bytes:
  """A FLAC of the tone, rate or number of samples in its header forged."""
  data = bytearray(encoded("FLAC"))
  if rate is not None:  # 20 bits from byte 18 on
    word = int.from_bytes(data[18:21], "big") & 0xF | rate << 4
    data[18:21] = word.to_bytes(3, "big")
  if total is not None:  # the last 36 bits of bytes 21 to 25
    word = int.from_bytes(data[21:26], "big") >> 36 << 36 | total
    data[21:26] = word.to_bytes(5, "big")
  return bytes(data)


@functools.cache
def flac_of_silence(hours: float, *, total: int | None = None) -> bytes:
  """Some kilobytes that unpack to gigabytes; a click at the start, so that it is no silence."""
  file = io.BytesIO()
  with soundfile.SoundFile(file, "w", RATE, 1, "PCM_16", format="FLAC") as sound:
    sound.write(tone()[:1600])
    block = np.zeros(RATE * 60, np.int16)
    for _ in range(round(hours * 60)):
      sound.write(block)
  data = bytearray(file.getvalue())
  if total is not None:
    word = int.from_bytes(data[21:26], "big") >> 36 << 36 | total
    data[21:26] = word.to_bytes(5, "big")
  return bytes(data)


def rifx() -> bytes:
  """The tone as WAV of the other byte order."""
  file = io.BytesIO()
  soundfile.write(file, tone(), RATE, format="WAV", subtype="PCM_16", endian="BIG")
  return file.getvalue()


def last_page(data: bytes) -> int:
  """Place where the last page of an Ogg file starts."""
  return data.rfind(b"OggS")


def flipped(data: bytes, *positions: int) -> bytes:
  """Some bytes inverted."""
  changed = bytearray(data)
  for position in positions:
    changed[position] ^= 0xFF
  return bytes(changed)


def atom(name: bytes, data: bytes = b"", size: int | None = None) -> bytes:
  """An MP4 box, its 32-bit size forged where one is given."""
  return struct.pack(">I", len(data) + 8 if size is None else size) + name + data


@functools.cache
def m4a() -> bytes:
  """The tone as AAC in MP4, as phones record it."""
  import av

  file = io.BytesIO()
  with av.open(file, "w", format="mp4") as container:
    stream = container.add_stream("aac", rate=RATE, layout="mono")
    samples = tone().astype(np.float32)[None]
    frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
    frame.sample_rate = RATE
    for packet in (*stream.encode(frame), *stream.encode(None)):
      container.mux(packet)
  return file.getvalue()
