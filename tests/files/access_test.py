"""Data may name local files, and what lies under the scheme of its manifest."""

import pytest

from maxtext_ext.files.access import AccessError, allowed


@pytest.mark.parametrize(
  ("reference", "folder", "path"),
  [
    ("a.wav", "clips", "clips/a.wav"),
    ("../a.wav", "clips", "clips/../a.wav"),
    ("a.wav", "", "a.wav"),
    ("/data/a.wav", "clips", "/data/a.wav"),
    ("a::b:c.wav", "clips", "clips/a::b:c.wav"),
    ("שלום [1].wav", "clips", "clips/שלום [1].wav"),
    ("a.wav", "gs://bucket/clips", "gs://bucket/clips/a.wav"),
    ("/data/a.wav", "gs://bucket/clips", "/data/a.wav"),
    ("gs://other/a.wav", "gs://bucket/clips", "gs://other/a.wav"),
    ("gs://other/a.wav", "gcs://bucket/clips", "gs://other/a.wav"),
    ("s3://b/a.wav", "s3://bucket", "s3://b/a.wav"),
    ("memory://b/a.wav", "memory://a", "memory://b/a.wav"),
  ],
)
def test_local_paths_and_the_own_scheme_are_allowed(reference, folder, path):
  assert allowed(reference, folder) == path


@pytest.mark.parametrize("folder", ["clips", "gs://bucket/clips"])
@pytest.mark.parametrize(
  ("reference", "reason"),
  [
    ("ftp://host/a.wav", "a URL of the scheme ftp://, expected a local path"),
    ("FTP://host/a.wav", "scheme ftp://"),
    ("dir://a.wav", "scheme dir://"),
    ("file:///etc/passwd", "expected the path alone, without file://"),
    ("local:///etc/passwd", "scheme local://"),
    ("s3://bucket/a.wav", "scheme s3://"),
    ("memory://a.wav", "scheme memory://"),
    ("github://org:repo@/a.wav", "scheme github://"),
    ("ssh://host/a.wav", "scheme ssh://"),
    ("reference://a", "scheme reference://"),
    ("zip://a.wav::http://host/b.zip", "scheme zip://"),
    ("simplecache::http://host/a.wav", "a chain of URLs"),
    ("filecache::gs://bucket/a.wav", "a chain of URLs"),
    ("\x1b[2J://a", "a chain of URLs"),
    ("a\0.wav", "has a null byte"),
    ("\ud800.wav", "half of a surrogate pair"),
  ],
)
def test_all_else_is_refused(reference, reason, folder):
  with pytest.raises(AccessError, match=r"^[^\x1b\n]*$") as caught:
    allowed(reference, folder, allow_urls=True)
  assert reason in str(caught.value)


def test_a_chain_behind_the_own_scheme_is_refused():
  with pytest.raises(AccessError, match="a chain of URLs, expected a local path or gs://"):
    allowed("gs://bucket/a.zip::http://host/b", "gs://bucket")


@pytest.mark.parametrize(
  ("reference", "folder", "url"),
  [
    ("http://127.0.0.1:8765/x.wav", "clips", "http://127.0.0.1:8765/x.wav"),
    ("http://[::1]:80/x.wav", "clips", "http://[::1]:80/x.wav"),
    ("HTTPS://host/x.wav", "gs://bucket", "HTTPS://host/x.wav"),
    ("x.wav", "https://host/data", "https://host/data/x.wav"),
  ],
)
def test_the_web_is_for_those_who_ask(reference, folder, url):
  with pytest.raises(AccessError, match=r"nothing is fetched unasked; .* with --allow-urls"):
    allowed(reference, folder)
  assert allowed(reference, folder, allow_urls=True) == url
