"""Requests as OpenAI's API has them, and transcripts from the answers of several servers."""

import base64
import json

import pytest

from maxtext_ext.server_benchmark.api import (
  APIS,
  Reply,
  RequestOptions,
  UnusableAnswerError,
  describe_error,
)

PLAIN = RequestOptions(model="m")
FULL = RequestOptions(model="m", prompt="Tel Aviv", instruction="Write it.", max_tokens=9)


def chat(content: object, **choice: object) -> bytes:
  return json.dumps({"choices": [{"message": {"content": content}, **choice}]}).encode()


def test_a_transcription_is_a_form():
  encode = APIS["transcriptions"].encode
  fields = {"model": "m", "response_format": "json", "temperature": "0"}
  assert encode(PLAIN, b"RIFF", "") == {
    "data": fields,
    "files": {"file": ("clip.wav", b"RIFF", "audio/wav")},
  }
  more = {"prompt": "Tel Aviv", "language": "he", "max_completion_tokens": "9"}
  assert encode(FULL, b"RIFF", "he")["data"] == fields | more


def test_a_chat_has_the_audio_in_its_message():
  encode = APIS["chat"].encode
  audio = {"data": base64.b64encode(b"RIFF").decode(), "format": "wav"}
  part = {"type": "input_audio", "input_audio": audio}
  user = {"role": "user", "content": [part]}
  assert encode(PLAIN, b"RIFF", "") == {
    "json": {"model": "m", "messages": [user], "temperature": 0}
  }
  messages = [
    {"role": "system", "content": "Tel Aviv"},
    {"role": "user", "content": [part, {"type": "text", "text": "Write it."}]},
  ]
  body = {"model": "m", "messages": messages, "temperature": 0, "max_completion_tokens": 9}
  assert encode(FULL, b"RIFF", "") == {"json": body}


@pytest.mark.parametrize(
  ("api", "body", "expected"),
  [
    ("transcriptions", b'{"text": " one two "}', Reply(text="one two")),
    ("transcriptions", b'{"text": ""}', Reply(text="")),
    (
      "transcriptions",
      '{"text": "language Hebrew<asr_text>שלום", "error": null}'.encode(),
      Reply(text="שלום", language="Hebrew"),
    ),
    (
      "chat",
      chat("language English<asr_text>one"),
      Reply(text="one", language="English"),
    ),
    ("chat", chat("language None<asr_text>"), Reply(text="")),
    ("chat", chat("one", finish_reason="stop"), Reply(text="one")),
    ("chat", chat("one one", finish_reason="length"), Reply(text="one one", complete=False)),
  ],
)
def test_answers_are_parsed(api, body, expected):
  assert APIS[api].parse(body) == expected


@pytest.mark.parametrize(
  ("api", "body", "reason"),
  [
    ("transcriptions", b"<html>\n busy", "expected JSON, got '<html> busy'"),
    ("transcriptions", b"", "expected JSON, got ''"),
    ("transcriptions", b"\xff", "expected JSON"),
    ("transcriptions", b"[" * 100_000, "expected JSON"),
    ("transcriptions", b"[1]", r"expected a JSON object, got \[1\]"),
    ("transcriptions", b"{}", "text is null, expected a text"),
    ("transcriptions", b'{"text": 7}', "text is 7, expected a text"),
    ("transcriptions", b'{"text": "\\ud800"}', "text has a lone surrogate at 0"),
    ("transcriptions", b'{"error": {"message": "no GPU"}}', "^no GPU$"),
    ("chat", b'{"choices": []}', r'no choices\[0\].message.content in {"choices": \[\]}'),
    ("chat", b'{"choices": [7]}', "no choices"),
    ("chat", b'{"choices": {"a": 1}}', "no choices"),
    ("chat", b"{}", "no choices"),
    ("chat", chat(None), "content is null, expected a text"),
    ("chat", chat(["a"]), "content is "),
  ],
)
def test_answers_without_a_transcript_say_why(api, body, reason):
  with pytest.raises(UnusableAnswerError, match=reason):
    APIS[api].parse(body)


@pytest.mark.parametrize(
  ("body", "message"),
  [
    (b'{"error": {"message": "too  long", "code": 400}}', "too long"),
    (b'{"detail": "Not Found"}', "Not Found"),
    (b'{"detail": [{"loc": ["file"]}]}', '[{"loc": ["file"]}]'),
    (b'{"error": "busy"}', "busy"),
    (b'{"error": {}}', '{"error": {}}'),
    (b"{}", "{}"),
    (b"Bad\r\nGateway", "Bad Gateway"),
    (b"", ""),
    (b"x" * 500, "x" * 200 + "..."),
  ],
)
def test_errors_of_servers_are_one_line(body, message):
  assert describe_error(body) == message
