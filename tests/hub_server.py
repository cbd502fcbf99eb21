"""A server that talks as the Hugging Face Hub does about data sets, for tests on loopback.

Repositories with revisions, listed in pages, restricted or not; large files behind a redirect to
a store that gives ranges of them, and that can break off in the middle.
"""

import contextlib
import dataclasses
import hashlib
import http.server
import json
import threading
import urllib.parse
from collections.abc import Iterator, Mapping

PAGE = 2  # files in a page of a listing


@dataclasses.dataclass
class Repo:
  """A data set: files by path, of each revision; the card's metadata; who may read it."""

  revisions: dict[str, Mapping[str, bytes]]
  card: Mapping[str, object] | None = None
  token: str | None = None


@dataclasses.dataclass
class Hub:
  """The server's state.

  Attributes:
    url: for HF_ENDPOINT.
    repos: by id; may be changed while it runs.
    requests: "METHOD path [range]" of each.
    break_after: the next so many answers with a large file end after this many bytes.
  """

  url: str = ""
  repos: dict[str, Repo] = dataclasses.field(default_factory=dict)
  requests: list[str] = dataclasses.field(default_factory=list)
  break_after: list[int] = dataclasses.field(default_factory=list)

  @property
  def store_url(self) -> str:
    """The store is another host, as on the hub: the client follows that redirect by itself."""
    return self.url.replace("127.0.0.1", "localhost")

  def downloads(self) -> list[str]:
    """The requests that brought a large file or a part of it."""
    return [line for line in self.requests if line.startswith("GET /store/")]


@contextlib.contextmanager
def serve() -> Iterator[Hub]:
  """Runs a hub without data sets until the block ends."""
  hub = Hub()
  server = http.server.ThreadingHTTPServer(
    ("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub})
  )
  hub.url = f"http://127.0.0.1:{server.server_address[1]}"
  thread = threading.Thread(target=server.serve_forever, daemon=True)
  thread.start()
  try:
    yield hub
  finally:
    server.shutdown()
    server.server_close()
    thread.join()


def commit_of(files: Mapping[str, bytes]) -> str:
  """The commit that a revision with these files has."""
  digest = hashlib.sha1()
  for name in sorted(files):
    digest.update(name.encode() + b"\0" + files[name])
  return digest.hexdigest()


class _Handler(http.server.BaseHTTPRequestHandler):
  hub: Hub
  protocol_version = "HTTP/1.1"

  def do_HEAD(self) -> None:
    self._answer()

  def do_GET(self) -> None:
    self._answer()

  def log_message(self, *_: object) -> None:
    pass

  def _answer(self) -> None:
    given_range = self.headers.get("Range", "")
    self.hub.requests.append(f"{self.command} {self.path} {given_range}".strip())
    url = urllib.parse.urlsplit(self.path)
    parts = [urllib.parse.unquote(part) for part in url.path.strip("/").split("/")]
    match parts:
      case ["store", commit, *name]:
        self._give_stored(self._files(commit)["/".join(name)])
      case ["api", "datasets", owner, name]:
        self._describe(f"{owner}/{name}", "main")
      case ["api", "datasets", owner, name, "revision", revision]:
        self._describe(f"{owner}/{name}", revision)
      case ["api", "datasets", owner, name, "tree", revision, *folder]:
        self._list(f"{owner}/{name}", revision, "/".join(folder))
      case ["datasets", owner, name, "resolve", revision, *path]:
        self._resolve(f"{owner}/{name}", revision, "/".join(path))
      case _:
        self._fail(404, "EntryNotFound")

  def _files(self, commit: str) -> Mapping[str, bytes]:
    for repo in self.hub.repos.values():
      for files in repo.revisions.values():
        if commit_of(files) == commit:
          return files
    raise KeyError(commit)

  def _open(self, repo_id: str, revision: str) -> Mapping[str, bytes] | None:
    """The files of a revision, or None when an error has been answered."""
    repo = self.hub.repos.get(repo_id)
    if repo is None:
      self._fail(404, "RepoNotFound")
      return None
    if repo.token and self.headers.get("Authorization") != f"Bearer {repo.token}":
      self._fail(401, "GatedRepo")
      return None
    for name, files in repo.revisions.items():
      if revision in (name, commit_of(files)):
        return files
    self._fail(404, "RevisionNotFound")
    return None

  def _describe(self, repo_id: str, revision: str) -> None:
    files = self._open(repo_id, revision)
    if files is None:
      return
    about = {"id": repo_id, "sha": commit_of(files), "private": False, "tags": []}
    if card := self.hub.repos[repo_id].card:
      about["cardData"] = card
    self._give(json.dumps(about).encode())

  def _list(self, repo_id: str, revision: str, folder: str) -> None:
    files = self._open(repo_id, revision)
    if files is None:
      return
    url = urllib.parse.urlsplit(self.path)
    query = dict(urllib.parse.parse_qsl(url.query))
    recursive = query.get("recursive") == "true"
    prefix = f"{folder}/" if folder else ""
    entries: dict[str, dict[str, object]] = {}
    for name in sorted(name for name in files if name.startswith(prefix)):
      steps = name.removeprefix(prefix).split("/")
      for depth in range(1, len(steps) if recursive else 2):
        path = prefix + "/".join(steps[:depth])
        if path != name:
          entries[path] = {"type": "directory", "path": path, "oid": "0" * 40}
      if recursive or len(steps) == 1:
        entries[name] = {"type": "file", "path": name, "size": len(files[name]), "oid": "0" * 40}
    start = int(query.get("cursor", "0"))
    headers = {}
    if start + PAGE < len(entries):
      following = urllib.parse.urlencode(query | {"cursor": start + PAGE})
      headers["Link"] = f'<{self.hub.url}{url.path}?{following}>; rel="next"'
    self._give(json.dumps(list(entries.values())[start : start + PAGE]).encode(), headers)

  def _resolve(self, repo_id: str, revision: str, name: str) -> None:
    files = self._open(repo_id, revision)
    if files is None:
      return
    commit = commit_of(files)
    if name not in files:
      self._fail(404, "EntryNotFound", {"X-Repo-Commit": commit})
      return
    etag = hashlib.sha256(files[name]).hexdigest()
    if not name.endswith(".parquet"):
      self._give(files[name], {"X-Repo-Commit": commit, "ETag": f'"{etag}"'})
      return
    self.send_response(302)
    for key, value in {
      "Location": f"{self.hub.store_url}/store/{commit}/{urllib.parse.quote(name)}",
      "X-Repo-Commit": commit,
      "X-Linked-Etag": f'"{etag}"',
      "X-Linked-Size": str(len(files[name])),
      "Content-Length": "0",
    }.items():
      self.send_header(key, value)
    self.end_headers()

  def _give_stored(self, content: bytes) -> None:
    """The whole of it or a range."""
    start, end = 0, len(content)
    if given := self.headers.get("Range"):
      first, last = given.removeprefix("bytes=").split("-")
      start, end = int(first), min(int(last) + 1, end) if last else end
    self.send_response(206 if given else 200)
    if given:
      self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
    self.send_header("Accept-Ranges", "bytes")
    self.send_header("Content-Length", str(end - start))
    self.end_headers()
    if self.command == "HEAD":
      return
    body = content[start:end]
    if self.hub.break_after:
      self.wfile.write(body[: self.hub.break_after.pop(0)])
      self.wfile.flush()
      self.close_connection = True
      return
    self.wfile.write(body)

  def _give(self, body: bytes, headers: Mapping[str, str] | None = None) -> None:
    self.send_response(200)
    for key, value in (headers or {}).items():
      self.send_header(key, value)
    self.send_header("Content-Length", str(len(body)))
    self.end_headers()
    if self.command == "GET":
      self.wfile.write(body)

  def _fail(self, status: int, code: str, headers: Mapping[str, str] | None = None) -> None:
    body = json.dumps({"error": code}).encode()
    self.send_response(status)
    self.send_header("X-Error-Code", code)
    self.send_header("X-Error-Message", f"{code} of this test")
    for key, value in (headers or {}).items():
      self.send_header(key, value)
    self.send_header("Content-Length", str(len(body)))
    self.end_headers()
    if self.command == "GET":
      self.wfile.write(body)
