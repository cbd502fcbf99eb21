"""Faults of a bucket: writers that race, uploads that are cut, refusals, silence."""

import os
import subprocess
import sys
import threading

import pytest
from gcs_server import Refused

from maxtext_ext.files import remote, storage

LARGE = 6 * 2**20  # bytes: more than goes in one request
FILE = "gs://bucket/folder/file"


def write(path: str, data: bytes) -> None:
  with storage.atomic_write(path) as temporary, open(temporary, "wb") as file:
    file.write(data)


@pytest.mark.parametrize("size", [10, LARGE])
def test_two_writers_of_a_new_file(gcs, size):
  meanwhile = pytest.raises(FileExistsError, match="another process wrote it meanwhile")
  with meanwhile, storage.atomic_write(FILE) as temporary:
    with open(temporary, "wb") as file:
      file.write(bytes(size))
    write(FILE, b"first")
  assert gcs.files("gs://bucket/folder") == {"file": b"first"}


@pytest.mark.parametrize("size", [10, LARGE])
def test_a_second_writer_of_the_same(gcs, size):
  data = os.urandom(size)
  with storage.atomic_write(FILE) as temporary:
    with open(temporary, "wb") as file:
      file.write(data)
    gcs.put(FILE, data)
  assert gcs.files("gs://bucket/folder") == {"file": data}
  write(FILE, b"on purpose")
  assert gcs.files("gs://bucket/folder") == {"file": b"on purpose"}


def test_a_listing_of_many_pages(gcs):
  gcs.page_size = 2
  names = [f"{i:02d}.x" for i in range(7)]
  for name in (*names, "sub/a.x", "sub/b.x"):
    gcs.put(f"gs://bucket/folder/{name}", b"")
  assert storage.list_folder("gs://bucket/folder") == [f"gs://bucket/folder/{n}" for n in names]
  assert len(storage.find_files("gs://bucket/folder/**/*.x", "*")) == 9


@pytest.mark.integration_test
def test_a_writer_that_is_killed(gcs):
  """SIGKILL inside an upload leaves nothing under the name, and the next run writes it."""
  begun, dead = threading.Event(), threading.Event()

  def hold() -> None:
    begun.set()
    dead.wait()

  gcs.on_long_body = hold
  code = (
    "import sys; from maxtext_ext.files import storage\n"
    "with storage.atomic_write(sys.argv[1]) as temporary, open(temporary, 'wb') as file:\n"
    "  file.write(bytes(40_000_000))\n"
  )
  process = subprocess.Popen([sys.executable, "-c", code, FILE])
  assert begun.wait(600)
  process.kill()
  process.wait()
  dead.set()
  assert not storage.exists(FILE)
  write(FILE, b"again")
  assert gcs.files("gs://bucket/folder") == {"file": b"again"}


ACTIONS = {
  "read": lambda url: storage.read_bytes(url),
  "copy": lambda url: storage.local_copy(url).__enter__(),
  "write": lambda url: storage.write_bytes(url, b"x"),
  "replace": lambda url: write(url, b"x"),
  "list": lambda url: storage.list_folder(url),
  "find": lambda url: storage.find_files(url, "*"),
  "glob": lambda url: storage.find_files(url + "/*.x", "*"),
  "look": lambda url: storage.exists(url),
  "remove": lambda url: storage.remove(url),
}


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize(
  ("status", "kind", "text"),
  [
    (401, PermissionError, r"\(Anonymous caller, 401\); sign in with `gcloud auth"),
    (403, PermissionError, r"given the role Storage Object Admin"),
    (503, OSError, r"\(Anonymous caller, 503\); check the name and the network"),
  ],
)
def test_refusals(gcs, action, status, kind, text):
  gcs.put(FILE, b"content")

  def refuse(method: str, path: str) -> None:
    raise Refused(status, "Anonymous caller")

  gcs.on_request = refuse
  with pytest.raises(kind, match=text) as failure:
    ACTIONS[action](FILE)
  assert str(failure.value).startswith(FILE) and "\n" not in str(failure.value)


@pytest.mark.parametrize("action", ["read", "copy", "write", "replace", "list", "glob"])
def test_no_such_bucket(gcs, action):
  with pytest.raises(FileNotFoundError, match=r"or no bucket gs://none; check the name with"):
    ACTIONS[action]("gs://none/folder")


def test_nobody_answers(gcs, monkeypatch):
  monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")
  with pytest.raises(
    OSError, match=r"^gs://bucket/folder/file: cannot look at it \(Cannot connect"
  ):
    write(FILE, b"x")


def test_a_reader_whose_server_fails(gcs):
  gcs.put(FILE, bytes(3 * remote.BLOCK))

  def refuse(method: str, path: str) -> None:
    raise Refused(500, "gone")

  with storage.open_read(FILE) as file:
    file.read(10)
    gcs.on_request = refuse
    with pytest.raises(OSError, match=r"^gs://bucket/folder/file: cannot read it \(gone, 500\)"):
      file.read()


def test_a_failure_that_passes(gcs):
  failures = iter([503, 429, 500])

  def refuse(method: str, path: str) -> None:
    for status in failures:
      raise Refused(status, "later")

  gcs.on_request = refuse
  write(FILE, bytes(LARGE))
  assert storage.read_bytes(FILE) == bytes(LARGE)


@pytest.mark.parametrize(
  ("url", "text"),
  [
    ("none://a/b", r"Protocol not known: none, expected a local path or gs://bucket"),
    ("file:///a/b", r"give a local path without file://"),
  ],
)
def test_other_schemes(url, text):
  with pytest.raises(ValueError, match=text):
    storage.read_bytes(url)


@pytest.mark.integration_test
def test_the_extra_is_missing():
  code = (
    "import sys; sys.modules['gcsfs'] = None\n"
    "from maxtext_ext.files import storage\n"
    "try: storage.read_bytes('gs://a/b')\n"
    "except ValueError as error: print(error)\n"
  )
  result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
  assert result.stdout.startswith("gs://a/b: a package for gs:// is missing")
  assert "pip install 'maxtext_ext[gcs]'" in result.stdout
