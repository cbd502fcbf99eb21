"""An OpenAI-compatible speech recognition server for tests on loopback, with faults on request.

Clips are told apart by their number of samples. A fault concerns one request: the first that comes
with the clip gets the first of its list.
"""

import base64
import contextlib
import dataclasses
import email
import email.policy
import http.server
import io
import json
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import soundfile

from maxtext_ext.server_benchmark.client import MAX_ANSWER, now

RESET, CLOSE, CUT, HANG, NO_HTTP, ENDLESS = "reset", "close", "cut", "hang", "no HTTP", "endless"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
  """A request: the clip, the other fields, and when it came and was answered."""

  path: str
  samples: np.ndarray
  fields: dict[str, Any]
  headers: dict[str, str]
  received: float
  replied: float


@dataclasses.dataclass
class Server:
  """The server's state.

  Attributes:
    url: for --server.
    models: that it lists.
    texts: transcript by number of samples.
    faults: by number of samples; a status (with Retry-After as (status, seconds)), one of the
      constants above, or the body of an answer.
    asked: the requests, in the order of their answers.
    most: clips that were there at once.
    together: so many clips wait for each other before the first is answered.
    released: ends HANG.
  """

  url: str = ""
  models: list[str] = dataclasses.field(default_factory=lambda: ["qwen"])
  texts: dict[int, str] = dataclasses.field(default_factory=dict)
  faults: dict[int, list[Any]] = dataclasses.field(default_factory=dict)
  asked: list[Asked] = dataclasses.field(default_factory=list)
  most: int = 0
  together: int = 1
  released: threading.Event = dataclasses.field(default_factory=threading.Event)
  here: int = 0
  lock: threading.Condition = dataclasses.field(default_factory=threading.Condition)

  def counts(self) -> dict[int, int]:
    """Requests of each clip."""
    lengths = [len(each.samples) for each in self.asked]
    return {length: lengths.count(length) for length in lengths}


@contextlib.contextmanager
def serve() -> Iterator[Server]:
  """Runs a server until the block ends."""
  state = Server()
  server = _Http(("127.0.0.1", 0), type("Handler", (_Handler,), {"state": state}))
  state.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
  thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
  thread.start()
  try:
    yield state
  finally:
    state.released.set()
    server.shutdown()
    server.server_close()
    thread.join()


class _Http(http.server.ThreadingHTTPServer):
  """Server that can reset a connection; others it ends as usual."""

  def shutdown_request(self, request: Any) -> None:
    if request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == struct.pack("ii", 1, 0):
      self.close_request(request)  # without a FIN before it, which would be a plain close
    else:
      super().shutdown_request(request)

  def handle_error(self, request: Any, client_address: Any) -> None:
    pass  # the client went away, as it does after its time-out


class _Handler(http.server.BaseHTTPRequestHandler):
  protocol_version = "HTTP/1.1"
  state: Server

  def log_message(self, *args: Any) -> None:
    pass

  def do_GET(self) -> None:
    if self.path != "/v1/models":
      self._send(404, b'{"detail": "Not Found"}')
      return
    models = [{"id": name, "object": "model"} for name in self.state.models]
    self._send(200, json.dumps({"object": "list", "data": models}).encode())

  def do_POST(self) -> None:
    received, state = now(), self.state
    body = self.rfile.read(int(self.headers["Content-Length"]))
    if self.path == "/v1/audio/transcriptions":
      fields, wav = _parse_form(self.headers["Content-Type"], body)
      answer = {"text": None, "usage": {"type": "duration", "seconds": 1}}
    elif self.path == "/v1/chat/completions":
      fields, wav = _parse_chat(body)
      answer = {"choices": [{"message": {"content": None}, "finish_reason": "stop"}]}
    else:
      self._send(404, b'{"detail": "Not Found"}')
      return
    samples, rate = soundfile.read(io.BytesIO(wav), dtype="int16")
    assert rate == 16_000
    with state.lock:
      state.here += 1
      state.most = max(state.most, state.here)
      if state.here >= state.together:
        state.together = 1
        state.lock.notify_all()
      state.lock.wait_for(lambda: state.together == 1)
      faults = state.faults.get(len(samples), [])
      fault = faults.pop(0) if faults else None
    if fault == HANG:
      state.released.wait()
    text = state.texts.get(len(samples), "")
    if "choices" in answer:
      answer["choices"][0]["message"]["content"] = text
    else:
      answer["text"] = text
    with state.lock:
      state.here -= 1
      state.asked.append(
        Asked(
          path=self.path,
          samples=samples,
          fields=fields,
          headers=dict(self.headers),
          received=received,
          replied=now(),
        )
      )
    self._reply(fault, json.dumps(answer).encode())

  def _reply(self, fault: Any, answer: bytes) -> None:
    if fault is None:
      self._send(200, answer)
    elif isinstance(fault, bytes):
      self._send(200, fault)
    elif isinstance(fault, int | tuple):
      status, *wait = fault if isinstance(fault, tuple) else (fault,)
      error = json.dumps({"error": {"message": f"fault {status}", "code": status}}).encode()
      self._send(status, error, {"Retry-After": str(wait[0])} if wait else {})
    else:
      self.close_connection = True
      if fault == RESET:
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
      elif fault == CUT:
        self._send(200, answer[:10], {"Content-Length": str(len(answer))})
      elif fault == NO_HTTP:
        self.wfile.write(b"nonsense\r\n\r\n")
      elif fault == ENDLESS:
        self._send(200, b" " * (2 * MAX_ANSWER))

  def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
    self.send_response(status)
    for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
      self.send_header(name, value)
    self.end_headers()
    self.wfile.write(body)


def _parse_form(kind: str, body: bytes) -> tuple[dict[str, Any], bytes]:
  head = f"Content-Type: {kind}\r\n\r\n".encode()
  form = email.message_from_bytes(head + body, policy=email.policy.HTTP)
  parts = {
    part.get_param("name", header="Content-Disposition"): part.get_payload(decode=True)
    for part in form.iter_parts()
  }
  wav = parts.pop("file")
  return {name: value.decode() for name, value in parts.items()}, wav


def _parse_chat(body: bytes) -> tuple[dict[str, Any], bytes]:
  fields = json.loads(body)
  sound = fields["messages"][-1]["content"].pop(0)
  assert (sound["type"], sound["input_audio"]["format"]) == ("input_audio", "wav")
  return fields, base64.b64decode(sound["input_audio"]["data"], validate=True)
