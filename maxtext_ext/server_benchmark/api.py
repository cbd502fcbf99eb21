"""Requests and answers of OpenAI-compatible servers: transcriptions, and chats with audio.

Source: OpenAI's API reference, "Create transcription" and "Create chat completion". Servers of
Qwen3-ASR answer a chat, and some a transcription, with `language X<asr_text>transcript`.
"""

import base64
import dataclasses
import json
from collections.abc import Callable
from typing import Any

from maxtext_ext.text.templates.qwen3_asr import parse_output

_MAX_SHOWN = 200  # characters of a server's message


class UnusableAnswerError(ValueError):
  """An answer that holds no transcript; the text says why."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RequestOptions:
  """Parts that all requests of a benchmark share.

  Attributes:
    model: its name at the server.
    prompt: context such as names: `prompt` of a transcription, the system message of a chat; ""
      sends none.
    instruction: text beside the audio of a chat, for models with several tasks; "" sends none.
    max_tokens: longest answer; None leaves it to the server.
  """

  model: str
  prompt: str = ""
  instruction: str = ""
  max_tokens: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reply:
  """Transcript in an answer.

  Attributes:
    language: that the answer names; None where it names none.
    complete: False where a limit of tokens cut it.
  """

  text: str
  language: str | None = None
  complete: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Api:
  """Endpoint of a server.

  Attributes:
    path: below the server's URL.
    encode: (options, a WAV file, ISO 639 code of its language or "") -> keyword arguments of an
      HTTP request.
    parse: body of an answer -> transcript; raises UnusableAnswerError.
    takes: names of the request's options beyond model and tokens that it has.
  """

  path: str
  encode: Callable[[RequestOptions, bytes, str], dict[str, Any]]
  parse: Callable[[bytes], Reply]
  takes: frozenset[str]


def describe_error(body: bytes) -> str:
  """Returns the message of an answer with an error status, shortened; "" for an empty body."""
  try:
    content: Any = json.loads(body)
  except (ValueError, RecursionError):
    content = body.decode(errors="replace")
  while isinstance(content, dict):
    names = ("error", "message", "detail")
    content = next((content[name] for name in names if content.get(name)), json.dumps(content))
  return _shorten(content if isinstance(content, str) else json.dumps(content))


def _encode_transcription(options: RequestOptions, wav: bytes, language: str) -> dict[str, Any]:
  fields = {"model": options.model, "response_format": "json", "temperature": "0"}
  if options.prompt:
    fields["prompt"] = options.prompt
  if language:
    fields["language"] = language
  if options.max_tokens is not None:
    fields["max_completion_tokens"] = str(options.max_tokens)
  return {"data": fields, "files": {"file": ("clip.wav", wav, "audio/wav")}}


def _encode_chat(options: RequestOptions, wav: bytes, language: str) -> dict[str, Any]:
  assert not language, "a chat has no field for the language"
  sound = {"data": base64.b64encode(wav).decode(), "format": "wav"}
  parts: list[dict[str, Any]] = [{"type": "input_audio", "input_audio": sound}]
  if options.instruction:
    parts.append({"type": "text", "text": options.instruction})
  messages: list[dict[str, Any]] = [{"role": "user", "content": parts}]
  if options.prompt:
    messages.insert(0, {"role": "system", "content": options.prompt})
  body = {"model": options.model, "messages": messages, "temperature": 0}
  if options.max_tokens is not None:
    body["max_completion_tokens"] = options.max_tokens
  return {"json": body}


def _parse_transcription(body: bytes) -> Reply:
  return _reply(_load(body).get("text"), "text", complete=True)


def _parse_chat(body: bytes) -> Reply:
  content = _load(body)
  try:
    choice = content["choices"][0]
    text, reason = choice["message"]["content"], choice.get("finish_reason")
  except (KeyError, IndexError, TypeError, AttributeError) as error:
    raise UnusableAnswerError(f"no choices[0].message.content in {_show(content)}") from error
  return _reply(text, "choices[0].message.content", complete=reason != "length")


def _load(body: bytes) -> dict[str, Any]:
  try:
    content = json.loads(body)
  except (ValueError, RecursionError) as error:
    shown = _shorten(body.decode(errors="replace"))
    raise UnusableAnswerError(f"expected JSON, got {shown!r}") from error
  if not isinstance(content, dict):
    raise UnusableAnswerError(f"expected a JSON object, got {_show(content)}")
  if content.get("error"):
    raise UnusableAnswerError(describe_error(body))
  return content


def _reply(text: Any, field: str, *, complete: bool) -> Reply:
  if not isinstance(text, str):
    raise UnusableAnswerError(f"{field} is {_show(text)}, expected a text")
  try:
    text.encode()
  except UnicodeEncodeError as error:
    raise UnusableAnswerError(f"{field} has a lone surrogate at {error.start}") from error
  language, transcript = parse_output(text)
  return Reply(text=transcript, language=language, complete=complete)


def _show(value: Any) -> str:
  return _shorten(json.dumps(value))


def _shorten(text: str) -> str:
  text = " ".join(text.split())
  return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


APIS = {
  "transcriptions": Api(
    path="audio/transcriptions",
    encode=_encode_transcription,
    parse=_parse_transcription,
    takes=frozenset({"prompt", "language"}),
  ),
  "chat": Api(
    path="chat/completions",
    encode=_encode_chat,
    parse=_parse_chat,
    takes=frozenset({"prompt", "instruction"}),
  ),
}
