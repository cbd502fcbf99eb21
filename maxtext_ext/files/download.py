"""Downloads over http(s), with limits of time, size, redirects and addresses.

urllib needs no optional package. httpx and requests were considered: their
time-outs start anew with every byte, and they tell the address only after the request is sent.
"""

import contextlib
import functools
import http.client
import ipaddress
import socket
import ssl
import tempfile
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, cast

from maxtext_ext.escape import printable
from maxtext_ext.files.writing import WriteError, writing

SILENCE_SECONDS = 15.0  # without a byte, also before the first
TOTAL_SECONDS = 600.0  # of a file, redirects and all
MAX_BYTES = 1 << 30  # of a file
_IN_MEMORY = 32 << 20  # bytes; a larger file waits on disk
_BLOCK = 1 << 18
_REDIRECTED = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 5
_MAX_REASON = 200  # characters; servers say what they like
# Where clouds tell a machine its passwords. Link-local has 169.254.169.254 of most of them; then
# Amazon's by IPv6, Azure's and Alibaba's.
_FORBIDDEN = tuple(
  map(
    ipaddress.ip_network,
    ("169.254.0.0/16", "fe80::/10", "fd00:ec2::/32", "168.63.129.16/32", "100.100.100.200/32"),
  )
)


class DownloadError(OSError):
  """A file that could not be fetched; the text names the URL and says why."""


@contextlib.contextmanager
def downloaded(url: str) -> Iterator[BinaryIO]:
  """Fetches a file of http:// or https://, for as long as the block lasts; it can be seeked.

  Redirects are followed, but not from https:// to anything else. The proxies of the environment are
  used. Addresses of loopback and of private networks are fine, those of `_FORBIDDEN` are not.

  Raises:
    DownloadError: there is no such file, or a limit is exceeded.
    WriteError: there is no room for it in the folder for temporary files.
  """
  with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
    deadline = _Deadline(TOTAL_SECONDS)
    try:
      _copy(url, file, deadline)
    except WriteError:  # of this machine: no other file would fare better
      raise
    except (OSError, http.client.HTTPException, ValueError) as error:
      reason = _reason(error) if not deadline.is_over else f"took over {TOTAL_SECONDS:.0f} s"
      raise DownloadError(
        f"{url!r:.200}: cannot fetch it ({reason}); check the URL and the network, or download the "
        "file"
      ) from error
    finally:
      deadline.cancel()
    file.seek(0)
    yield cast(BinaryIO, file)


def _copy(url: str, file: tempfile.SpooledTemporaryFile[bytes], deadline: "_Deadline") -> None:
  opener = urllib.request.OpenerDirector()  # build_opener would add ftp:// and file://
  for handler in (
    urllib.request.ProxyHandler(),
    _Handler(deadline),
    urllib.request.HTTPDefaultErrorHandler(),
    urllib.request.HTTPErrorProcessor(),
    urllib.request.UnknownHandler(),
  ):
    opener.add_handler(handler)
  with _open(opener, url) as response:
    declared = response.length
    if declared is not None and declared > MAX_BYTES:
      raise ValueError(f"{declared} bytes, expected {MAX_BYTES} at most")
    size = 0
    while block := response.read1(_BLOCK):
      size += len(block)
      if size > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES} bytes")
      with writing(tempfile.gettempdir()):
        file.write(block)
    if deadline.is_over or (declared is not None and size < declared):
      raise ValueError(f"cut short: {size} of {declared} bytes came")


def _open(opener: urllib.request.OpenerDirector, url: str) -> http.client.HTTPResponse:
  """Asks for a URL, and for those that it is redirected to."""
  for _ in range(1 + _MAX_REDIRECTS):
    # Letters that ASCII has not are escaped, and what is escaped already stays.
    request = urllib.request.Request(urllib.parse.quote(url, safe="!#$%&'()*+,/:;=?@[]~"))
    request.add_header("User-Agent", "maxtext_ext")
    request.add_header("Accept-Encoding", "identity")
    try:
      return opener.open(request, timeout=SILENCE_SECONDS)
    except urllib.error.HTTPError as error:
      location = error.headers.get("Location")
      if error.code not in _REDIRECTED or not location:
        raise
      error.close()
      before, url = url, urllib.parse.urljoin(url, location)
      source, target = (urllib.parse.urlsplit(each).scheme for each in (before, url))
      if target not in (source, "https"):
        raise ValueError(f"redirected from {source}:// to {target}://") from error
  raise ValueError(f"redirected more than {_MAX_REDIRECTS} times")


def _reason(error: BaseException) -> str:
  """Describes the underlying error, which urllib wraps."""
  inner = getattr(error, "reason", None)
  if isinstance(inner, OSError):
    error = inner
  if isinstance(error, TimeoutError):
    return f"no answer within {SILENCE_SECONDS:.0f} s"
  return printable(" ".join(str(error).split())[:_MAX_REASON]) or type(error).__name__


class _Deadline:
  """Timer that closes open connections when the time is over, whatever they wait for."""

  def __init__(self, seconds: float) -> None:
    self._sockets: list[socket.socket] = []
    self.is_over = False
    self._timer = threading.Timer(seconds, self._end)
    self._timer.daemon = True
    self._timer.start()

  def watch(self, connection: socket.socket) -> None:
    self._sockets.append(connection)
    if self.is_over:
      self._end()

  def cancel(self) -> None:
    self._timer.cancel()

  def _end(self) -> None:
    self.is_over = True
    for connection in self._sockets:
      with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class _Plain(http.client.HTTPConnection):
  """Connection that checks its address before sending the request."""

  deadline: _Deadline

  def connect(self) -> None:
    """Connects, before the handshake of TLS."""
    super().connect()
    self.deadline.watch(self.sock)
    _check_address(self.sock.getpeername()[0])


class _Secure(http.client.HTTPSConnection, _Plain):
  """The same under TLS: HTTPSConnection.connect calls that of _Plain first."""


class _Handler(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
  """Opens http:// and https:// over these connections."""

  def __init__(self, deadline: _Deadline) -> None:
    super().__init__(context=_tls())
    self._deadline = deadline

  def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
    """Called by urllib."""
    return self.do_open(self._make(_Plain), request)

  def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
    """Called by urllib."""
    return self.do_open(self._make(_Secure), request, context=_tls())

  def _make(self, kind: type[_Plain]) -> Callable[..., _Plain]:
    def make(*args: Any, **options: Any) -> _Plain:
      connection = kind(*args, **options)
      connection.deadline = self._deadline
      return connection

    return make


@functools.cache
def _tls() -> ssl.SSLContext:
  return ssl.create_default_context()  # reads all certificates


def _check_address(address: str) -> None:
  parsed = ipaddress.ip_address(address.partition("%")[0])
  parsed = getattr(parsed, "ipv4_mapped", None) or parsed
  if any(parsed in network for network in _FORBIDDEN):
    raise ValueError(f"it leads to {address}, which tells machines of a cloud their passwords")
