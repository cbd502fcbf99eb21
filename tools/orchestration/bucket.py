"""Folder in a bucket, reached through `gcloud storage`."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from orchestration.gcloud import GcloudError, call, call_bytes


class BucketFolder:
  """Objects below a URL such as gs://my-bucket/run; names are relative to it."""

  def __init__(self, url: str, attempts: int = 5, timeout: float = 120.0) -> None:
    self.url = url.rstrip("/")
    self.attempts = attempts
    self.timeout = timeout  # seconds for one attempt

  def _storage(self, *arguments: str) -> str:
    return call("storage", *arguments, attempts=self.attempts, timeout=self.timeout)

  def names(self, prefix: str) -> list[str]:
    """Returns the names of all objects below `prefix`, itself a name; empty: there are none."""
    try:
      listed = self._storage("ls", f"{self.url}/{prefix}/**")
    except GcloudError as error:
      if error.not_found:
        return []
      raise
    start = f"{self.url}/"
    return [line[len(start) :] for line in listed.splitlines() if line.startswith(start)]

  def read(self, name: str) -> str | None:
    """Returns the text of an object; None: there is none."""
    try:
      return self._storage("cat", f"{self.url}/{name}")
    except GcloudError as error:
      if error.not_found:
        return None
      raise

  def write(self, name: str, text: str) -> None:
    """Writes an object."""
    with tempfile.TemporaryDirectory() as folder:
      file = Path(folder) / "object"
      file.write_text(text, encoding="utf-8")
      self.upload(file, name)

  def upload(self, file: Path, name: str) -> None:
    """Copies a file into the bucket."""
    self._storage("cp", os.fspath(file), f"{self.url}/{name}")

  def download(self, name: str, file: Path) -> bool:
    """Copies an object into a file; returns whether there is one."""
    try:
      self._storage("cp", f"{self.url}/{name}", os.fspath(file))
    except GcloudError as error:
      if error.not_found:
        return False
      raise
    return True

  def tail(self, name: str, start: int) -> bytes:
    """Returns the bytes of an object from `start` on; none if there is no such object."""
    try:
      return call_bytes(
        *("storage", "cat", f"--range={start}-", f"{self.url}/{name}"),
        attempts=self.attempts,
        timeout=self.timeout,
      )
    except GcloudError as error:
      if error.not_found:
        return b""
      raise
