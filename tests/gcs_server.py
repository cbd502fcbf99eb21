"""A Google Cloud Storage of one process: the JSON API as far as gcsfs speaks it, on 127.0.0.1.

Objects are in memory. Uploads (multipart and resumable) hold preconditions, chunk sizes and the
order of chunks as the real service documents them; an object is there when its upload is complete.
Source: https://cloud.google.com/storage/docs/json_api/v1
"""

import base64
import contextlib
import dataclasses
import email.parser
import functools
import hashlib
import itertools
import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import fsspec
import google_crc32c
import pytest

CHUNK_STEP = 2**18  # bytes: every chunk of a resumable upload but the last is a multiple of it
BODY_START = 2**16  # bytes


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredObject:
  data: bytes
  generation: int

  @functools.cached_property
  def checksums(self) -> dict[str, str]:
    """As the metadata has them."""
    return {
      "md5Hash": base64.b64encode(hashlib.md5(self.data).digest()).decode(),
      "crc32c": base64.b64encode(google_crc32c.value(self.data).to_bytes(4, "big")).decode(),
    }


@dataclasses.dataclass(kw_only=True)
class Upload:
  """A resumable upload that is under way."""

  bucket: str
  name: str
  condition: str | None
  received: bytearray = dataclasses.field(default_factory=bytearray)


class Refused(Exception):
  """An answer other than success."""

  def __init__(self, status: int, message: str) -> None:
    super().__init__(message)
    self.status = status


class GcsServer:
  """The service, its content, and ways to make it fail.

  Attributes:
    buckets: objects by name, by bucket.
    requests: (method, path) of all that was asked.
    on_request: called with method and path of a request that has come in whole; may raise Refused.
    on_long_body: called when BODY_START bytes of a longer body have come in.
    on_answer: called with method and path when the work is done, before the answer is sent; may
      raise ConnectionResetError, which loses the answer.
    on_download: changes the bytes of a download; of fewer than it should have the connection ends.
    page_size: entries of a listing before the client must ask for more.
    environment: variables by which another process finds the server.
  """

  def __init__(self, *buckets: str) -> None:
    self.buckets: dict[str, dict[str, StoredObject]] = {name: {} for name in buckets}
    self.uploads: dict[str, Upload] = {}
    self.requests: list[tuple[str, str]] = []
    self.on_request: Callable[[str, str], None] = lambda method, path: None
    self.on_long_body: Callable[[], None] = lambda: None
    self.on_answer: Callable[[str, str], None] = lambda method, path: None
    self.on_download: Callable[[bytes], bytes] = lambda data: data
    self.page_size = 1000
    self.lock = threading.Lock()
    self.numbers = itertools.count(1)
    self._http = _HttpServer(("127.0.0.1", 0), _Handler)
    self._http.service = self
    self.address = f"http://127.0.0.1:{self._http.server_port}"
    self.environment = {
      "STORAGE_EMULATOR_HOST": self.address,
      "CLOUD_STORAGE_EMULATOR_ENDPOINT": self.address,  # of Google's C++ client, in array_record
      "TENSORSTORE_GCS_HTTP_URL": self.address,
      "FSSPEC_GS_TOKEN": "anon",
      "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # asks for the kind of a bucket over gRPC
    }

  def __enter__(self) -> "GcsServer":
    threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
    return self

  def __exit__(self, *exception) -> None:
    self._http.shutdown()
    self._http.server_close()

  def vanish(self) -> None:
    """Answers nobody any more, on no connection."""

    def hang_up(method: str, path: str) -> None:
      raise ConnectionResetError

    self.on_request = hang_up
    self._http.shutdown()
    self._http.server_close()

  def put(self, url: str, data: bytes) -> None:
    """Stores an object, as another process would."""
    bucket, _, name = url.removeprefix("gs://").partition("/")
    with self.lock:
      self.buckets[bucket][name] = StoredObject(data=data, generation=next(self.numbers))

  def files(self, folder: str) -> dict[str, bytes]:
    """Objects of a folder, by the name from there."""
    bucket, _, prefix = folder.removeprefix("gs://").partition("/")
    prefix = prefix.rstrip("/") + "/" if prefix else ""
    with self.lock:
      return {
        name.removeprefix(prefix): stored.data
        for name, stored in sorted(self.buckets[bucket].items())
        if name.startswith(prefix)
      }

  def store(self, bucket: str, name: str, data: bytes, condition: str | None) -> StoredObject:
    with self.lock:
      self.check(bucket, name, condition)
      stored = StoredObject(data=data, generation=next(self.numbers))
      self.buckets[bucket][name] = stored
    return stored

  def check(self, bucket: str, name: str, condition: str | None) -> None:
    """Holds ifGenerationMatch; 0 means that there is no such object yet."""
    present = self.objects(bucket).get(name)
    if condition is not None and int(condition) != (present.generation if present else 0):
      raise Refused(412, "At least one of the pre-conditions you specified did not hold.")

  def objects(self, bucket: str) -> dict[str, StoredObject]:
    try:
      return self.buckets[bucket]
    except KeyError:
      raise Refused(404, "The specified bucket does not exist.") from None


def describe(bucket: str, name: str, stored: StoredObject) -> dict[str, str]:
  """The metadata of an object."""
  return {
    "kind": "storage#object",
    "name": name,
    "bucket": bucket,
    "generation": str(stored.generation),
    "metageneration": "1",
    "contentType": "application/octet-stream",
    "size": str(len(stored.data)),
    **stored.checksums,
    "timeCreated": "2026-01-01T00:00:00.000Z",
    "updated": "2026-01-01T00:00:00.000Z",
    "storageClass": "STANDARD",
  }


class _HttpServer(ThreadingHTTPServer):
  daemon_threads = True
  service: GcsServer

  def handle_error(self, request, client_address) -> None:
    if not isinstance(sys.exception(), ConnectionError):  # a client that left is none of ours
      super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
  protocol_version = "HTTP/1.1"
  disable_nagle_algorithm = True

  def log_message(self, *arguments) -> None:
    pass

  def do_GET(self) -> None:
    self._serve()

  def do_POST(self) -> None:
    self._serve()

  def do_PUT(self) -> None:
    self._serve()

  def do_DELETE(self) -> None:
    self._serve()

  def _serve(self) -> None:
    service = self.server.service
    url = urlsplit(self.path)
    query = {key: values[0] for key, values in parse_qs(url.query).items()}
    service.requests.append((self.command, url.path))
    try:
      size = int(self.headers.get("Content-Length") or 0)
      body = self.rfile.read(min(size, BODY_START))
      if size > BODY_START:
        service.on_long_body()
        body += self.rfile.read(size - BODY_START)
      if len(body) < size:
        raise ConnectionResetError
      try:
        service.on_request(self.command, url.path)
        self._route(url.path, query, body)
      except Refused as refusal:
        error = {"error": {"code": refusal.status, "message": str(refusal)}}
        bodiless = refusal.status == 304
        self._answer(refusal.status, b"" if bodiless else json.dumps(error).encode())
    except (BrokenPipeError, ConnectionResetError):
      self.close_connection = True  # the client is gone

  def _route(self, path: str, query: dict[str, str], body: bytes) -> None:
    match = re.fullmatch(
      r"(?P<area>/upload|/download)?/storage/v1/b/(?P<bucket>[^/]+)(?P<objects>/o(/(?P<name>[^/]+))?)?"
      r"(/moveTo/o/(?P<to_name>[^/]+))?",
      path,
    )
    if not match:
      raise Refused(404, "Not Found")
    area, bucket, name = match["area"], unquote(match["bucket"]), unquote(match["name"] or "")
    if area == "/upload":
      self._upload(bucket, query, body)
    elif match["to_name"]:
      self._move(bucket, name, unquote(match["to_name"]))
    elif self.command == "DELETE" and name:
      self._delete(bucket, name)
    elif self.command != "GET":
      raise Refused(405, "Method Not Allowed")
    elif name and (area == "/download" or query.get("alt") == "media"):
      self._download(self._find(bucket, name), query)
    elif name:
      self._answer_json(describe(bucket, name, self._find(bucket, name)))
    elif match["objects"]:
      self._list(bucket, query)
    else:
      self.server.service.objects(bucket)
      self._answer_json({"kind": "storage#bucket", "name": bucket})

  def _find(self, bucket: str, name: str) -> StoredObject:
    objects = self.server.service.objects(bucket)
    if name not in objects:
      raise Refused(404, f"No such object: {bucket}/{name}")
    return objects[name]

  def _list(self, bucket: str, query: dict[str, str]) -> None:
    service = self.server.service
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    rows: dict[str, StoredObject | None] = {}  # None: a prefix, which stands for all below it
    with service.lock:
      for name, stored in service.objects(bucket).items():
        if name.startswith(prefix):
          head, mark, _ = name[len(prefix) :].partition(delimiter) if delimiter else (name, "", "")
          rows |= {prefix + head + mark: None} if mark else {name: stored}
    names = sorted(row for row in rows if row > query.get("pageToken", ""))
    size = min(int(query.get("maxResults", 1000)), service.page_size)
    page = names[:size]
    answer: dict[str, object] = {"kind": "storage#objects"}
    if items := [describe(bucket, name, rows[name]) for name in page if rows[name]]:
      answer["items"] = items
    if prefixes := [name for name in page if not rows[name]]:
      answer["prefixes"] = prefixes
    if len(names) > size:
      answer["nextPageToken"] = page[-1]
    self._answer_json(answer)

  def _download(self, stored: StoredObject, query: dict[str, str]) -> None:
    generation = str(stored.generation)
    if query.get("ifGenerationNotMatch") == generation:
      raise Refused(304, "Not Modified")
    if query.get("ifGenerationMatch", generation) != generation:
      raise Refused(412, "At least one of the pre-conditions you specified did not hold.")
    data, headers = stored.data, {"x-goog-generation": generation}
    wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
    change = self.server.service.on_download
    if not wanted:
      self._answer(200, change(data), headers, length=len(data))
      return
    if wanted[1]:
      start, end = int(wanted[1]), min(int(wanted[2] or len(data)) + 1, len(data))
    else:  # the last so many bytes
      start, end = max(0, len(data) - int(wanted[2])), len(data)
    if start >= len(data):
      raise Refused(416, "Requested range not satisfiable")
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
    self._answer(206, change(data[start:end]), headers, length=end - start)

  def _move(self, bucket: str, name: str, to_name: str) -> None:
    service = self.server.service
    stored = service.store(bucket, to_name, self._find(bucket, name).data, None)
    with service.lock:
      del service.buckets[bucket][name]
    self._answer_json(describe(bucket, to_name, stored))

  def _delete(self, bucket: str, name: str) -> None:
    self._find(bucket, name)
    with self.server.service.lock:
      del self.server.service.buckets[bucket][name]
    self._answer(204, b"")

  def _upload(self, bucket: str, query: dict[str, str], body: bytes) -> None:
    service = self.server.service
    service.objects(bucket)
    if "upload_id" in query:
      self._upload_more(query["upload_id"], body)
    elif query["uploadType"] == "multipart":
      name, data = _split_multipart(self.headers["Content-Type"], body)
      stored = service.store(bucket, name, data, query.get("ifGenerationMatch"))
      self._answer_json(describe(bucket, name, stored))
    elif query["uploadType"] == "media":  # as TensorStore does
      stored = service.store(bucket, query["name"], body, query.get("ifGenerationMatch"))
      self._answer_json(describe(bucket, query["name"], stored))
    else:
      assert query["uploadType"] == "resumable", query
      name = json.loads(body)["name"]
      condition = query.get("ifGenerationMatch")
      service.check(bucket, name, condition)
      number = str(next(service.numbers))
      service.uploads[number] = Upload(bucket=bucket, name=name, condition=condition)
      location = f"{service.address}/upload/storage/v1/b/{bucket}/o?upload_id={number}"
      self._answer(200, b"", {"Location": location})

  def _upload_more(self, number: str, body: bytes) -> None:
    service = self.server.service
    if self.command == "DELETE":
      del service.uploads[number]
      self._answer(499, b"")
      return
    upload = service.uploads[number]
    place = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", self.headers["Content-Range"])
    if not place or (place[1] and int(place[2]) - int(place[1]) + 1 != len(body)):
      raise Refused(400, "Failed to parse Content-Range header.")
    if place[1] and int(place[1]) != len(upload.received):
      raise Refused(503, "The chunk does not follow the one before.")
    upload.received += body
    if place[3] != "*" and len(upload.received) == int(place[3]):
      data = bytes(upload.received)
      stored = service.store(upload.bucket, upload.name, data, upload.condition)
      del service.uploads[number]
      self._answer_json(describe(upload.bucket, upload.name, stored))
      return
    if len(body) % CHUNK_STEP:
      raise Refused(400, f"a chunk of {len(body)} bytes is no multiple of 256 KiB")
    self._answer(308, b"", {"Range": f"bytes=0-{len(upload.received) - 1}"})

  def _answer_json(self, content: dict) -> None:
    self._answer(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

  def _answer(
    self,
    status: int,
    data: bytes,
    headers: dict[str, str] | None = None,
    length: int | None = None,
  ) -> None:
    self.server.service.on_answer(self.command, urlsplit(self.path).path)
    self.send_response(status)
    for key, value in (headers or {}).items():
      self.send_header(key, value)
    length = len(data) if length is None else length
    self.send_header("Content-Length", str(length))
    self.end_headers()
    self.wfile.write(data)
    if len(data) < length:
      raise ConnectionResetError


def _split_multipart(content_type: str, body: bytes) -> tuple[str, bytes]:
  """Name and data of an upload in one request: metadata and content, apart by a boundary."""
  boundary = email.parser.HeaderParser().parsestr(f"Content-Type: {content_type}").get_boundary()
  mark = b"--" + boundary.encode()
  end = b"\r\n" if body.startswith(mark + b"\r") else b"\n"
  start, _, rest = body.removeprefix(mark).partition(end + mark)
  data = rest.rpartition(end + mark + b"--")[0].partition(2 * end)[2]
  return json.loads(start.partition(2 * end)[2])["name"], data


@contextlib.contextmanager
def serving(monkeypatch: pytest.MonkeyPatch, *buckets: str) -> Iterator[GcsServer]:
  """Runs a server that gs:// of this process, and of those that it starts, leads to."""
  import gcsfs.retry
  from etils.epath import backend
  from gcsfs.core import GCSFileSystem

  with GcsServer(*buckets) as server:
    for name, value in server.environment.items():
      monkeypatch.setenv(name, value)
    for protocol in ("gs", "gcs"):  # etils calls it gcs
      monkeypatch.setitem(fsspec.config.conf, protocol, {"token": "anon"})
      fsspec.register_implementation(protocol, GCSFileSystem, clobber=True)
    # It sleeps min(2**n, 32) seconds between its attempts.
    monkeypatch.setattr(gcsfs.retry, "min", lambda *seconds: 0, raising=False)
    GCSFileSystem.clear_instance_cache()
    backend.fsspec_backend._get_filesystem.cache_clear()
    yield server
