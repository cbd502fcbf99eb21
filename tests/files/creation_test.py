"""Files that are created once, by the first of several writers, also where answers are lost."""

import errno
import os
import threading

import pytest
from gcs_server import Refused

from maxtext_ext.files import creation, storage
from maxtext_ext.files.creation import create

FILE = "gs://bucket/folder/file"


def test_the_first_wins(root):
  path = storage.join(root, "new", "file")
  assert create(path, b"first")
  assert not create(path, b"second")
  assert create(path, b"first"), "as after a reply that was lost"
  assert storage.read_bytes(path) == b"first"
  assert storage.list_folder(storage.join(root, "new")) == [path]


def test_of_many_at_once_one_wins(root):
  path = storage.join(root, "file")
  start = threading.Barrier(8)
  won = []

  def run(number: int) -> None:
    start.wait()
    if create(path, b"%d" % number):
      won.append(b"%d" % number)

  threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert [storage.read_bytes(path)] == won


def lose_replies(gcs, count: int) -> None:
  left = iter(range(count))

  def lose(method: str, path: str) -> None:
    if method == "POST" and next(left, None) is not None:
      raise ConnectionResetError

  gcs.on_answer = lose


@pytest.mark.parametrize("lost", [1, 3])
def test_a_reply_that_is_lost(gcs, lost):
  lose_replies(gcs, lost)
  assert create(FILE, b"ours")
  assert gcs.files("gs://bucket/folder") == {"file": b"ours"}
  uploads = [path for method, path in gcs.requests if method == "POST"]
  assert len(uploads) == 1 + lost, "it was asked again, and told that there is one"


def test_a_reply_that_is_lost_about_anothers(gcs):
  gcs.put(FILE, b"theirs")
  lose_replies(gcs, 1)
  assert not create(FILE, b"ours")
  assert gcs.files("gs://bucket/folder") == {"file": b"theirs"}


def test_refusals_that_pass(gcs):
  failures = iter([429, 503, None])

  def refuse(method: str, path: str) -> None:
    for status in failures:
      raise ConnectionResetError if status is None else Refused(status, "later")

  gcs.on_request = refuse
  assert create(FILE, b"ours")
  assert gcs.files("gs://bucket/folder") == {"file": b"ours"}


def test_one_that_is_removed_meanwhile_is_not_ours(gcs):
  gcs.put(FILE, b"ours")

  def remove(method: str, path: str) -> None:
    if method == "POST":
      gcs.on_answer = lambda method, path: None
      del gcs.buckets["bucket"]["folder/file"]

  gcs.on_answer = remove
  assert not create(FILE, b"ours")


@pytest.mark.parametrize("code", creation._NO_LINKS)
def test_a_disk_without_links(tmp_path, monkeypatch, code):
  def refuse(source: str, target: str) -> None:
    raise OSError(code, os.strerror(code), source)

  monkeypatch.setattr(os, "link", refuse)
  test_the_first_wins(str(tmp_path))


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, monkeypatch):
  def full(descriptor: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  monkeypatch.setattr(os, "fsync", full)
  with pytest.raises(OSError, match=r"file: cannot write it .*make room there"):
    create(str(tmp_path / "file"), b"ours")
  assert not any(tmp_path.iterdir())
