"""Files that records name are opened where data may name them, and their versions are noted."""

import os

import fsspec
import numpy as np
import pytest
import soundfile

from maxtext_ext.audio.limits import AudioError
from maxtext_ext.sources.named_files import current_versions, load_named, noting

TONE = np.sin(np.arange(800) / 5)


def bad(reference: str, folder: str) -> str:
  with pytest.raises(AudioError) as caught:
    load_named(reference, folder)
  assert str(caught.value).isprintable()
  return str(caught.value)


def test_what_is_read_and_what_is_missing_is_noted(tmp_path):
  folder = str(tmp_path)
  soundfile.write(tmp_path / "a.wav", TONE, 16_000)
  (tmp_path / "broken.wav").write_bytes(b"no sound")
  with noting() as versions:
    assert len(load_named("a.wav", folder)) == 800
    bad("broken.wav", folder)
    bad("none.wav", folder)
    bad("a.wav/b.wav", folder)
    bad("n" * 300, folder)
    bad(".", folder)
    bad("http://127.0.0.1:1/x.wav", folder)
    bad("ftp://127.0.0.1/x.wav", folder)
  names = ["a.wav", "broken.wav", "none.wav", "a.wav/b.wav", "n" * 300, "."]
  assert [*versions] == [f"{folder}/{name}" for name in names] + ["http://127.0.0.1:1/x.wav"]
  assert current_versions(versions, allow_urls=False) == versions
  assert None not in versions.values()


def test_a_change_of_size_or_time_shows(tmp_path):
  path = str(tmp_path / "a.wav")
  soundfile.write(path, TONE, 16_000)
  with noting() as versions:
    load_named("a.wav", str(tmp_path))
    bad("b.wav", str(tmp_path))
  os.utime(path, ns=(0, 1))
  soundfile.write(tmp_path / "b.wav", TONE, 16_000)
  now = current_versions(versions, allow_urls=False)
  assert [*now] == [*versions]
  assert all(now[name] != versions[name] for name in versions)


def test_files_far_away_have_versions_too(gcs):
  for name in ("a", "b"):
    gcs.put(f"gs://bucket/clips/{name}.wav", b"no sound")
  with noting() as versions:
    for name in ("a", "b", "none"):
      bad(f"gs://bucket/clips/{name}.wav", "gs://bucket")
  assert current_versions(versions, allow_urls=False) == versions
  many = [*versions, *(f"gs://bucket/clips/{index}.wav" for index in range(100))]
  listed = current_versions(many, allow_urls=False)  # the folder, instead of each file
  assert {name: listed[name] for name in versions} == versions
  gcs.put("gs://bucket/clips/a.wav", b"changed!")
  now = current_versions(versions, allow_urls=False)
  assert [name for name in versions if now[name] != versions[name]] == ["gs://bucket/clips/a.wav"]


def test_what_cannot_be_asked_is_never_unchanged(gcs, monkeypatch):
  monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")
  fsspec.filesystem("gs").clear_instance_cache()
  with noting() as versions:
    assert "cannot" in bad("gs://bucket/a.wav", "gs://bucket")
  assert versions == {"gs://bucket/a.wav": None}
  assert current_versions(versions, allow_urls=False) == {"gs://bucket/a.wav": None}


def test_a_file_of_the_web_is_as_it_was_while_it_may_be_fetched():
  url = "https://host/a.wav"
  with noting() as versions:
    assert "nothing is fetched unasked" in bad(url, "clips")
  assert current_versions(versions, allow_urls=False) == versions
  assert current_versions(versions, allow_urls=True) != versions
  with (
    noting() as versions,
    pytest.raises(AudioError, match=r"^'http://\[::1\]:1/a.wav': cannot fetch"),
  ):
    load_named("http://[::1]:1/a.wav", "clips", allow_urls=True)
  assert versions == {"http://[::1]:1/a.wav": None}, "it is tried again"
