"""Faults of a Google Cloud Storage, drawn at random from a seed."""

import collections
import random
import threading
import time

from gcs_server import GcsServer, Refused

# Shares of the requests; the last two are of downloads alone.
SHARES = {
  "429": 0.02,
  "503": 0.02,
  "reset": 0.02,
  "stall": 0.005,
  "lost": 0.03,
  "cut": 0.03,
  "corrupted": 0.02,
}
IN_A_ROW = 2  # faults of one path, so that a client that tries again comes through


class Faults:
  """Faults of a server from now on: refusals, broken connections, lost answers, bad downloads.

  Attributes:
    counts: how often each kind was drawn.

  Args:
    stall_seconds: of an answer that is late; more than the client waits.
  """

  def __init__(self, server: GcsServer, *, seed: int, stall_seconds: float) -> None:
    self.counts: collections.Counter[str] = collections.Counter()
    self._random = random.Random(seed)
    self._rows: collections.Counter[str] = collections.Counter()  # by path
    self._lock = threading.Lock()
    self._current = threading.local()  # of the request that a thread serves
    self._stall_seconds = stall_seconds
    server.on_request = self._on_request
    server.on_answer = self._on_answer
    server.on_download = self._on_download

  def _on_request(self, method: str, path: str) -> None:
    kind = self._current.kind = self._draw(path)
    if kind in ("429", "503"):
      raise Refused(int(kind), "try again later")
    if kind == "reset":
      raise ConnectionResetError
    if kind == "stall":
      time.sleep(self._stall_seconds)

  def _on_answer(self, method: str, path: str) -> None:
    if self._current.kind == "lost":
      raise ConnectionResetError

  def _on_download(self, data: bytes) -> bytes:
    if self._current.kind == "cut":
      return data[: len(data) // 2]
    if self._current.kind == "corrupted":
      return bytes(byte ^ 1 for byte in data)
    return data

  def _draw(self, path: str) -> str:
    """Draws the fault of a request; "" for none."""
    shares = SHARES if path.startswith("/download") else dict(list(SHARES.items())[:-2])
    with self._lock:
      kinds, weights = [*shares, ""], [*shares.values(), 1 - sum(shares.values())]
      (kind,) = self._random.choices(kinds, weights)
      kind = "" if self._rows[path] == IN_A_ROW else kind
      self._rows[path] = self._rows[path] + 1 if kind else 0
      self.counts[kind] += 1
    return kind
