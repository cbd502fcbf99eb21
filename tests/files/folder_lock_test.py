"""One writer at a time, on a disk and in a bucket; a lock goes with its process."""

import logging
import os
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
from gcs_server import serving

from maxtext_ext.conversion.convert import ConvertOptions, convert
from maxtext_ext.files import folder_lock, storage
from maxtext_ext.files.folder_lock import Holder, LockedError, sole_converter, sole_writer
from maxtext_ext.records.schema import Record, encode_example
from maxtext_ext.sources.tfrecord import write_tfrecord

HOLD = """
import sys
from maxtext_ext.files.folder_lock import sole_writer
with sole_writer(sys.argv[1], "work", "run"):
  print("held", flush=True)
  sys.stdin.read()
"""


@pytest.fixture(params=["disk", "bucket"])
def folder(request, tmp_path, monkeypatch):
  if request.param == "disk":
    yield str(tmp_path / "new" / "folder")
    return
  monkeypatch.setattr(folder_lock, "STALE", 2.0)
  monkeypatch.setattr(folder_lock, "BEAT", 0.1)
  monkeypatch.setattr(folder_lock, "_POLL", 0.2)
  with serving(monkeypatch, "bucket"):
    yield "gs://bucket/folder"


@pytest.fixture
def hold(folder):
  """Starts a process that holds the lock."""
  holders = []

  def start() -> subprocess.Popen:
    holder = subprocess.Popen(
      [sys.executable, "-c", HOLD, folder],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    )
    holders.append(holder)
    assert holder.stdout.readline() == "held\n"
    return holder

  yield start
  for holder in holders:
    holder.kill()
    holder.communicate()


def is_free(folder: str) -> bool:
  with sole_writer(folder, "work", "run"):
    return True


def test_the_second_is_refused_with_the_first_named_until_that_is_killed(folder, hold):
  first = hold()
  if "://" in folder:  # another machine would see no more than this: it stands still, or it moves
    stored = Holder.from_json(storage.read_bytes(f"{folder}/.work.lock"))
    assert stored.pid == first.pid and not stored.is_gone
  else:
    with pytest.raises(LockedError) as refusal, sole_writer(folder, "work", "run"):
      pass
    assert str(refusal.value) == (
      f"{folder}: another run writes there, process {first.pid} on {socket.gethostname()};"
      " wait for its end, or give another folder"
    )
    with sole_writer(folder, "other", "run"):
      pass  # work of another kind
  first.send_signal(signal.SIGKILL)
  first.wait()
  assert is_free(folder)


def test_one_that_ends_leaves_no_file(folder):
  assert is_free(folder) and is_free(folder)
  assert storage.list_folder(folder) == []
  assert not os.path.exists(folder), "a folder that was made for the lock alone goes too"


def test_a_folder_may_be_named_from_here(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for folder in ("new/folder", "new", ".", ""):
    assert is_free(folder)
  assert os.listdir() == []
  os.mkdir("there")
  with sole_writer("there/new", "work", "run"):
    open("there/new/written", "w").close()
  assert os.listdir("there/new") == ["written"]


@pytest.mark.parametrize("name", ["link", "file/below", "/dev/null"])
def test_what_is_no_folder(tmp_path, name):
  (tmp_path / "file").touch()
  (tmp_path / "link").symlink_to("nowhere/deep")
  with pytest.raises(ValueError, match="expected a folder, or a place to make it"):
    is_free(os.path.join(tmp_path, name))


def test_an_error_inside_frees_it(folder):
  with pytest.raises(ZeroDivisionError), sole_writer(folder, "work", "run"):
    raise ZeroDivisionError
  assert is_free(folder)


@pytest.fixture
def bucket(monkeypatch):
  """A folder in a bucket, and a lock of a process of another machine in it."""
  monkeypatch.setattr(folder_lock, "STALE", 2.0)
  monkeypatch.setattr(folder_lock, "BEAT", 0.2)
  monkeypatch.setattr(folder_lock, "_POLL", 0.2)
  with serving(monkeypatch, "bucket"):
    yield "gs://bucket/folder"


def elsewhere(beat: int = 0) -> bytes:
  return Holder(pid=7, host="far", machine="another", key="k").to_json(beat)


def test_in_a_bucket_a_lock_that_stands_still_is_taken_over(bucket, caplog):
  storage.write_bytes(f"{bucket}/.work.lock", elsewhere())
  with caplog.at_level(logging.WARNING, "maxtext_ext.files.folder_lock"):
    assert is_free(bucket)
  assert "waiting up to 2 s for a heartbeat of process 7 on far" in caplog.text
  assert not storage.exists(f"{bucket}/.work.lock")


def test_in_a_bucket_a_sign_of_life_is_a_refusal(bucket, monkeypatch):
  storage.write_bytes(f"{bucket}/.work.lock", elsewhere())
  beats = iter(range(1, 100))
  monkeypatch.setattr(
    folder_lock.time,
    "sleep",
    lambda seconds: storage.write_bytes(f"{bucket}/.work.lock", elsewhere(next(beats))),
  )
  with pytest.raises(LockedError, match="another run writes there, process 7 on far; wait"):
    is_free(bucket)
  assert storage.read_bytes(f"{bucket}/.work.lock").startswith(b'{"pid": 7'), "it is left alone"


def test_in_a_bucket_the_holder_beats_and_ends_when_another_has_taken_over(bucket, monkeypatch):
  ended = folder_lock.threading.Event()
  monkeypatch.setattr(folder_lock, "leave", lambda status: ended.set())
  with sole_writer(bucket, "work", "run"):
    while b'"beat": 2' not in storage.read_bytes(f"{bucket}/.work.lock"):
      folder_lock.time.sleep(0.05)
    storage.write_bytes(f"{bucket}/.work.lock", elsewhere())
    assert ended.wait(60)
  assert storage.read_bytes(f"{bucket}/.work.lock") == elsewhere(), "another's is not removed"


def test_conversions_of_one_split_exclude_each_other_and_of_others_do_not(tmp_path):
  source = tmp_path / "in.tfrecord"
  record = Record(sample_id="a", audio=np.linspace(-0.5, 0.5, 160, dtype=np.float32), text="hi")
  write_tfrecord(str(source), [encode_example(record)])
  out = str(tmp_path / "out")

  def start(split: str) -> int:
    options = ConvertOptions(source_format="tfrecord", splits=(split,))
    return convert(str(source), out, options).written

  with sole_converter(out, ["train", "test"]):
    with pytest.raises(LockedError, match="another conversion writes there, process"):
      start("train")
    assert start("validation") == 1
  assert start("train") == 1
  assert not [name for name in os.listdir(out) if name.endswith(".lock")]
