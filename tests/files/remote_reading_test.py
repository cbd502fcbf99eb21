"""Downloads from a bucket that are cut, corrupted or stall."""

import threading

import pytest

from maxtext_ext.files import connection, storage
from maxtext_ext.files.remote_reading import BLOCK

FILE = "gs://bucket/folder/file"
DATA = bytes(range(256)) * 64


def copied(url: str) -> bytes:
  with storage.local_copy(url) as path, open(path, "rb") as file:
    return file.read()


READERS = {"read": storage.read_bytes, "copy": copied}


def spoil(gcs, kind: str, times: int) -> None:
  """Makes so many downloads arrive cut or corrupted."""
  left = iter(range(times))

  def change(data: bytes) -> bytes:
    if next(left, None) is None:
      return data
    return data[:100] if kind == "cut" else b"\xff" + data[1:]

  gcs.on_download = change


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["cut", "corrupted"])
def test_a_bad_download_is_repeated(gcs, reader, kind):
  gcs.put(FILE, DATA)
  spoil(gcs, kind, 2)
  assert READERS[reader](FILE) == DATA


@pytest.mark.parametrize("reader", READERS)
def test_what_never_has_its_checksum_is_an_error(gcs, reader):
  gcs.put(FILE, DATA)
  spoil(gcs, "corrupted", 100)
  with pytest.raises(OSError, match=r"file: 3 downloads did not have the checksum of the object"):
    READERS[reader](FILE)


def test_a_long_file_is_read_in_parts(gcs):
  gcs.put(FILE, DATA + bytes(BLOCK))
  spoil(gcs, "cut", 1)
  with storage.open_read(FILE) as file:
    file.seek(256)
    assert file.read(512) == DATA[256:768]


def test_a_server_that_says_nothing_is_asked_again(gcs, monkeypatch):
  monkeypatch.setattr(connection, "SILENCE_SECONDS", 0.1)
  gcs.put(FILE, DATA)
  asked, over = [], threading.Event()

  def stall(method: str, path: str) -> None:
    if path.startswith("/download"):
      asked.append(path)
      if len(asked) == 1:
        over.wait(60)

  gcs.on_request = stall
  assert storage.read_bytes(FILE) == DATA
  assert len(asked) == 2
  gcs.on_request = lambda method, path: over.wait(60) and None
  with pytest.raises(OSError, match=r"cannot read it \(.*[Tt]imeout"):
    storage.read_bytes(FILE)
  over.set()
