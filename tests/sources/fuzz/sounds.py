"""Sound files that are broken, and odd ones that are not; all sources but TFRecord get them."""

import dataclasses
import gzip
import struct
import zipfile
from collections.abc import Callable
from io import BytesIO

import numpy as np

from tests.sources.fuzz import tones
from tests.sources.fuzz.tones import atom, chunk, encoded, flac, wav, with_value

CUT = "cut short|cannot decode|0 samples"
UNDECODABLE = "cannot decode"
RATE = "sample rate is|cannot decode"
NOT_FINITE = "NaN or infinite samples"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sound:
  """A sound file.

  Attributes:
    name: what is special with it.
    make: its bytes.
    suffix: of its file name.
    reason: what the reason has to match for which it is left out; None: it has to be read rightly,
      as one second of `tones.tone`.
  """

  name: str
  make: Callable[[], bytes]
  suffix: str = "wav"
  reason: str | None = None


def _zipped() -> bytes:
  file = BytesIO()
  with zipfile.ZipFile(file, "w") as archive:
    archive.writestr("a.wav", wav())
  return file.getvalue()


def _ogg_with_granule(position: int) -> bytes:
  """The position in samples that the last page claims; its checksum no longer fits either."""
  data = bytearray(encoded("OGG"))
  struct.pack_into("<Q", data, tones.last_page(data) + 6, position)
  return bytes(data)


def _ogg_cut() -> bytes:
  data = encoded("OGG")
  return data[: tones.last_page(data) + 20]


def _m4a_cut(name: bytes) -> bytes:
  """Up to the start of a box."""
  return tones.m4a()[: tones.m4a().index(name) - 4]


_FTYP = atom(b"ftyp", b"isom\0\0\2\0isom")  # what an MP4 begins with

_BROKEN = (
  # Not a sound at all.
  ("empty file", lambda: b"", "wav", "0 bytes|cannot decode"),
  ("one byte", lambda: b"R", "wav", UNDECODABLE),
  ("text", lambda: b"not a sound\n" * 9, "wav", UNDECODABLE),
  ("error page", lambda: b"<!DOCTYPE html><title>404 Not Found</title>", "mp3", UNDECODABLE),
  ("LFS pointer", lambda: b"version https://git-lfs.github.com/spec/v1\n", "flac", UNDECODABLE),
  ("zeros", lambda: bytes(50_000), "wav", UNDECODABLE),
  ("noise", lambda: np.random.default_rng(0).bytes(50_000), "wav", UNDECODABLE),
  ("gzip", lambda: gzip.compress(wav()), "wav", UNDECODABLE),
  ("zip", _zipped, "wav", UNDECODABLE),
  # WAV cut at each point of its structure.
  ("WAV cut inside RIFF", lambda: wav()[:3], "wav", CUT),
  ("WAV cut behind RIFF", lambda: wav()[:4], "wav", CUT),
  ("WAV cut behind its size", lambda: wav()[:8], "wav", CUT),
  ("WAV cut behind WAVE", lambda: wav()[:12], "wav", CUT),
  ("WAV cut inside fmt's header", lambda: wav()[:16], "wav", CUT),
  ("WAV cut inside fmt", lambda: wav()[:27], "wav", CUT),
  ("WAV cut behind fmt", lambda: wav()[:36], "wav", CUT),
  ("WAV cut inside data's header", lambda: wav()[:41], "wav", CUT),
  ("WAV cut behind data's header", lambda: wav()[:44], "wav", CUT),
  ("WAV cut in a sample", lambda: wav()[:20_001], "wav", CUT),
  ("size of a stream that wrote nothing", lambda: wav(b"", data_size=0), "wav", "0 samples"),
  ("WAV without samples", lambda: wav(b""), "wav", "0 samples"),
  ("WAV without data chunk", lambda: wav().replace(b"data", b"atad"), "wav", CUT),
  # WAV headers that lie.
  ("data size ten times too large", lambda: wav(data_size=320_000), "wav", "cut short"),
  ("data size of 2 GB", lambda: wav(data_size=2**31 - 2**20), "wav", "cut short"),
  ("65535 channels", lambda: wav(channels=65_535), "wav", "damaged: .* 65535 channels"),
  ("no channels", lambda: wav(channels=0), "wav", UNDECODABLE),
  ("rate 0", lambda: wav(rate=0), "wav", RATE),
  ("rate 1 Hz", lambda: wav(rate=1), "wav", RATE),
  ("rate 999 Hz", lambda: wav(rate=999), "wav", "sample rate is 999 Hz, expected 1000 to"),
  ("rate 2**31", lambda: wav(rate=2**31), "wav", RATE),
  ("rate 2**32 - 1", lambda: wav(rate=2**32 - 1), "wav", RATE),
  ("7 bits", lambda: wav(bits=7), "wav", "damaged: 7 bits"),
  ("7 bits in frames of 2 bytes", lambda: wav(bits=7, align=2), "wav", "damaged: 7 bits"),
  ("24 bits in frames of 2 bytes", lambda: wav(bits=24, align=2), "wav", "damaged: 24 bits"),
  ("0 bits", lambda: wav(bits=0), "wav", "damaged: 0 bits"),
  ("65535 bits", lambda: wav(bits=65_535), "wav", "damaged: 65535 bits|cannot decode"),
  ("2 channels in frames of 1", lambda: wav(channels=2, align=2), "wav", "damaged: 16 bits"),
  ("16-bit floats", lambda: wav(tag=3), "wav", UNDECODABLE),
  ("unknown encoding", lambda: wav(tag=0xABCD), "wav", UNDECODABLE),
  ("fmt of 4 GB", lambda: wav(fmt_size=2**32 - 1), "wav", CUT),
  ("fmt of no bytes", lambda: wav(fmt_size=0), "wav", CUT),
  ("100,000 empty chunks", lambda: wav(before=chunk(b"JUNK", b"") * 100_000), "wav", CUT),
  ("chunk of 4 GB in front", lambda: wav(before=chunk(b"LIST", b"", 2**32 - 1)), "wav", CUT),
  ("ADPCM without block size", lambda: wav(tag=0x11, bits=4, align=0), "wav", UNDECODABLE),
  ("GSM without block size", lambda: wav(tag=0x31, bits=0, align=0), "wav", UNDECODABLE),
  ("AIFF cut in its header", lambda: encoded("AIFF")[:30], "aiff", CUT),
  ("AIFF cut", lambda: encoded("AIFF")[:9000], "aiff", CUT),
  ("big-endian WAV cut", lambda: tones.rifx()[:9000], "wav", CUT),
  ("RF64 cut in its header", lambda: encoded("RF64")[:60], "wav", CUT),
  ("RF64 cut", lambda: encoded("RF64")[:9000], "wav", CUT),
  ("AU cut", lambda: encoded("AU")[:9000], "au", CUT),
  ("Sphere cut", lambda: encoded("NIST")[:9000], "sph", CUT),
  ("Sphere header only", lambda: encoded("NIST")[:1024], "sph", CUT),
  # Samples that are no sound.
  ("one NaN", lambda: with_value(np.nan, 7), "wav", NOT_FINITE),
  ("all NaN", lambda: with_value(np.nan, slice(None)), "wav", "16000 NaN or infinite"),
  ("infinity", lambda: with_value(np.inf, -1), "wav", NOT_FINITE),
  ("minus infinity in float64", lambda: with_value(-np.inf, 0, np.float64), "wav", NOT_FINITE),
  ("float64 over float32", lambda: with_value(1e300, 5, np.float64), "wav", NOT_FINITE),
  ("silence", lambda: wav(bytes(32_000)), "wav", "silent: all 16000 samples"),
  # FLAC.
  ("FLAC of its first bytes", lambda: flac()[:4], "flac", CUT),
  ("FLAC cut in STREAMINFO", lambda: flac()[:20], "flac", CUT),
  ("FLAC of its header", lambda: flac()[:42], "flac", CUT),
  ("FLAC cut in a frame", lambda: flac()[:-2000], "flac", CUT),
  ("FLAC without its last byte", lambda: flac()[:-1], "flac", CUT),
  ("FLAC with broken frames", lambda: tones.flipped(flac(), *range(-4000, -3900)), "flac", CUT),
  ("FLAC with rate 0", lambda: flac(rate=0), "flac", RATE),
  ("FLAC of 2**36 samples", lambda: flac(total=2**36 - 1), "flac", "longer than 1200 s|cut"),
  ("FLAC of twice the samples", lambda: flac(total=32_000), "flac", CUT),
  ("three hours of FLAC", lambda: tones.flac_of_silence(3), "flac", "longer than 1200 s"),
  (
    "three hours of FLAC of undeclared length",
    lambda: tones.flac_of_silence(3, total=0),
    "flac",
    "longer than 1200 s",
  ),
  # MP3, OGG, MP4.
  ("ID3 tag of 256 MB", lambda: b"ID3\4\0\0\x7f\x7f\x7f\x7f" + encoded("MP3"), "mp3", UNDECODABLE),
  ("ID3 tag only", lambda: b"ID3\4\0\0\0\0\0\x0a" + bytes(10), "mp3", UNDECODABLE),
  ("MP3 cut in its first frame", lambda: encoded("MP3")[:30], "mp3", CUT),
  ("MP3 cut", lambda: encoded("MP3")[:1100], "mp3", CUT),
  ("OGG of its first page", lambda: encoded("OGG")[:58], "ogg", CUT),
  ("OGG cut in a page", lambda: encoded("OGG")[:-700], "ogg", CUT),
  ("OGG cut in its last page's header", _ogg_cut, "ogg", CUT),
  ("Opus cut", lambda: encoded("OGG", "OPUS")[:-900], "opus", CUT),
  ("OGG of 2**62 samples", lambda: _ogg_with_granule(2**62), "ogg", ".+"),
  ("MP4 without moov", lambda: _m4a_cut(b"moov"), "m4a", UNDECODABLE),
  ("MP4 cut in moov", lambda: _m4a_cut(b"stts"), "m4a", UNDECODABLE),
  ("MP4 of its first box", lambda: _FTYP, "m4a", UNDECODABLE),
  ("MP4 with boxes of no size", lambda: _FTYP + atom(b"moov", size=1) * 99, "m4a", UNDECODABLE),
  ("MP4 with a box of 4 GB", lambda: _FTYP + atom(b"mdat", size=2**32 - 1), "m4a", UNDECODABLE),
  ("WebM of its header", lambda: bytes.fromhex("1a45dfa3") + bytes(40), "webm", UNDECODABLE),
)

_ODD = (
  ("24-bit", lambda: encoded("WAV", "PCM_24"), "wav"),
  ("32-bit", lambda: encoded("WAV", "PCM_32"), "wav"),
  ("8-bit", lambda: encoded("WAV", "PCM_U8"), "wav"),
  ("float32", lambda: encoded("WAV", "FLOAT"), "wav"),
  ("float64", lambda: encoded("WAV", "DOUBLE"), "wav"),
  ("mu-law", lambda: encoded("WAV", "ULAW"), "wav"),
  ("A-law", lambda: encoded("WAV", "ALAW"), "wav"),
  ("IMA ADPCM", lambda: encoded("WAV", "IMA_ADPCM"), "wav"),
  ("2 channels", lambda: encoded("WAV", channels=2), "wav"),
  ("8 channels", lambda: encoded("WAV", "PCM_24", channels=8), "wav"),
  ("8 channels of FLAC", lambda: encoded("FLAC", channels=8), "flac"),
  ("1 kHz", lambda: encoded("WAV", rate=1_000), "wav"),
  ("8 kHz", lambda: encoded("WAV", rate=8_000), "wav"),
  ("11,025 Hz", lambda: encoded("WAV", rate=11_025), "wav"),
  ("44.1 kHz", lambda: encoded("FLAC", rate=44_100), "flac"),
  ("192 kHz", lambda: encoded("WAV", "PCM_24", rate=192_000), "wav"),
  ("192 kHz of FLAC", lambda: encoded("FLAC", "PCM_24", rate=192_000), "flac"),
  ("768 kHz", lambda: encoded("WAV", rate=768_000), "wav"),
  ("size of a stream, 0", lambda: wav(data_size=0), "wav"),
  ("size of a stream, 2**32 - 1", lambda: wav(data_size=2**32 - 1), "wav"),
  ("byte rate of 0", lambda: wav().replace(struct.pack("<I", 32_000), bytes(4), 1), "wav"),
  (
    "chunks in front",
    lambda: wav(before=chunk(b"LIST", b"odd") + b"\0" + chunk(b"JUNK", b"")),
    "wav",
  ),
  ("chunks behind", lambda: wav(after=chunk(b"LIST", bytes(26))), "wav"),
  ("half a frame behind", lambda: wav(tones.pcm16(tones.tone()) + b"\1"), "wav"),
  ("extensible WAV", lambda: encoded("WAVEX"), "wav"),
  ("big-endian WAV", tones.rifx, "wav"),
  ("RF64", lambda: encoded("RF64"), "wav"),
  ("W64", lambda: encoded("W64"), "w64"),
  ("AIFF", lambda: encoded("AIFF"), "aiff"),
  ("AU", lambda: encoded("AU"), "au"),
  ("CAF", lambda: encoded("CAF"), "caf"),
  ("Sphere", lambda: encoded("NIST"), "sph"),
  ("FLAC of undeclared length", lambda: flac(total=0), "flac"),
  ("MP3", lambda: encoded("MP3"), "mp3"),
  ("MP3 behind an ID3 tag", lambda: b"ID3\4\0\0\0\0\0\x0a" + bytes(10) + encoded("MP3"), "mp3"),
  ("Vorbis", lambda: encoded("OGG"), "ogg"),
  ("Opus", lambda: encoded("OGG", "OPUS"), "opus"),
  ("AAC in MP4", tones.m4a, "m4a"),
  ("WAV called MP3", wav, "mp3"),
)

SOUNDS = (
  *(Sound(name=n, make=make, suffix=suffix, reason=reason) for n, make, suffix, reason in _BROKEN),
  *(Sound(name=name, make=make, suffix=suffix) for name, make, suffix in _ODD),
)
