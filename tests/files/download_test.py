"""Files of the web are fetched whole or not at all, within limits."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from maxtext_ext.files import download
from maxtext_ext.files.download import DownloadError, downloaded

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"


@contextlib.contextmanager
def serving(answer: Callable[[socket.socket, bytes], None]) -> Iterator[str]:
  """A server that hands each connection, and the head of its request, to `answer`."""
  with socket.create_server(("127.0.0.1", 0)) as server:

    def serve() -> None:
      with contextlib.suppress(OSError):
        while True:
          connection, _ = server.accept()
          with connection, contextlib.suppress(OSError):
            answer(connection, connection.recv(1 << 16))

    threading.Thread(target=serve, daemon=True).start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}"
    server.shutdown(socket.SHUT_RDWR)


def saying(data: bytes) -> Callable[[socket.socket, bytes], None]:
  return lambda connection, request: connection.sendall(data)


def redirecting(target: str) -> Callable[[socket.socket, bytes], None]:
  return saying(b"HTTP/1.1 302 Found\r\nLocation: %s\r\n\r\n" % target.encode())


def fetch(url: str) -> bytes:
  with downloaded(url) as file:
    return file.read()


def test_a_file_comes_whole_and_can_be_seeked():
  requests = []

  def answer(connection: socket.socket, request: bytes) -> None:
    requests.append(request.splitlines()[0])
    connection.sendall(OK + b"sound")

  with serving(answer) as url, downloaded(f"{url}/שלום x.wav?a=%20b") as file:
    assert file.read() == b"sound"
    file.seek(1)
    assert file.read(2) == b"ou"
  assert requests == [b"GET /%D7%A9%D7%9C%D7%95%D7%9D%20x.wav?a=%20b HTTP/1.1"]


def test_a_redirect_is_followed():
  def answer(connection: socket.socket, request: bytes) -> None:
    if b"GET /old " in request:
      redirecting("/new")(connection, request)
    else:
      connection.sendall(OK + b"sound")

  with serving(answer) as url:
    assert fetch(f"{url}/old") == b"sound"


@pytest.mark.parametrize(
  ("answer", "reason"),
  [
    (saying(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"), "HTTP Error 404: Not Found"),
    (saying(b"\x1b[2J" * 99 + b"\r\n\r\n"), "cannot fetch it"),
    (saying(b""), "without response"),
    (saying(OK + b"sou"), "cut short: 3 of 5 bytes came"),
    (saying(OK.replace(b": 5", b": 9999999999") + b"sound"), "9999999999 bytes, expected"),
    (redirecting("file:///etc/passwd"), "redirected from http:// to file://"),
    (redirecting("ftp://127.0.0.1/x"), "redirected from http:// to ftp://"),
    (redirecting("/again"), "redirected more than 5 times"),
  ],
)
def test_anything_else_is_an_error_of_one_line(answer, reason):
  with serving(answer) as url, pytest.raises(DownloadError) as caught:
    fetch(f"{url}/x.wav")
  assert reason in str(caught.value) and str(caught.value).isprintable()


def test_a_file_that_does_not_end_is_given_up(monkeypatch):
  monkeypatch.setattr(download, "MAX_BYTES", 1 << 20)

  def answer(connection: socket.socket, request: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    while True:
      connection.sendall(bytes(1 << 16))

  with serving(answer) as url, pytest.raises(DownloadError, match="more than 1048576 bytes"):
    fetch(url)


def test_a_silent_server_is_given_up(monkeypatch):
  monkeypatch.setattr(download, "SILENCE_SECONDS", 0.2)
  heard = threading.Event()
  with serving(lambda connection, request: heard.wait(60)) as url:
    with pytest.raises(DownloadError, match="no answer within 0 s"):
      fetch(url)
    heard.set()


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_server_that_drips_is_given_up(monkeypatch, head):
  monkeypatch.setattr(download, "TOTAL_SECONDS", 0.3)

  def answer(connection: socket.socket, request: bytes) -> None:
    connection.sendall(head)
    while True:
      connection.sendall(b"a")
      threading.Event().wait(0.02)

  with serving(answer) as url, pytest.raises(DownloadError, match="took over 0 s"):
    fetch(url)


@pytest.mark.parametrize(
  "address",
  ["169.254.169.254", "fe80::1%eth0", "fd00:ec2::254", "::ffff:169.254.169.254", "168.63.129.16"],
)
def test_addresses_where_clouds_keep_passwords_are_not_asked(monkeypatch, address):
  asked = []
  monkeypatch.setattr(socket.socket, "getpeername", lambda connection: (address, 80))
  with (
    serving(lambda connection, request: asked.append(request)) as url,
    pytest.raises(DownloadError, match="which tells machines of a cloud their passwords"),
  ):
    fetch(url)
  assert not any(asked)


def test_a_machine_that_is_not_there():
  with pytest.raises(DownloadError, match=r"cannot fetch it .*refused"):
    fetch("http://127.0.0.1:1/x.wav")
