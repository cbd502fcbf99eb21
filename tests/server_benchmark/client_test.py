"""The client against a server that is slow, busy, drops connections and returns nonsense."""

import asyncio
import re
import socket

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.audio.wav import encode_wav
from maxtext_ext.server_benchmark.api import APIS, RequestOptions
from maxtext_ext.server_benchmark.client import (
  Client,
  Outcome,
  Patience,
  find_model,
  now,
  parse_server,
)
from tests import asr_server

EAGER = Patience(first=0.0, attempts=3)
CLIP = np.arange(1_600, dtype=np.int16)


def ask(server: asr_server.Server, *, api: str = "transcriptions", **options: object) -> Outcome:
  """Sends the clip as a client of its own; the server's faults are those of this clip."""

  async def run() -> Outcome:
    patience = options.pop("patience", EAGER)
    async with Client(server.url, APIS[api], connections=1, patience=patience, **options) as client:
      return await client.ask(
        client.request(**APIS[api].encode(RequestOptions(model="qwen"), encode_wav(CLIP), ""))
      )

  return asyncio.run(run())


@pytest.fixture
def server():
  with asr_server.serve() as state:
    state.texts[len(CLIP)] = "language English<asr_text>one two"
    yield state


@pytest.mark.parametrize("api", APIS)
def test_a_clip_is_transcribed(server, api):
  began = now()
  outcome = ask(server, api=api, key="secret")
  (asked,) = server.asked
  assert outcome.reply is not None
  assert (outcome.reply.text, outcome.reply.language) == ("one two", "English")
  assert (outcome.attempts, outcome.error) == (1, "")
  np.testing.assert_array_equal(asked.samples, CLIP)
  assert asked.fields["model"] == "qwen"
  assert asked.headers["Authorization"] == "Bearer secret"
  # The client's clock is the server's, and the answer lies between request and end.
  assert began <= outcome.began <= asked.received <= asked.replied <= outcome.ended <= now()
  assert asked.replied - asked.received <= outcome.latency <= outcome.ended - outcome.began


def test_no_key_is_sent_without_one(server):
  ask(server)
  assert "Authorization" not in server.asked[0].headers


@pytest.mark.parametrize(
  "fault",
  [
    429,
    (429, 0),
    (503, "Wed, 21 Oct 2026 07:28:00 GMT"),
    (503, "nan"),
    408,
    500,
    502,
    503,
    asr_server.RESET,
    asr_server.CLOSE,
    asr_server.CUT,
    asr_server.NO_HTTP,
  ],
)
def test_passing_faults_are_tried_again(server, fault):
  server.faults[len(CLIP)] = [fault, fault]
  outcome = ask(server)
  assert outcome.error == ""
  assert outcome.attempts == len(server.asked) == 3
  # The latency is that of the request that was answered.
  assert outcome.latency <= outcome.ended - server.asked[1].replied


@pytest.mark.parametrize(
  ("fault", "error"),
  [
    (503, "HTTP 503: fault 503"),
    (429, "HTTP 429: fault 429"),
    (asr_server.RESET, "connection lost: "),
    (asr_server.CLOSE, "connection lost: Server disconnected without sending a response."),
    (asr_server.CUT, "connection lost: "),
  ],
)
def test_attempts_end(server, fault, error):
  server.faults[len(CLIP)] = [fault] * 9
  outcome = ask(server)
  assert outcome.reply is None
  assert outcome.error.startswith(error)
  assert outcome.attempts == len(server.asked) == 3


@pytest.mark.parametrize(
  ("fault", "error"),
  [
    (400, "HTTP 400: fault 400"),
    (413, "HTTP 413: fault 413"),
    (422, "HTTP 422: fault 422"),
    (b"<html>", "unusable answer: expected JSON, got '<html>'"),
    (b'{"text": null}', "unusable answer: text is null, expected a text"),
    (b'{"error": {"message": "no GPU"}}', "unusable answer: no GPU"),
    (asr_server.ENDLESS, "unusable answer: more than 4,194,304 bytes"),
  ],
)
def test_refusals_and_nonsense_are_not_tried_again(server, fault, error):
  server.faults[len(CLIP)] = [fault]
  outcome = ask(server)
  assert (outcome.error, outcome.attempts, len(server.asked)) == (error, 1, 1)


def test_a_server_that_does_not_answer_is_given_up(server):
  server.faults[len(CLIP)] = [asr_server.HANG] * 2
  outcome = ask(server, patience=Patience(timeout=0.1, attempts=2, first=0.0))
  assert (outcome.error, outcome.attempts) == ("no answer within 0.1 s", 2)
  assert outcome.ended - outcome.began >= 0.2


@pytest.mark.parametrize("status", [401, 403, 404, 405, 307])
def test_what_every_request_would_get_ends_the_benchmark(server, status):
  server.faults[len(CLIP)] = [status]
  with pytest.raises(ValueError, match=rf"HTTP {status} \(fault {status}\); check --server"):
    ask(server)
  assert len(server.asked) == 1


def test_no_server_ends_the_benchmark(server):
  with socket.socket() as unused:  # bound, and not listening
    unused.bind(("127.0.0.1", 0))
    server.url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
    with pytest.raises(OSError, match=r"/v1: no connection: .*; check --server and that it runs"):
      ask(server)
    with pytest.raises(OSError, match=r"/v1: no answer \(.*; check --server"):
      find_model(server.url)


@given(st.integers(1, 12), st.floats(0, 1e9))
def test_pauses_grow_up_to_a_limit(attempt, asked):
  patience = Patience(first=0.5, longest=60.0)
  pause = patience.pause(attempt, asked)
  assert min(60.0, max(0.25 * 2 ** (attempt - 1), asked)) <= pause
  assert pause <= min(60.0, max(0.5 * 2 ** (attempt - 1), asked))


def test_the_only_model_is_found(server):
  assert find_model(server.url) == "qwen"
  server.models = ["qwen", "adapter"]
  with pytest.raises(ValueError, match="lists qwen, adapter; name one by --model"):
    find_model(server.url)
  server.models = []
  with pytest.raises(ValueError, match="lists none; name one"):
    find_model(server.url)
  with pytest.raises(ValueError, match=r"HTTP 404 \(Not Found\); check --server"):
    find_model(server.url.removesuffix("/v1"))


def test_urls_are_checked():
  assert parse_server("https://host:8000/v1/") == "https://host:8000/v1"
  for url in ("host:8000/v1", "ftp://host/v1", "/v1", "http://"):
    with pytest.raises(ValueError, match="expected http://HOST/v1"):
      parse_server(url)
  with pytest.raises(ValueError, match="is no URL"):
    parse_server("http://host:port/v1")
  for url in ("http://u:secret@host/v1", "http://host/v1?key=secret", "http://host/v1#secret"):
    with pytest.raises(ValueError, match="OPENAI_API_KEY") as error:
      parse_server(url)
    assert not re.search("secret", str(error.value))
