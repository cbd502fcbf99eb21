"""Broken and odd TFRecord files, and records in them."""

import gzip
import pathlib
import struct
from collections.abc import Callable, Iterator

import numpy as np

from maxtext_ext.records import wire
from maxtext_ext.records.schema import encode_example
from maxtext_ext.sources.tfrecord import masked_crc32c
from tests.sources.fuzz import tones
from tests.sources.fuzz.case import AFTER, BEFORE, CASE, TEXT, Case, record
from tests.sources.fuzz.sounds import SOUNDS

NO_EXAMPLE = "not a tf.train.Example"
_BYTES, _FLOATS, _INTEGERS = 1, 2, 3


def _strings(*values: bytes) -> bytes:
  return wire.write_field(_BYTES, b"".join(wire.write_field(1, value) for value in values))


def _floats(samples: np.ndarray) -> bytes:
  return wire.write_field(_FLOATS, wire.write_field(1, samples.astype("<f4").tobytes()))


def _integers(*values: int) -> bytes:
  return wire.write_field(_INTEGERS, wire.write_field(1, b"".join(map(wire.write_varint, values))))


def _entry(name: bytes, feature: bytes) -> bytes:
  return wire.write_field(1, wire.write_field(1, name) + wire.write_field(2, feature))


_FEATURES = {
  "audio": _floats(tones.tone()),
  "audio_len": _integers(tones.RATE),
  "sample_rate": _integers(tones.RATE),
  "text": _strings(TEXT.encode()),
  "dataset_name": _strings(b"fuzz"),
  "sample_id": _strings(CASE.encode()),
}

_OPTIONAL = dict.fromkeys(("audio_len", "sample_rate", "dataset_name"))


def _example(**changes: bytes | None) -> bytes:
  """A valid Example but for some features; None leaves one out."""
  features = {k: v for k, v in (_FEATURES | changes).items() if v is not None}
  return wire.write_field(1, b"".join(_entry(k.encode(), v) for k, v in features.items()))


def _tone(samples: np.ndarray, **changes: bytes | None) -> bytes:
  return _example(**{"audio": _floats(samples), "audio_len": _integers(len(samples))} | changes)


def _with(value: float) -> bytes:
  samples = tones.tone()
  samples[7] = value
  return _tone(samples)


def _at_rate(rate: int) -> bytes:
  return _tone(tones.tone(rate), sample_rate=_integers(rate))


def _pcm16(**changes: bytes) -> bytes:
  return _example(**{"audio": None, "audio_pcm16": _strings(tones.pcm16(tones.tone()))} | changes)


def _flac(data: bytes) -> bytes:
  return _example(audio=None, audio_len=None, audio_flac=_strings(data))


def _unpacked() -> bytes:
  floats = b"".join(b"\x0d" + struct.pack("<f", value) for value in tones.tone())
  lengths = wire.write_field(_INTEGERS, b"\x08" + wire.write_varint(tones.RATE))
  return _example(audio=wire.write_field(_FLOATS, floats), audio_len=lengths)


def _declaring(length: int) -> bytes:
  """A valid record whose outermost field claims another length."""
  body = _example()
  _, start = wire.read_varint(body, 1, len(body))
  return body[:1] + wire.write_varint(length) + body[start:]


# Records between two good ones: name, bytes, reason or None where it is good.
_RECORDS: tuple[tuple[str, bytes | Callable[[], bytes], str | None], ...] = (
  ("empty record", b"", "sample_id"),
  ("zeros", bytes(1000), NO_EXAMPLE),
  ("noise", np.random.default_rng(1).bytes(1000), NO_EXAMPLE),
  ("another message", wire.write_field(2, b"hello"), "sample_id"),
  ("varint of 11 bytes", b"\x0a" + b"\xff" * 11, "varint of more than 10 bytes"),
  ("varint cut", b"\x0a\xff", "varint is cut"),
  ("length 2**60", _declaring(2**60), NO_EXAMPLE),
  ("length 2**63", _declaring(2**63), NO_EXAMPLE),
  ("length 2**64 - 1", _declaring(2**64 - 1), NO_EXAMPLE),
  ("length one too large", _declaring(len(_example()) - 3), NO_EXAMPLE),
  ("length one too small", _declaring(len(_example()) - 5), NO_EXAMPLE),
  ("field number 0", b"\x02\x00", NO_EXAMPLE),
  ("group", b"\x0b\x0c", "unknown wire type 3"),
  ("wire type 7", b"\x0f" + bytes(20), "unknown wire type 7"),
  ("deeply nested", lambda: _nested(2000), "sample_id"),
  ("100,000 empty features", wire.write_field(1, b"\x0a\x00" * 100_000), "sample_id"),
  # Features that are missing or of another type.
  ("no id", _example(sample_id=None), "'sample_id' is missing"),
  ("empty id", _example(sample_id=_strings(b"")), "'sample_id' is missing"),
  ("id as integer", _example(sample_id=_integers(7)), "'sample_id' is a int64_list"),
  ("two ids", _example(sample_id=_strings(b"a", b"b")), "'sample_id' has 2 values"),
  ("no values in id", _example(sample_id=_strings()), "'sample_id'"),
  ("id not UTF-8", _example(sample_id=_strings(b"\xff\xfe")), "sample_id is not UTF-8"),
  ("no text", _example(text=None), "text is missing"),
  ("empty text", _example(text=_strings(b"")), "text is missing or empty"),
  ("text of spaces", _example(text=_strings(b" \n\xc2\xa0")), "text is missing or empty"),
  ("text as floats", _example(text=_floats(np.ones(3))), "'text' is a float_list"),
  ("two texts", _example(text=_strings(b"a", b"b")), "'text' has 2 values"),
  ("text not UTF-8", _example(text=_strings(b"abc\xff")), "text is not UTF-8 .byte 0xff at 3"),
  ("lone surrogate", _example(text=_strings(b"a\xed\xa0\x80b")), "text is not UTF-8"),
  ("overlong UTF-8", _example(text=_strings(b"\xc0\xaf")), "text is not UTF-8"),
  ("language as integer", _example(language=_integers(1)), "'language' is a int64_list"),
  ("data set not UTF-8", _example(dataset_name=_strings(b"\x80")), "dataset_name is not UTF-8"),
  ("no audio", _example(audio=None), "no feature 'audio'"),
  ("audio as bytes", _example(audio=_strings(bytes(64_000))), "'audio' is a bytes_list"),
  ("audio as integers", _example(audio=_integers(*range(99))), "'audio' is a int64_list"),
  ("empty audio", _tone(np.zeros(0)), "0 samples"),
  ("audio of 3 bytes", _example(audio=wire.write_field(2, b"\x0a\x03abc")), "float_list at byte"),
  ("audio_len too small", _example(audio_len=_integers(15_999)), "audio_len says 15999"),
  ("audio_len 2**62", _example(audio_len=_integers(2**62)), "audio_len says"),
  ("audio_len negative", _example(audio_len=_integers(-1)), "audio_len says -1"),
  ("audio_len as floats", _example(audio_len=_floats(np.ones(1))), "'audio_len' is a float_list"),
  ("two rates", _example(sample_rate=_integers(16_000, 8_000)), "'sample_rate' has 2 values"),
  ("rate as bytes", _example(sample_rate=_strings(b"16000")), "'sample_rate' is a bytes_list"),
  ("rate 0", _example(sample_rate=_integers(0)), "sample rate is 0 Hz"),
  ("rate negative", _example(sample_rate=_integers(-16_000)), "sample rate is -16000 Hz"),
  ("rate 999", _example(sample_rate=_integers(999)), "sample rate is 999 Hz"),
  (
    "rate 2**63 - 1",
    _example(sample_rate=_integers(2**63 - 1)),
    "sample rate is 9223372036854775807",
  ),
  # Samples.
  ("NaN", _with(np.nan), "1 NaN or infinite samples of 16000, the first at 7"),
  ("infinity", _with(-np.inf), "1 NaN or infinite samples"),
  ("silence", _tone(np.zeros(16_000)), "silent: all 16000 samples"),
  ("odd bytes of pcm16", _pcm16(audio_pcm16=_strings(bytes(31_999))), "'audio_pcm16'"),
  ("pcm16 as floats", _pcm16(audio_pcm16=_floats(tones.tone())), "'audio_pcm16' is a float_list"),
  ("two values of pcm16", _pcm16(audio_pcm16=_strings(b"ab", b"cd")), "'audio_pcm16'"),
  ("silence in pcm16", _pcm16(audio_pcm16=_strings(bytes(32_000))), "silent"),
  ("empty flac", _flac(b""), "flac|FLAC|decode"),
  ("flac as floats", _example(audio=None, audio_flac=_floats(tones.tone())), "'audio_flac' is a"),
  # Good ones.
  ("floats apart", _unpacked(), None),
  ("pcm16", _pcm16(), None),
  ("flac in the record", lambda: _flac(tones.flac()), None),
  ("only what is needed", lambda: _example(**_OPTIONAL), None),
  ("an unknown feature", _example(speed=_floats(np.ones(2))), None),
  (
    "of two values the last",
    wire.write_field(1, _entry(b"text", _strings(b""))) + _example(),
    None,
  ),
  ("1 kHz", _at_rate(1_000), None),
  ("44.1 kHz", _at_rate(44_100), None),
  ("192 kHz", _at_rate(192_000), None),
)

# Ids that are odd, but ids; none of them becomes part of a path.
_ANSI = "\x1b[2J\r\n" * 1000  # clears the screen of who prints it
_IDS = (
  "a/b/c",
  "../../../escape",
  "/etc/passwd",
  "a\0b",
  "a\nb\r\n",
  "x" * 1_000_000,
  "\u202e",
  "'\"\\",
  " ",
)


def _nested(depth: int) -> bytes:
  data = b""
  for _ in range(depth):
    data = wire.write_field(1, data)
  return data


def _framed(data: bytes) -> bytes:
  length = struct.pack("<Q", len(data))
  return b"".join(
    (
      length,
      struct.pack("<I", masked_crc32c(length)),
      data,
      struct.pack("<I", masked_crc32c(data)),
    )
  )


_NEIGHBOUR = {name: _framed(encode_example(record(name))) for name in (BEFORE, AFTER)}


def _file(*frames: bytes) -> Callable[[pathlib.Path], pathlib.Path]:
  def write(folder: pathlib.Path) -> pathlib.Path:
    (folder / "a.tfrecord").write_bytes(b"".join(frames))
    return folder

  return write


def _between(name: str, data: bytes, reason: str | None, sample_id: str = CASE) -> Case:
  good = (BEFORE, AFTER) if reason else (BEFORE, sample_id, AFTER)
  write = _file(_NEIGHBOUR[BEFORE], _framed(data), _NEIGHBOUR[AFTER])
  return Case(name=name, write=write, bad=(reason,) if reason else (), good=good)


def _structure(data: bytes, span: wire.Span, depth: int = 0) -> Iterator[int]:
  """Places where the fields of an Example start and where their payloads do, down to the values."""
  for number, _, (start, stop) in wire.read_fields(data, span):
    yield from (start, stop)
    # Example, Features, entry (name and Feature), Feature, list.
    if depth < 2 or depth == 3 or (depth == 2 and number == 2):
      yield from _structure(data, (start, stop), depth + 1)


def _cut_records() -> Iterator[Case]:
  """An Example cut at every point of its structure, its frame and checksums right."""
  data = _example(audio=_floats(tones.tone()[:100]), audio_len=_integers(100))
  points = sorted({p for p in _structure(data, (0, len(data))) if 0 < p < len(data)})
  for point in points:
    yield _between(f"record cut at byte {point}", data[:point], NO_EXAMPLE)


def _cut_files() -> Iterator[Case]:
  """A file cut at every point of its structure, the second record's."""
  whole = _NEIGHBOUR[BEFORE], _framed(_example())
  size = len(whole[1])
  for point in (1, 7, 8, 10, 12, 13, size // 2, size - 4, size - 3, size - 1):
    write = _file(whole[0], whole[1][:point])
    yield Case(
      name=f"file cut at {point}", write=write, bad=("file is cut inside",), good=(BEFORE,)
    )


def _absurd(length: int) -> bytes:
  header = struct.pack("<Q", length)
  return header + struct.pack("<I", masked_crc32c(header)) + b"abc"


def _files() -> Iterator[Case]:
  before, after, case = _NEIGHBOUR[BEFORE], _NEIGHBOUR[AFTER], _framed(_example())
  ansi = _framed(_example(sample_id=_strings(_ANSI.encode())))
  cut, lost, both = "cut inside a record of", "length of a record fails", (BEFORE, AFTER)
  for name, frames, bad, good in (
    ("empty file", (), (), ()),
    ("length with a flipped bit", (before, tones.flipped(case, 1), after), (lost,), (BEFORE,)),
    ("checksum of the length", (before, tones.flipped(case, 9), after), (lost,), (BEFORE,)),
    (
      "data with a flipped bit",
      (before, tones.flipped(case, 500), after),
      ("data .* CRC32C",),
      both,
    ),
    ("checksum of the data", (before, tones.flipped(case, -1), after), ("data .* CRC32C",), both),
    ("length 2**60", (before, _absurd(2**60)), (f"{cut} 1152921504606846976",), (BEFORE,)),
    ("length 2**64 - 1", (before, _absurd(2**64 - 1)), (cut,), (BEFORE,)),
    ("gzip", (gzip.compress(before + after),), (), both),
    ("gzip that is cut", (gzip.compress(before + after)[:-20],), ("cut or damaged",), (BEFORE,)),
    ("gzip behind", (before, gzip.compress(after)), (lost,), (BEFORE,)),
    ("zeros behind", (before, bytes(64)), (lost,), (BEFORE,)),
    ("text", (b"this is no TFRecord file\n" * 9,), (lost,), ()),
    ("an id twice", (before, case, case, after), ("duplicate id: 'case'",), (BEFORE, CASE, AFTER)),
    ("control characters", (before, ansi, ansi), ("duplicate id",), (BEFORE, _ANSI)),
  ):
    yield Case(name=f"file: {name}", write=_file(*frames), bad=bad, good=good)


def _sounds() -> Iterator[Case]:
  """Of sound files a record can hold FLAC only."""
  for sound in SOUNDS:
    if sound.suffix == "flac" and sound.reason:
      yield _between(f"in the record: {sound.name}", _flac(sound.make()), ".+")


CASES = (
  *(_between(n, data() if callable(data) else data, reason) for n, data, reason in _RECORDS),
  *(_between(f"id {i[:20]!r}", _example(sample_id=_strings(i.encode())), None, i) for i in _IDS),
  *_cut_records(),
  *_cut_files(),
  *_files(),
  *_sounds(),
)
