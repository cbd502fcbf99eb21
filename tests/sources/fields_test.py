"""Fields of records under the names that corpora give them."""

import numpy as np
import pytest

from maxtext_ext.records.schema import RecordError
from maxtext_ext.sources.fields import (
  choose_names,
  parse_object,
  read_fields,
  split_language,
)
from maxtext_ext.sources.options import SourceOptions

PLAIN = SourceOptions()


@pytest.mark.parametrize(
  ("available", "options", "expected"),
  [
    ("", PLAIN, {}),
    ("text audio x", PLAIN, {"audio": "audio", "text": "text"}),
    (
      "sentence client_id locale",
      PLAIN,
      {"text": "sentence", "speaker": "client_id", "language": "locale"},
    ),
    ("normalized_text text", PLAIN, {"text": "text"}),
    (
      "normalized_text text",
      SourceOptions(text_key="normalized_text"),
      {"text": "normalized_text"},
    ),
    ("text", SourceOptions(text_key="other"), {}),
    ("id uuid", SourceOptions(id_key="uuid"), {"id": "uuid"}),
    ("wav audio", SourceOptions(audio_key="wav"), {"audio": "wav"}),
  ],
)
def test_choose_names(available, options, expected):
  assert choose_names(available.split(), options) == expected


@pytest.mark.parametrize(
  ("text", "expected"),
  [
    ("hello", ("hello", None)),
    ("language English<asr_text>hello", ("hello", "English")),
    ("language None<asr_text>hm", ("hm", None)),
    ("language English<asr_text>a<asr_text>b", ("a<asr_text>b", "English")),
    ("language lessons are fun", ("language lessons are fun", None)),
    ("my<asr_text>own", ("my<asr_text>own", None)),
  ],
)
def test_split_language(text, expected):
  assert split_language(text) == expected


def read(options: SourceOptions = PLAIN, **values: object):
  return read_fields(values, choose_names(values, options), "default", options)


def test_everything_said():
  fields = read(id=7, sentence="hi", lang="he", speaker_id=3, dataset="d", prompt="names: Noor")
  record = fields.with_audio(np.ones(3, np.float32))
  said = (record.sample_id, record.text, record.language, record.speaker, record.dataset_name)
  assert said == ("7", "hi", "Hebrew", "3", "d") and record.prompt == "names: Noor"
  assert record.audio.tolist() == [1, 1, 1]


def test_what_is_not_said():
  fields = read(text="hi", id=None, speaker="", language=None)
  assert (fields.sample_id, fields.language, fields.speaker) == ("default", None, None)
  assert (fields.dataset_name, fields.prompt) == ("", "")
  defaults = SourceOptions(language="Arabic", dataset_name="x")
  fields = read(defaults, text="hi")
  assert (fields.language, fields.dataset_name) == ("Arabic", "x")
  fields = read(defaults, text="language Hebrew<asr_text>hi", dataset="y")
  assert (fields.text, fields.language, fields.dataset_name) == ("hi", "Hebrew", "y")


def test_a_code_and_a_name_agree():
  assert read(text="language Hebrew<asr_text>hi", language="he-IL").language == "Hebrew"


@pytest.mark.parametrize(
  ("values", "reason", "sample_id"),
  [
    ({}, "text is missing or empty", "default"),
    ({"text": "  ", "id": "a"}, "text is missing or empty", "a"),
    ({"text": 3, "id": "a"}, "'text' is 3, expected a string", "a"),
    ({"sentence": ["x"]}, r"'sentence' is \['x'\], expected a string", "default"),
    ({"text": "x", "id": True}, "'id' is True, expected a string", ""),
    ({"text": "x", "speaker": 1.5}, "'speaker' is 1.5, expected a string", "default"),
    ({"text": "x", "language": 5}, "'language' is 5, expected a string", "default"),
    (
      {"text": "language English<asr_text>x", "language": "ar"},
      "language is 'Arabic', but the text says 'English'",
      "default",
    ),
  ],
)
def test_bad_values(values, reason, sample_id):
  with pytest.raises(RecordError, match=reason) as caught:
    read(**values)
  assert caught.value.sample_id == sample_id


@pytest.mark.parametrize(
  ("content", "reason", "sample_id"),
  [
    (b"", "not JSON", ""),
    (b"[" * 100_000, "not JSON", ""),
    (b"3", "JSON is a number, expected an object", ""),
    (b'{"id": "x", "text": "\xff"}', r"not UTF-8 \(byte 0xff at 21\)", "x"),
    (b'{"audio": "a.wav", "text": "\xff"}', "not UTF-8", "a.wav"),
    (b'{"id": [1], "text": "\xff"}', "not UTF-8", ""),
    (b'["\xff"]', "not UTF-8", ""),
  ],
)
def test_bad_json(content, reason, sample_id):
  with pytest.raises(RecordError, match=reason) as caught:
    parse_object(content)
  assert caught.value.sample_id == sample_id


def test_json_with_a_byte_order_mark():
  assert parse_object(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}
