"""Connections to the file systems of URLs, through fsspec, and their errors in one line.

gs:// needs the extra `gcs`. Other schemes work where fsspec's package for them is installed.
"""

import contextlib
import functools
import logging
import os
import re
from collections.abc import Iterator
from typing import Any

import fsspec

from maxtext_ext.errors import Unreachable, one_line

# Seconds. gcsfs has no limits of its own: a request whose answer never comes would hang for ever.
CONNECT_SECONDS = 30.0
SILENCE_SECONDS = 60.0  # without a byte of the answer; the request is then sent again
REQUEST_SECONDS = 1800.0  # of a request, however much it transfers

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://")
_GOOGLE = ("gs", "gcs")
_CODES_OF_ACCESS = (401, 403)


def is_url(path: str) -> bool:
  """Returns whether this is gs://... or another URL, rather than a local path."""
  return _SCHEME.match(path) is not None


def scheme_of(url: str) -> str:
  """Returns the scheme of a URL."""
  match = _SCHEME.match(url)
  assert match, url
  return match[1]


def file_system(url: str) -> fsspec.AbstractFileSystem:
  """Returns the file system of a URL; fsspec makes one a process and kind."""
  scheme = scheme_of(url)
  if scheme == "file":
    raise ValueError(f"{url}: give a local path without file://")
  if scheme in _GOOGLE and "GCSFS_DEBUG" not in os.environ:
    # It logs what it raises too, with its traceback; we say it in one line.
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)
  try:
    # Other processes write to the same folders: a listing that is kept would be wrong.
    return fsspec.filesystem(scheme, use_listings_cache=False, **_limits(scheme))
  except ImportError as error:
    extra = "; pip install 'maxtext_ext[gcs]'" if scheme in _GOOGLE else ""
    raise ValueError(f"{url}: a package for {scheme}:// is missing ({error}){extra}") from error
  except ValueError as error:
    raise ValueError(f"{url}: {error}, expected a local path or gs://bucket/...") from error


def _limits(scheme: str) -> dict[str, Any]:
  if scheme not in _GOOGLE:
    return {}
  import aiohttp

  timeout = aiohttp.ClientTimeout(
    total=REQUEST_SECONDS, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS
  )
  return {"requests_timeout": timeout}


@functools.cache
def _failures(scheme: str) -> tuple[type[Exception], ...]:
  """Returns the errors that the file system of a scheme raises for failed requests."""
  common = (OSError, ValueError)
  if scheme not in _GOOGLE:
    return common
  import aiohttp
  from gcsfs.retry import HttpError
  from google.auth.exceptions import GoogleAuthError

  return (*common, HttpError, aiohttp.ClientError, GoogleAuthError)


def failures(url: str) -> tuple[type[Exception], ...]:
  """Returns the errors of failed requests to a URL's file system; none for a local path."""
  kinds = _failures(scheme_of(url)) if is_url(url) else ()
  return tuple(kind for kind in kinds if kind is not ValueError)


@contextlib.contextmanager
def reaching(url: str) -> Iterator[None]:
  """Turns failed requests of work that writes below a URL into Unreachable.

  Raises:
    Unreachable: a request failed.
  """
  try:
    yield
  except failures(url) as error:
    raise Unreachable(f"{url}: {one_line(error)}; the same command resumes from there") from error


@contextlib.contextmanager
def explained(action: str, url: str) -> Iterator[None]:
  """Turns what a file system raises into an OSError of one line: what, got, remedy."""
  file_system(url)  # a package that is missing is said first
  try:
    yield
  except _failures(scheme_of(url)) as error:
    if isinstance(error, OSError) and str(error).startswith(url):
      raise  # explained already
    detail = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, FileNotFoundError):
      raise FileNotFoundError(missing(url)) from error
    if (
      isinstance(error, PermissionError)
      or type(error).__name__ in ("RefreshError", "DefaultCredentialsError")
      or getattr(error, "code", None) in _CODES_OF_ACCESS
      or detail.startswith("Forbidden")
    ):
      raise PermissionError(
        f"{url}: may not {action} it ({detail}); sign in with `gcloud auth application-default "
        "login`, or have your account given the role Storage Object Admin on the bucket"
      ) from error
    raise OSError(
      f"{url}: cannot {action} it ({detail}); check the name and the network, then try again"
    ) from error


def missing(url: str) -> str:
  """Says that there is no such file, or no such bucket."""
  bucket = "/".join(url.split("/")[:3])
  return f"{url}: no such file, or no bucket {bucket}; check the name with `gcloud storage ls`"
