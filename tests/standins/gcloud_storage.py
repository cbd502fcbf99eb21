"""`gcloud storage` of the stand-in: a bucket is a folder below `buckets`."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from standins.cloud import Cloud
from standins.gcloud_tpus import carry_out, split_flags

NO_MATCH = "The following URLs matched no objects or files:\n"


class Refused(Exception):
  """An answer of the service that is an error."""


def storage(cloud: Cloud, verb: str, words: list[str]) -> tuple[int, str]:
  """`gcloud storage VERB`; returns exit status and error text."""
  names, flags = split_flags(words)
  fault = cloud.take_fault(f"storage {verb}", command=" ".join(names)) or {}
  if not fault.get("after"):
    carry_out(fault)
  store = Store(cloud)
  try:
    if verb == "cp":
      store.copy(names[:-1], names[-1])
    elif verb == "mv":
      store.copy(names[:-1], names[-1])
      store.remove(names[:-1])
    elif verb == "ls":
      print("\n".join(store.listed(names[0])))
    elif verb == "cat":
      store.show(names, flags.get("range", "0-"))
    elif verb == "rm":
      store.remove(names)
    else:
      return 2, f"Invalid choice: '{verb}'."
  except Refused as error:
    return 1, str(error)
  if fault.get("after"):
    carry_out(fault)
  return 0, ""


class Store:
  """The buckets of the stand-in."""

  def __init__(self, cloud: Cloud) -> None:
    self.folder = cloud.folder / "buckets"

  def path(self, url: str) -> Path:
    """Returns the file or folder of a URL; local paths stay."""
    if not url.startswith("gs://"):
      return Path(url)
    bucket = url[5:].split("/")[0]
    if not (self.folder / bucket).is_dir():
      raise Refused(f"gs://{bucket} not found: 404.")
    return self.folder / url[5:]

  def files(self, url: str) -> Iterator[Path]:
    """Returns the object of a URL, or those below it where it ends in `**`."""
    if url.endswith("**"):
      below = self.path(url[:-2])
      yield from (file for file in sorted(below.rglob("*")) if file.is_file())
    elif self.path(url).is_file() and ".new" not in url:
      yield self.path(url)

  def listed(self, url: str) -> list[str]:
    """Returns the URLs of what a URL stands for."""
    found = list(self.files(url))
    if not found and self.path(url).is_dir():
      found = sorted(self.path(url).iterdir())
    found = [file for file in found if not file.name.endswith(".new")]
    if not found:
      raise Refused("One or more URLs matched no objects.")
    names = (f"gs://{file.relative_to(self.folder)}" for file in found)
    return [f"{name}/" if file.is_dir() else name for name, file in zip(names, found, strict=True)]

  def copy(self, sources: list[str], target: str) -> None:
    """Copies files to and from buckets; each is there whole, or not at all."""
    for source in sources:
      if source == "-":
        data = sys.stdin.buffer.read()
      else:
        found = list(self.files(source))
        if not found:
          raise Refused(f"{NO_MATCH}{source}")
        data = found[0].read_bytes()
      path = self.path(target)
      if target.endswith("/") or path.is_dir():
        path = path / source.rpartition("/")[2]
      path.parent.mkdir(parents=True, exist_ok=True)
      new = path.with_name(f"{path.name}.{os.getpid()}.new")
      new.write_bytes(data)
      new.replace(path)

  def show(self, urls: list[str], within: str) -> None:
    """Prints objects, or a range of bytes of each."""
    first, _, last = within.partition("-")
    for url in urls:
      found = list(self.files(url))
      if not found:
        raise Refused(f"{NO_MATCH}{url}")
      for file in found:
        data = file.read_bytes()
        end = int(last) + 1 if last and first else len(data)
        sys.stdout.buffer.write(data[int(first) : end] if first else data[-int(last) :])

  def remove(self, urls: list[str]) -> None:
    """Deletes objects."""
    for url in urls:
      found = list(self.files(url))
      if not found:
        raise Refused(f"{NO_MATCH}{url}")
      for file in found:
        file.unlink()
