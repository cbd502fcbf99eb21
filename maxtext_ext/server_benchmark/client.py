"""Client of an OpenAI-compatible server: sends requests, repeats failed ones, takes the time.

OpenAI's own client was considered: it repeats requests without saying when, which hides latencies
and failures.
"""

import asyncio
import dataclasses
import math
import random
import time
from typing import Any, Self

import httpx2

from maxtext_ext.errors import one_line
from maxtext_ext.server_benchmark.api import Api, Reply, UnusableAnswerError, describe_error

MAX_ANSWER = 4 << 20  # bytes
_CONNECT_SECONDS = 10.0
# An idle connection is not used again after this long, as servers close theirs, too.
_IDLE_SECONDS = 2.0
# Answers that another attempt may change, beside those of 500 and more.
_PASSING = (408, 425, 429)
# Answers that every other request would get, too.
_MISDIRECTED = (401, 403, 404, 405)
_EPOCH = time.time() - time.perf_counter()


def now() -> float:
  """Returns the seconds since 1970, by a clock that nobody sets while the process runs."""
  return _EPOCH + time.perf_counter()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Patience:
  """Limits of a client.

  Attributes:
    timeout: seconds for an attempt, from sending the request to the end of the answer.
    attempts: of a clip.
    first: seconds between the first two attempts, twice as long before each that follows; by chance
      up to half of it less, so that clips do not come back all at once.
    longest: seconds between two attempts, also where the server asks for more by Retry-After.
  """

  timeout: float = 120.0
  attempts: int = 4
  first: float = 1.0
  longest: float = 60.0

  def pause(self, attempt: int, asked: float) -> float:
    """Returns the seconds to wait after an attempt, counted from 1; `asked` by the server."""
    usual = self.first * 2.0 ** (attempt - 1) * random.uniform(0.5, 1.0)
    return min(self.longest, max(usual, asked))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
  """Outcome of a clip's requests.

  Attributes:
    began, ended: by `now`, with the waits between attempts.
    attempts: requests.
    latency: seconds of the last one, from sending it to the end of its answer.
    reply: None where there is no transcript.
    error: why, "kind: details"; "" where there is one.
  """

  began: float
  ended: float
  attempts: int
  latency: float
  reply: Reply | None = None
  error: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Failure:
  """Failed attempt.

  Attributes:
    passing: another one may succeed.
    unreachable: there was no connection.
    retry_after: seconds that the server asked to wait.
  """

  reason: str
  passing: bool
  unreachable: bool = False
  retry_after: float = 0.0


class Client:
  """Client, used as an asynchronous context manager.

  Args:
    server: URL, see `parse_server`.
    connections: at most so many at once.
    key: sent as a bearer token; "" sends none.
  """

  def __init__(
    self, server: str, api: Api, *, connections: int, patience: Patience, key: str = ""
  ) -> None:
    self._server, self._api, self._patience = server, api, patience
    self._headers = make_headers(key)
    self._http = httpx2.AsyncClient(
      timeout=httpx2.Timeout(None, connect=_CONNECT_SECONDS),
      limits=httpx2.Limits(
        max_connections=connections,
        max_keepalive_connections=connections,
        keepalive_expiry=_IDLE_SECONDS,
      ),
    )

  async def __aenter__(self) -> Self:
    await self._http.__aenter__()
    return self

  async def __aexit__(self, *exception: Any) -> None:
    await self._http.__aexit__(*exception)

  def request(self, **body: Any) -> httpx2.Request:
    """Encodes a request, which any thread may do; `body` as `Api.encode` returns it."""
    url = f"{self._server}/{self._api.path}"
    request = httpx2.Request("POST", url, headers=self._headers, **body)
    request.read()  # encodes the body
    return request

  async def ask(self, request: httpx2.Request) -> Outcome:
    """Sends a request until it is answered, refused, or attempts are used up.

    Raises:
      ValueError: the server, its model or the key is not what was named.
      OSError: no attempt found the server.
    """
    began = now()
    reached = False
    attempt = 1
    while True:
      sent = now()
      result = await self._try(request)
      ended = now()
      if isinstance(result, Reply):
        return Outcome(
          began=began, ended=ended, attempts=attempt, latency=ended - sent, reply=result
        )
      reached = reached or not result.unreachable
      if not result.passing or attempt >= self._patience.attempts:
        break
      await asyncio.sleep(self._patience.pause(attempt, result.retry_after))
      attempt += 1
    if not reached:
      raise OSError(f"{self._server}: {result.reason}; check --server and that it runs")
    return Outcome(
      began=began, ended=ended, attempts=attempt, latency=ended - sent, error=result.reason
    )

  async def _try(self, request: httpx2.Request) -> Reply | _Failure:
    try:
      async with asyncio.timeout(self._patience.timeout):
        response, body = await self._send(request)
    except TimeoutError:
      return _Failure(reason=f"no answer within {self._patience.timeout:g} s", passing=True)
    except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
      return _Failure(reason=f"no connection: {one_line(error)}", passing=True, unreachable=True)
    except httpx2.TransportError as error:
      return _Failure(reason=f"connection lost: {one_line(error)}", passing=True)
    except (httpx2.DecodingError, UnusableAnswerError) as error:
      return _Failure(reason=f"unusable answer: {one_line(error)}", passing=False)
    if response.is_success:
      try:
        return self._api.parse(body)
      except UnusableAnswerError as error:
        return _Failure(reason=f"unusable answer: {error}", passing=False)
    status = response.status_code
    if status in _MISDIRECTED or status < 400:
      raise ValueError(describe_refusal(request.url, status, body))
    reason = f"HTTP {status}: {describe_error(body) or response.reason_phrase}"
    is_passing = status in _PASSING or status >= 500
    return _Failure(reason=reason, passing=is_passing, retry_after=_retry_after(response))

  async def _send(self, request: httpx2.Request) -> tuple[httpx2.Response, bytes]:
    response = await self._http.send(request, stream=True)
    body = bytearray()
    try:
      async for piece in response.aiter_bytes():
        body += piece
        if len(body) > MAX_ANSWER:
          raise UnusableAnswerError(f"more than {MAX_ANSWER:,} bytes")
    finally:
      await response.aclose()
    return response, bytes(body)


def parse_server(text: str) -> str:
  """Checks a server's URL; returns it without a final slash.

  Raises:
    ValueError: it is none, or holds a password or a query, which would stand in the report.
  """
  try:
    url = httpx2.URL(text)
  except httpx2.InvalidURL as error:
    raise ValueError(f"--server {text!r} is no URL ({error}); expected http://HOST/v1") from error
  if url.scheme not in ("http", "https") or not url.host:
    raise ValueError(f"--server {text!r}: expected http://HOST/v1 or https://HOST/v1")
  if url.userinfo or url.query or url.fragment:
    raise ValueError(
      f"--server names {url.host} with a password, a query or a fragment; expected host and path"
      " alone, and a key as OPENAI_API_KEY in the environment"
    )
  return text.rstrip("/")


def find_model(server: str, key: str = "") -> str:
  """Returns the only model of a server.

  Raises:
    ValueError: it has several, or does not say.
    OSError: it cannot be reached.
  """
  url = httpx2.URL(f"{server}/models")
  try:
    response = httpx2.get(url, headers=make_headers(key), timeout=_CONNECT_SECONDS)
  except httpx2.TransportError as error:
    raise OSError(
      f"{server}: no answer ({one_line(error)}); check --server and that it runs"
    ) from error
  if not response.is_success:
    raise ValueError(describe_refusal(url, response.status_code, response.content))
  try:
    names = [model["id"] for model in response.json()["data"]]
  except (ValueError, KeyError, TypeError) as error:
    raise ValueError(f"{url} lists no models; name one by --model") from error
  if len(names) != 1:
    raise ValueError(f"{url} lists {', '.join(map(str, names)) or 'none'}; name one by --model")
  return str(names[0])


def make_headers(key: str) -> dict[str, str]:
  """Returns the headers of all requests."""
  headers = {"User-Agent": "maxtext_ext", "Accept-Encoding": "identity"}
  return headers | ({"Authorization": f"Bearer {key}"} if key else {})


def describe_refusal(url: httpx2.URL, status: int, body: bytes) -> str:
  """Describes an answer that all requests would get."""
  reason = describe_error(body)
  return (
    f"{url}: HTTP {status}{f' ({reason})' if reason else ''}; check --server (such as"
    " http://HOST:8000/v1), --api, --model and OPENAI_API_KEY"
  )


def _retry_after(response: httpx2.Response) -> float:
  """Returns the seconds of Retry-After; 0 without, or for a date."""
  try:
    seconds = float(response.headers.get("retry-after", "0"))
  except ValueError:
    return 0.0
  return seconds if math.isfinite(seconds) else 0.0
