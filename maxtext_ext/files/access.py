"""Access rules for data: which paths and URLs of a manifest may be read.

Manifests are often downloaded. They may name local files and, if they are in a bucket, objects
under the same scheme. Other URLs of fsspec (ftp://, github://, chains such as
zip://a.wav::http://host/b.zip) are rejected, and http(s) is used only if the user allows it.
"""

import os
import re

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_WEB = ("http", "https")
_SAME = {"gcs": "gs"}  # two names of one file system


class AccessError(ValueError):
  """A reference that data may not make; the text says why."""


def allowed(reference: str, folder: str, *, allow_urls: bool = False) -> str:
  """Resolves a reference in a manifest to a path or URL.

  Args:
    reference: as the manifest has it: a path, absolute or from `folder` on, or a URL.
    folder: where the manifest lies, a local path or a URL.
    allow_urls: whether http:// and https:// may be fetched.

  Raises:
    AccessError: the reference is of another kind.
  """
  if "\0" in reference:
    raise AccessError(f"{reference!r:.200} has a null byte, expected a path")
  try:
    os.fsencode(reference)
  except UnicodeEncodeError as error:
    raise AccessError(
      f"{reference!a:.200} has half of a surrogate pair, expected a path"
    ) from error
  own = scheme_of(folder)
  scheme = scheme_of(reference)
  if scheme is None:
    if "://" in reference:
      raise _refused(reference, "a chain of URLs", own)
    # An absolute path is local, wherever the manifest lies.
    path = os.path.join(folder, reference)
    scheme = scheme_of(path)
  elif scheme in _WEB or scheme == own:
    path = reference
  else:
    raise _refused(reference, f"a URL of the scheme {scheme}://", own)
  if scheme is not None and scheme not in _WEB and "::" in path:  # no address of IPv6
    raise _refused(reference, "a chain of URLs", own)
  if scheme in _WEB and not allow_urls:
    raise AccessError(
      f"{path!r:.200} is on the web, and nothing is fetched unasked; download the file, or trust "
      "the URLs of this data with --allow-urls"
    )
  return path


def is_web(path: str) -> bool:
  """Returns whether this is a URL of http:// or https://."""
  return scheme_of(path) in _WEB


def scheme_of(path: str) -> str | None:
  """The scheme of a URL, in lower case; None of a local path."""
  match = _SCHEME.match(path)
  if match is None:
    return None
  scheme = match[1].lower()
  return _SAME.get(scheme, scheme)


def _refused(reference: str, kind: str, own: str | None) -> AccessError:
  if scheme_of(reference) == "file":
    expected = "the path alone, without file://"
  else:
    expected = "a local path" + (f" or {own}://" if own and own not in _WEB else "")
  return AccessError(f"{reference!r:.200} is {kind}, expected {expected}: data may name no other")
