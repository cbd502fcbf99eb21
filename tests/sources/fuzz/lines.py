"""Broken and odd JSONL files and lines in them, and all sounds, as files that lines name."""

import json
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

from tests.sources.fuzz import tones
from tests.sources.fuzz.case import AFTER, BEFORE, CASE, TEXT, Case
from tests.sources.fuzz.sounds import SOUNDS

NOT_JSON = "not JSON: "


def _line(**changes: Any) -> bytes:
  """A valid line but for some keys; None leaves one out. Lone surrogates are escaped."""
  fields = {"audio": "case.wav", "text": TEXT, "id": CASE} | changes
  return json.dumps({key: value for key, value in fields.items() if value is not None}).encode()


_VALID = _line()

# Lines between two good ones: name, line, reason or None where it is good.
_LINES: tuple[tuple[str, bytes, str | None], ...] = (
  # Not an object.
  ("list", b'["case.wav", "hello"]', "JSON is a list"),
  ("number", b"7", "JSON is a number"),
  ("string", b'"case.wav"', "JSON is a str"),
  ("true", b"true", "JSON is true or false"),
  ("null", b"null", "JSON is null"),
  ("empty object", b"{}", "'audio'"),
  ("key without a name", b'{"": 5}', "'audio'"),
  ("words", b"case.wav hello", NOT_JSON),
  ("CSV", b"case.wav,hello", NOT_JSON),
  ("two objects", _VALID + b" " + _VALID, NOT_JSON),
  ("comma behind", _VALID + b",", NOT_JSON),
  ("single quotes", _VALID.replace(b'"', b"'"), NOT_JSON),
  ("NUL bytes", bytes(100), NOT_JSON),
  ("deep list", b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
  ("deep object", b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deeply"),
  ("deep and cut", b"[" * 1_000_000, "nested too deeply"),
  ("integer of 100,000 digits", b'{"id": ' + b"9" * 100_000 + b"}", "a number is too long"),
  ("300,000 keys", json.dumps({f"{i}": 0 for i in range(300_000)}).encode(), "'audio'"),
  # Bytes.
  ("not UTF-8", _VALID.replace(b"hello", b"hel\xff\xfelo").replace(b"\\u", b"u"), "not UTF-8"),
  ("UTF-16", json.dumps({"audio": "case.wav"}).encode("utf-16-le").replace(b"\n", b""), NOT_JSON),
  ("surrogate as bytes", b'{"audio": "case.wav", "text": "\xed\xa0\x80"}', "not UTF-8"),
  # Values.
  ("no audio", _line(audio=None), "'audio'"),
  ("empty audio", _line(audio=""), "audio"),
  ("audio as list", _line(audio=["case.wav"]), "'audio' is"),
  ("audio as number", _line(audio=7), "'audio' is"),
  ("audio as object", _line(audio={"nested": "case.wav"}), "audio"),
  ("no text", _line(text=None), "text is missing"),
  ("empty text", _line(text=""), "text is missing or empty"),
  ("text of spaces", _line(text=" \n\u00a0"), "text is missing or empty"),
  ("text as number", _line(text=5), "'text' is 5"),
  ("text as list", _line(text=["a"]), "'text' is"),
  ("text of the template only", _line(text="language Hebrew<asr_text>"), "text is missing"),
  ("lone surrogate in text", _line(text="a\ud800b"), "text has no UTF-8 form"),
  ("halves of a pair the wrong way round", _line(text="\udc00\ud800"), "text has no UTF-8 form"),
  ("lone surrogate in id", _line(id="a\udfff"), "sample_id has no UTF-8 form"),
  ("lone surrogate in audio", _line(audio="\ud800.wav"), "half of a surrogate pair"),
  ("id as float", _line(id=1.5), "'id' is 1.5"),
  ("id as bool", _line(id=True), "'id' is True"),
  ("id as list", _line(id=[]), "'id' is"),
  ("NaN as text", b'{"audio": "case.wav", "text": NaN}', "'text' is nan"),
  ("language as number", _line(language=3), "'language' is 3"),
  ("two languages", _line(language="Arabic", text="language Hebrew<asr_text>a"), "drop one"),
  ("language of two lines", _line(language="Hebrew\nEnglish"), "not a language name"),
  ("language of the template", _line(language="Hebrew<asr_text>"), "not a language name"),
  # Paths.
  ("file that is not there", _line(audio="nowhere.wav"), "not found"),
  ("folder", _line(audio="."), "audio"),
  ("path behind a file", _line(audio="case.wav/case.wav"), "cannot read|not found"),
  ("NUL in the path", _line(audio="case\0.wav"), "cannot read|null byte"),
  ("path of 100,000 characters", _line(audio="x" * 100_000), "cannot read|not found"),
  ("newline in the path", _line(audio="case\n.wav"), "not found"),
  ("device without end", _line(audio="/dev/zero"), "cannot decode|cannot read|not a"),
  ("empty device", _line(audio="/dev/null"), "cannot decode|cannot read|not a"),
  ("pipe that nobody writes to", _line(audio="pipe"), "not a file|cannot read"),
  ("unknown protocol", _line(audio="nothing://case.wav"), "URL of the scheme nothing"),
  # Segments.
  ("offset behind the end", _line(offset=5), "offset|segment"),
  ("negative offset", _line(offset=-1), "offset|segment"),
  ("offset NaN", _line(offset=float("nan")), "offset|segment"),
  ("offset infinite", _line(offset=float("inf")), "offset|segment"),
  ("offset 1e308", _line(offset=1e308), "offset|segment"),
  ("offset as string", _line(offset="1"), "segment starts at 1.00 s"),
  ("negative duration", _line(duration=-1, offset=0), "duration|segment"),
  ("duration behind the end", _line(duration=60, offset=0), "segment"),
  # Good ones.
  ("byte order mark", b"\xef\xbb\xbf" + _VALID, None),
  ("CRLF", _VALID + b"\r", None),
  ("spaces around", b"  \t" + _VALID + b" ", None),
  ("also a key without a name", _line(**{"": ["Hebrew"]}), None),
  ("unknown keys", _line(speed=1.0, path={"a": [1]}), None),
  ("of two values the last", b'{"text": "", ' + _VALID[1:], None),
  ("language with spaces", _line(language=" Cantonese (Hong Kong) "), None),
  ("line separators in text", _line(text="a\u2028b\u0085c"), None),
  ("segment of it all", _line(offset=0, duration=1), None),
)
_IDS = (
  "a/b/c",
  "../../../escape",
  "/etc/passwd",
  "a\0b",
  "a\nb\r\n",
  "x" * 1_000_000,
  "\u202e",
  " ",
)


def _write(folder: pathlib.Path, *lines: bytes, end: bytes = b"\n") -> pathlib.Path:
  (folder / "case.wav").write_bytes(tones.wav())
  for name in (BEFORE, AFTER):
    (folder / f"{name}.wav").write_bytes(tones.wav())
  (folder / "a.jsonl").write_bytes(b"\n".join(lines) + end)
  return folder


def _neighbour(name: str) -> bytes:
  return _line(audio=f"{name}.wav", id=name)


def _between(
  name: str,
  line: bytes,
  reason: str | None,
  sample_id: str = CASE,
  more: Callable[[pathlib.Path], object] = lambda folder: None,
) -> Case:
  def write(folder: pathlib.Path) -> pathlib.Path:
    more(folder)
    return _write(folder, _neighbour(BEFORE), line, _neighbour(AFTER))

  good = (BEFORE, AFTER) if reason else (BEFORE, sample_id, AFTER)
  return Case(name=name, write=write, bad=(reason,) if reason else (), good=good)


def _sounds() -> Iterator[Case]:
  for sound in SOUNDS:
    path = f"sound.{sound.suffix}"

    def more(folder: pathlib.Path, path: str = path, make: Callable = sound.make) -> None:
      (folder / path).write_bytes(make())

    yield _between(f"sound: {sound.name}", _line(audio=path), sound.reason, more=more)


def _cut_lines() -> Iterator[Case]:
  """A line cut at every point of its structure, at the end of a file without a newline."""
  line = _line(text="a", offset=0)
  points = {index + side for index, byte in enumerate(line) if byte in b'{}",:0' for side in (0, 1)}
  for point in sorted(points - {0, len(line)}):
    yield Case(
      name=f"line cut at byte {point}",
      write=lambda folder, cut=line[:point]: _write(folder, _neighbour(BEFORE), cut, end=b""),
      bad=(NOT_JSON,),
      good=(BEFORE,),
    )


def _huge(folder: pathlib.Path) -> pathlib.Path:
  _write(folder, _neighbour(BEFORE))
  with open(folder / "a.jsonl", "r+b") as file:
    file.seek(1 << 28, os.SEEK_END)  # NUL bytes, which take no place on the disk
    file.write(b"\n" + _neighbour(AFTER) + b"\n")
  return folder


def _files() -> Iterator[Case]:
  before, after = _neighbour(BEFORE), _neighbour(AFTER)
  for name, lines, bad, good in (
    ("the same id twice", (before, _VALID, _VALID, after), ("duplicate id",), (CASE,)),
    ("blank lines", (b"", before, b"  ", b"\t\r", after, b"", b""), (), ()),
    ("no newline at its end", (before, after), (), ()),
  ):
    end = b"" if "no newline" in name else b"\n"
    write = lambda folder, lines=lines, end=end: _write(folder, *lines, end=end)  # noqa: E731
    yield Case(name=f"file: {name}", write=write, bad=bad, good=(BEFORE, *good, AFTER))
  for name, content in (("empty file", b""), ("blank lines only", b"\n \n\r\n")):
    write = lambda folder, content=content: _write(folder, content, end=b"")  # noqa: E731
    yield Case(name=name, write=write, refused="no lines")
  yield Case(name="line of 256 MiB", write=_huge, bad=("line is longer than 4 MiB",))


CASES = (
  *(
    _between(name, line, reason, more=lambda folder: os.mkfifo(folder / "pipe"))
    for name, line, reason in _LINES
  ),
  *(_between(f"id {i[:20]!r}", _line(id=i), None, i) for i in _IDS),
  *_cut_lines(),
  *_files(),
  *_sounds(),
)
