"""Records to tf.train.Example bytes and back (TensorFlow's view of them: tensorflow_test.py)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_np

from maxtext_ext.audio.flac import encode_flac
from maxtext_ext.records import wire
from maxtext_ext.records.schema import (
  Record,
  RecordError,
  decode_example,
  encode_example,
  parse_example,
)

BYTES, FLOATS, INTEGERS = 1, 2, 3
FLAC = encode_flac(np.arange(800, dtype=np.int16))

words = st.text(st.characters(exclude_categories=["Cs"]))
ids = words.filter(bool)
texts = words.filter(str.strip)
float_audio = st_np.arrays(np.float32, st.integers(0, 50), elements=st.floats(-1, 1, width=32))
int_audio = st_np.arrays(np.int16, st.integers(0, 50))
records = st.builds(
  Record,
  sample_id=ids,
  audio=float_audio,
  text=texts,
  dataset_name=words,
  language=st.none() | ids,
  prompt=words,
  speaker=st.none() | ids,
)


def record(**changes) -> Record:
  audio = np.linspace(-1, 1, 16_000, dtype=np.float32)
  return Record(**{"sample_id": "a/1", "audio": audio, "text": "שלום hello"} | changes)


def feature(kind: int, *values: bytes, name: bytes) -> bytes:
  content = b"".join(wire.write_field(1, value) for value in values)
  entry = wire.write_field(1, name) + wire.write_field(2, wire.write_field(kind, content))
  return wire.write_field(1, entry)


def example(**changes: tuple[int, bytes] | None) -> bytes:
  """A good Example, with features replaced, added or (None) left out."""
  features = {
    "audio": (FLOATS, np.full(4, 0.5, "<f4").tobytes()),
    "audio_len": (INTEGERS, wire.write_varint(4)),
    "sample_rate": (INTEGERS, wire.write_varint(16_000)),
    "text": (BYTES, b"hi"),
    "sample_id": (BYTES, b"a/1"),
  } | changes
  parts = [feature(*value, name=name.encode()) for name, value in features.items() if value]
  return wire.write_field(1, b"".join(parts))


@settings(max_examples=200)
@given(records)
def test_round_trip_is_exact(original):
  decoded = decode_example(encode_example(original))
  np.testing.assert_array_equal(decoded.audio, original.audio)
  assert decoded.audio.dtype == np.float32
  assert decoded.audio.flags.aligned and decoded.audio.flags.writeable
  names = ("sample_id", "text", "dataset_name", "language", "prompt", "speaker", "seconds")
  for name in names:
    assert getattr(decoded, name) == getattr(original, name), name


@pytest.mark.parametrize("form", ["pcm16", "flac"])
@settings(deadline=None)
@given(samples=int_audio.filter(np.any))
def test_16_bit_sound_is_stored_without_loss(form, samples):
  for audio in (samples, samples.astype(np.float32) / 32_768):
    decoded = decode_example(encode_example(record(audio=audio), audio=form))
    assert decoded.audio.dtype == np.int16
    assert decoded.audio.flags.aligned and decoded.audio.flags.writeable
    np.testing.assert_array_equal(decoded.audio, samples)


@pytest.mark.parametrize("form", ["pcm16", "flac"])
def test_16_bits_round_and_clip(form):
  audio = np.array([1.0, 1.5, -1.0, -1.5, 0.6 / 32_768, -0.4 / 32_768], np.float32)
  decoded = decode_example(encode_example(record(audio=audio), audio=form))
  assert decoded.audio.tolist() == [32_767, 32_767, -32_768, -32_768, 1, 0]


def test_flac_is_smaller():
  audio = (3_000 * np.sin(np.arange(16_000) / 20)).astype(np.int16)
  sizes = [
    len(encode_example(record(audio=audio), audio=form)) for form in ("float32", "pcm16", "flac")
  ]
  assert sizes[0] > 1.9 * sizes[1] > 3.8 * sizes[2]


def test_int16_is_stored_as_float32_by_default():
  audio = np.array([-32_768, 0, 16_384], np.int16)
  decoded = decode_example(encode_example(record(audio=audio)))
  assert decoded.audio.tolist() == [-1.0, 0.0, 0.5]
  assert record(audio=audio).as_float32().tolist() == [-1.0, 0.0, 0.5]


def test_order_and_unknown_features_do_not_matter():
  plain = example()
  backwards = wire.write_field(
    1,
    b"".join(
      wire.write_field(1, plain[slice(*span)])
      for _, _, span in reversed(list(wire.read_fields(plain, _inner(plain))))
    ),
  )
  more = example(accent=(BYTES, b"\xff"), snr=(FLOATS, b"1234")) + b"\x50\x01"
  for data in (backwards, more):
    decoded = decode_example(data)
    assert (decoded.sample_id, decoded.text) == ("a/1", "hi")
    assert decoded.audio.tolist() == [0.5] * 4


def _inner(data: bytes) -> wire.Span:
  ((_, _, span),) = wire.read_fields(data, (0, len(data)))
  return span


def test_of_repeated_features_the_last_counts():
  """So it is in protobuf's maps, and messages may be merged by concatenation."""
  second = wire.write_field(1, feature(BYTES, b"later", name=b"text"))
  assert decode_example(example() + second).text == "later"


def test_another_rate_is_parsed_but_not_decoded():
  data = example(sample_rate=(INTEGERS, wire.write_varint(8_000)))
  assert parse_example(data).sample_rate == 8_000
  with pytest.raises(RecordError, match=r"8000 Hz, expected 16000.*data convert"):
    decode_example(data)


@pytest.mark.parametrize(
  ("data", "reason", "sample_id"),
  [
    (b"", "'sample_id' is missing", ""),
    (b"not protobuf", "not a tf.train.Example of 12 bytes", ""),
    (example()[:-1], "not a tf.train.Example", ""),
    (example(sample_id=(BYTES, b"")), "'sample_id' is missing or empty", ""),
    (example(sample_id=(BYTES, b"\xff")), "sample_id is not UTF-8", ""),
    (example(text=None), "text is missing or empty", "a/1"),
    (example(text=(BYTES, b" \n")), "text is missing or empty", "a/1"),
    (example(text=(BYTES, b"ab\xff")), r"text is not UTF-8 \(byte 0xff at 2\)", "a/1"),
    (example(text=(BYTES, b"a", b"b")), "'text' has 2 values, expected 1", "a/1"),
    (example(text=(FLOATS, b"1234")), "'text' is a float_list, expected a bytes_list", "a/1"),
    (example(audio=None), r"no feature 'audio', only \['audio_len'", "a/1"),
    (example(audio=(INTEGERS, b"\x01")), "'audio' is a int64_list", "a/1"),
    (example(audio=(FLOATS, b"12345")), "not a tf.train.Example: float_list", "a/1"),
    (example(audio_len=(INTEGERS, b"\x05")), "4 samples, but audio_len says 5", "a/1"),
    (example(audio_len=(INTEGERS, b"\x04\x04")), "'audio_len' has 2 values", "a/1"),
    (example(speaker=(BYTES, b"\xff")), "speaker is not UTF-8", "a/1"),
    (example(audio_flac=(BYTES, b"fLaC")), "'audio_flac': 4 bytes are no FLAC file", "a/1"),
    (example(audio_flac=(BYTES, FLAC, FLAC)), "'audio_flac' has 2 values", "a/1"),
    (example(audio_flac=(BYTES, FLAC)), "800 samples, but audio_len says 4", "a/1"),
    (
      example(
        audio_flac=(BYTES, FLAC),
        audio_len=None,
        sample_rate=(INTEGERS, wire.write_varint(8_000)),
      ),
      "sample_rate is 8000 Hz, but audio_flac",
      "a/1",
    ),
    (example(audio_pcm16=(BYTES, b"123")), "'audio_pcm16' has 3 bytes, expected an even", "a/1"),
  ],
)
def test_bad_examples(data, reason, sample_id):
  with pytest.raises(RecordError, match=reason) as caught:
    decode_example(data)
  assert caught.value.sample_id == sample_id


@pytest.mark.parametrize(
  ("changes", "audio", "reason"),
  [
    ({"sample_id": ""}, "float32", "sample_id is empty"),
    ({"text": " "}, "float32", "text is empty"),
    ({"text": "half \ud800"}, "float32", "text has no UTF-8 form .* at character 5"),
    ({"audio": np.zeros(4)}, "float32", r"audio is float64\[4\], expected float32 or int16"),
    ({"audio": np.zeros((2, 4), np.float32)}, "float32", r"float32\[2, 4\]"),
    ({"audio": np.full(4, 12_000, np.float32)}, "pcm16", "peak of 12000, expected at most 1"),
    ({"audio": np.full(4, np.nan, np.float32)}, "pcm16", "peak of nan"),
    ({"audio": np.full(4, np.nan, np.float32)}, "flac", "peak of nan"),
    ({"audio": np.zeros(0, np.float32)}, "flac", "audio has 0 samples, FLAC takes 1 to"),
    ({"audio": np.full(4, 1e-6, np.float32)}, "pcm16", "silence in 16 bits"),
  ],
)
def test_records_that_cannot_be_encoded(changes, audio, reason):
  with pytest.raises(RecordError, match=reason):
    encode_example(record(**changes), audio=audio)


@settings(max_examples=300)
@given(st.data())
def test_damaged_bytes_give_a_record_or_a_record_error(data):
  encoded = bytearray(encode_example(record(audio=np.ones(20, np.float32))))
  for _ in range(data.draw(st.integers(1, 3))):
    encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
  stop = data.draw(st.integers(0, len(encoded)))
  for damaged in (bytes(encoded), bytes(encoded[:stop])):
    try:
      decoded = decode_example(damaged)
    except RecordError:
      continue
    assert decoded.sample_id and decoded.text.strip()


@pytest.mark.parametrize("audio", ["float32", "pcm16"])
def test_audio_is_a_view_where_no_copy_is_asked_for(audio):
  samples = np.arange(-500, 500, dtype=np.int16)
  data = encode_example(Record(sample_id="a", audio=samples, text="b"), audio)
  stored = np.frombuffer(data, np.uint8)
  view, copy = decode_example(data, copy=False).audio, decode_example(data).audio
  assert np.shares_memory(view, stored) and not np.shares_memory(copy, stored)
  assert copy.flags.aligned
  np.testing.assert_array_equal(view, copy)
