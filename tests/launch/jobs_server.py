"""A server that talks as Hugging Face Jobs does, for tests on loopback, with faults on demand.

A log is a list of lines that is sent from its beginning to whoever opens it. While the job runs the
stream stays open; a fault can end it anywhere, cleanly or not, also within a line.
"""

import contextlib
import dataclasses
import http.server
import json
import threading
import urllib.parse
from collections.abc import Iterator

TOKEN = "hf_a_secret_of_tests"
USER = "reader"
COMMENT = b": keep-alive\n\n"  # also before lines, as of a server that is slow to find them


@dataclasses.dataclass
class Break:
  """End of a stream of a log.

  Attributes:
    lines: that are sent before.
    rest: bytes of the next line that are sent too.
    cleanly: whether the answer ends as a complete one does.
    reveal: lines that the log has when it is opened; None: all.
    stage: of the job from then on.
  """

  lines: int
  rest: int = 0
  cleanly: bool = True
  stage: str = ""


@dataclasses.dataclass
class Jobs:
  """The server's state; may be changed while it runs.

  Attributes:
    asked: the body of each POST that made a job.
    log: (timestamp, text) of each line, of the only job.
    streams: faults of the log's next streams; then it is sent to its end.
    failures: (method, part of a path, status) that are answered once each; status 0 drops the
      connection, and 200 is a page of a proxy; a job that is asked for so is made all the same.
    left_open: streams end with comments only.
    on_lines: called with the number of lines that were sent in all.
  """

  url: str = ""
  asked: list[dict] = dataclasses.field(default_factory=list)
  log: list[tuple[str, str]] = dataclasses.field(default_factory=list)
  stage: str = "COMPLETED"
  message: str | None = None
  streams: list[Break] = dataclasses.field(default_factory=list)
  failures: list[tuple[str, str, int]] = dataclasses.field(default_factory=list)
  left_open: bool = False
  opened: int = 0
  cancelled: bool = False
  requests: list[str] = dataclasses.field(default_factory=list)
  sent: threading.Event = dataclasses.field(default_factory=threading.Event)

  def job(self) -> dict:
    labels = self.asked[-1].get("labels") if self.asked else None
    return {
      "id": "job1",
      "createdAt": "2026-11-30T10:00:00.000Z",
      "owner": {"id": "1", "name": USER, "type": "user"},
      "status": {"stage": self.stage, "message": self.message},
      "labels": labels,
    }


@contextlib.contextmanager
def serve() -> Iterator[Jobs]:
  """Runs a hub without jobs until the block ends."""
  jobs = Jobs()
  handler = type("Handler", (_Handler,), {"jobs": jobs})
  server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
  server.daemon_threads = True
  jobs.url = f"http://127.0.0.1:{server.server_address[1]}"
  thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
  thread.start()
  try:
    yield jobs
  finally:
    server.shutdown()
    server.server_close()
    thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
  jobs: Jobs
  protocol_version = "HTTP/1.1"

  def do_GET(self) -> None:
    if self._fails():
      return
    url = urllib.parse.urlsplit(self.path)
    match url.path.strip("/").split("/"):
      case ["api", "whoami-v2"]:
        self._give({"name": USER, "type": "user", "auth": {}})
      case ["api", "jobs", _, _, "logs"]:
        self._stream()
      case ["api", "jobs", _, _]:
        self._give(self.jobs.job())
      case ["api", "jobs", _]:
        wanted = dict(label.split("=", 1) for _, label in urllib.parse.parse_qsl(url.query))
        labels = self.jobs.job()["labels"] or {}
        found = all(labels.get(key) == value for key, value in wanted.items())
        self._give([self.jobs.job()] if self.jobs.asked and found else [])
      case _:
        self._give({"error": "not found"}, 404)

  def do_POST(self) -> None:
    length = int(self.headers.get("Content-Length") or 0)
    body = json.loads(self.rfile.read(length) or b"{}")
    cancels = self.path.endswith("/cancel")
    if self._fails(body):
      return
    if cancels:
      self.jobs.cancelled = True
    else:
      self.jobs.asked.append(body)
    self._give(self.jobs.job())

  def log_message(self, *_: object) -> None:
    pass

  def _fails(self, body: dict | None = None) -> bool:
    self.jobs.requests.append(f"{self.command} {self.path}")
    if self.headers.get("Authorization") != f"Bearer {TOKEN}":
      self._give({"error": "Invalid username or password."}, 401)
      return True
    for failure in self.jobs.failures:
      method, part, status = failure
      if method == self.command and part in self.path:
        self.jobs.failures.remove(failure)
        if status not in (0, 200):
          self._give({"error": f"failure {status} of this test"}, status)
          return True
        if body is not None:
          self.jobs.asked.append(body)
        if status:
          self.send_response(200)
          self.send_header("Content-Length", "0")
          self.end_headers()
        else:
          self.close_connection = True
        return True
    return False

  def _stream(self) -> None:
    jobs = self.jobs
    jobs.opened += 1
    fault = jobs.streams.pop(0) if jobs.streams else Break(lines=len(jobs.log))
    self.send_response(200)
    self.send_header("Content-Type", "text/event-stream")
    self.send_header("Transfer-Encoding", "chunked")
    self.end_headers()
    self.close_connection = True
    with contextlib.suppress(OSError):  # the reader has gone
      for stamp, text in jobs.log[: fault.lines]:
        self._chunk(COMMENT + _event(stamp, text))
      if fault.rest:
        self._chunk(_event(*jobs.log[fault.lines])[: fault.rest])
      jobs.sent.set()
      if fault.stage:
        jobs.stage = fault.stage
      for _ in range(10 if jobs.left_open else 0):
        threading.Event().wait(0.1)
        self._chunk(COMMENT)
      if fault.cleanly:
        self.wfile.write(b"0\r\n\r\n")

  def _chunk(self, data: bytes) -> None:
    self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
    self.wfile.flush()

  def _give(self, answer: object, status: int = 200) -> None:
    body = json.dumps(answer).encode()
    self.send_response(status)
    self.send_header("Content-Type", "application/json")
    self.send_header("Content-Length", str(len(body)))
    self.end_headers()
    self.wfile.write(body)


def _event(stamp: str, text: str) -> bytes:
  event = json.dumps({"data": text, "timestamp": stamp}, ensure_ascii=False)
  return f"data: {event}\n\n".encode()
