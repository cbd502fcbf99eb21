"""Broken and odd tar files and samples in them, and all sounds, as members."""

import bz2
import gzip
import lzma
import pathlib
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterator

from tests.sources.fuzz import tones
from tests.sources.fuzz.case import AFTER, BEFORE, CASE, TEXT, Case
from tests.sources.fuzz.sounds import SOUNDS

DAMAGED = "file is (cut|damaged)|header at byte .* is damaged"
_BLOCK = tarfile.BLOCKSIZE
_END = bytes(2 * _BLOCK)
_SIZE = slice(124, 136)  # of a header
_CHECKSUM = slice(148, 156)
_SOUND = tones.flac()
_TEXT = TEXT.encode()


def _header(name: str, size: int, kind: bytes = tarfile.REGTYPE, **fields: object) -> bytes:
  info = tarfile.TarInfo(name)
  info.size, info.type = size, kind
  for field, value in fields.items():
    setattr(info, field, value)
  return info.tobuf(tarfile.GNU_FORMAT)


def _forged(header: bytes, at: slice, value: bytes) -> bytes:
  """A header with some bytes replaced and its checksum made right."""
  changed = bytearray(header)
  changed[at] = value
  changed[_CHECKSUM] = b" " * 8
  changed[_CHECKSUM] = b"%06o\0 " % sum(changed)
  return bytes(changed)


def _padded(data: bytes) -> bytes:
  return data + bytes(-len(data) % _BLOCK)


def _member(name: str, data: bytes) -> bytes:
  return _header(name, len(data)) + _padded(data)


def _sample(name: str) -> bytes:
  return _member(f"{name}.flac", _SOUND) + _member(f"{name}.txt", _TEXT)


def _claiming(size: bytes, name: str = f"{CASE}.flac") -> bytes:
  """A member whose header gives its size so."""
  return _forged(_header(name, 0), _SIZE, size) + _padded(_SOUND)


def _pax(content: bytes, size: int | None = None) -> bytes:
  header = _header("pax", len(content) if size is None else size, tarfile.XHDTYPE)
  return header + _padded(content)


def _pax_record(key: str, value: str) -> bytes:
  text = f" {key}={value}\n"
  length = len(text) + len(str(len(text) + 2))
  return f"{length}{text}".encode()


_WITH_TEXT = _member(f"{CASE}.txt", _TEXT)
_WITH_SOUND = _member(f"{CASE}.flac", _SOUND)
_OLD_TYPE = _forged(_header("case.flac", len(_SOUND)), slice(156, 157), b"\0")
_LATIN1 = _forged(_header("case.flac", len(_SOUND)), slice(0, 4), b"cas\xe9") + _padded(_SOUND)
_LATIN1 += _forged(_header("case.txt", len(_TEXT)), slice(0, 4), b"cas\xe9") + _padded(_TEXT)


def _special(kind: bytes, **fields: object) -> bytes:
  """A text, and in place of its sound something that is no file."""
  return _header(f"{CASE}.flac", 0, kind, **fields) + _WITH_TEXT


# Samples between two good ones: name, blocks, reason or None where it is good.
_SAMPLES: tuple[tuple[str, bytes, str | None], ...] = (
  ("no text", _WITH_SOUND, "text is missing"),
  ("no sound", _WITH_TEXT, "no audio"),
  ("two sounds", _WITH_SOUND + _member("case.wav", tones.wav()) + _WITH_TEXT, "two members with"),
  ("two texts", _WITH_SOUND + _WITH_TEXT + _member("case.lab", b"a"), "two members with its text"),
  ("empty text", _WITH_SOUND + _member("case.txt", b""), "text is missing or empty"),
  ("text of spaces", _WITH_SOUND + _member("case.txt", b" \n"), "text is missing or empty"),
  ("text not UTF-8", _WITH_SOUND + _member("case.txt", b"a\xff"), "text is not UTF-8 .* 0xff at 1"),
  ("JSON cut", _WITH_SOUND + _member("case.json", b'{"text": "a'), "not JSON"),
  ("empty JSON", _WITH_SOUND + _member("case.json", b""), "not JSON"),
  ("JSON list", _WITH_SOUND + _member("case.json", b"[1]"), "JSON is a list"),
  ("JSON not UTF-8", _WITH_SOUND + _member("case.json", b'{"text": "\xff"}'), "not UTF-8"),
  ("JSON without text", _WITH_SOUND + _member("case.json", b"{}"), "text is missing"),
  ("text as number", _WITH_SOUND + _member("case.json", b'{"text": 5}'), "'text' is 5"),
  ("lone surrogate", _WITH_SOUND + _member("case.json", b'{"text": "\\ud800"}'), "no UTF-8 form"),
  ("deep JSON", _WITH_SOUND + _member("case.json", b"[" * 200_000), "not JSON"),
  ("name not UTF-8", _LATIN1, "sample_id has no UTF-8 form"),
  ("pax header that is cut", _pax(b"99 path=abc\n") + _WITH_SOUND + _WITH_TEXT, "no audio"),
  ("symbolic link", _special(tarfile.SYMTYPE, linkname="/etc/passwd"), "no audio"),
  ("hard link", _special(tarfile.LNKTYPE, linkname="before.flac"), "no audio"),
  ("pipe", _special(tarfile.FIFOTYPE), "no audio"),
  ("device", _special(tarfile.CHRTYPE, devmajor=1, devminor=5), "no audio"),
  ("folder with the sound's name", _special(tarfile.DIRTYPE), "no audio"),
  # Good ones.
  ("text in front", _WITH_TEXT + _WITH_SOUND, None),
  ("JSON", _WITH_SOUND + _member("case.json", b'{"text": "a", "speaker": 7}'), None),
  ("other members", _WITH_SOUND + _member("case.png", b"a" * 999) + _WITH_TEXT, None),
  ("capitals", _member("case.FLAC", _SOUND) + _member("case.Txt", _TEXT), None),
  ("what macOS leaves", _member("._case.flac", b"a" * 99) + _WITH_SOUND + _WITH_TEXT, None),
  ("README", _member("README.md", b"a") + _WITH_SOUND + _WITH_TEXT, None),
  ("size in binary", _claiming(b"\x80" + len(_SOUND).to_bytes(11, "big")) + _WITH_TEXT, None),
  ("pax header without length", _pax(b"path=abc\n") + _WITH_SOUND + _WITH_TEXT, None),
  ("pax header", _pax(_pax_record("mtime", "1.5")) + _WITH_SOUND + _WITH_TEXT, None),
  ("old type of a file", _OLD_TYPE + _padded(_SOUND) + _WITH_TEXT, None),
)
_IDS = (
  "a/b/c",
  "../../../escape",
  "/etc/passwd",
  "a\nb",
  "a/" * 2000 + "b",
  "\u202e",
  "\x1b[31m",
  " ",
)

# What stands between a good sample and another, which cannot be found any more.
_DAMAGE: tuple[tuple[str, bytes], ...] = (
  ("size of 8 GiB", _claiming(b"77777777777\0")),
  ("size 2**60", _claiming(b"\x80" + (2**60).to_bytes(11, "big"))),
  ("size 2**87", _claiming(b"\x80" + b"\xff" * 11)),
  ("negative size", _claiming(b"\xff" * 12)),
  ("size in letters", _claiming(b"a lot       ")),
  ("text of 8 GiB", _claiming(b"77777777777\0", "case.txt")),
  ("other member of 8 GiB", _claiming(b"77777777777\0", "case.png")),
  ("wrong checksum", tones.flipped(_sample(CASE), 149)),
  ("flipped bit in a name", tones.flipped(_sample(CASE), 2)),
  ("noise", bytes(range(256)) * 10),
  ("pax header of 1 GiB", _pax(b"", 1 << 30)),
  ("pax size 10**15", _pax(_pax_record("size", "1000000000000000")) + _sample(CASE)),
  ("pax size negative", _pax(_pax_record("size", "-512")) + _sample(CASE)),
  ("pax size in letters", _pax(_pax_record("size", "a")) + _sample(CASE)),
  ("long name of 1 GiB", _header("././@LongLink", 1 << 30, tarfile.GNUTYPE_LONGNAME)),
  ("sparse file of 8 EiB", _header("case.flac", 1 << 62, tarfile.GNUTYPE_SPARSE)),
)


def _file(data: bytes, name: str = "a.tar") -> Callable[[pathlib.Path], pathlib.Path]:
  def write(folder: pathlib.Path) -> pathlib.Path:
    (folder / name).write_bytes(data)
    return folder

  return write


def _between(name: str, blocks: bytes, reason: str | None, sample_id: str = CASE) -> Case:
  good = (BEFORE, AFTER) if reason else (BEFORE, sample_id, AFTER)
  write = _file(_sample(BEFORE) + blocks + _sample(AFTER) + _END)
  return Case(name=name, write=write, bad=(reason,) if reason else (), good=good)


def _sounds() -> Iterator[Case]:
  for sound in SOUNDS:
    suffix = "wav" if sound.suffix in ("au", "sph") else sound.suffix

    def write(folder: pathlib.Path, suffix: str = suffix, make: Callable = sound.make):
      blocks = _member(f"{CASE}.{suffix}", make()) + _WITH_TEXT
      return _file(_sample(BEFORE) + blocks + _sample(AFTER) + _END)(folder)

    good = (BEFORE, AFTER) if sound.reason else (BEFORE, CASE, AFTER)
    bad = (sound.reason,) if sound.reason else ()
    yield Case(name=f"sound: {sound.name}", write=write, bad=bad, good=good)


def _named(sample_id: str) -> Case:
  """A sample whose name is long or odd."""
  blocks = b""
  for suffix, data in (("flac", _SOUND), ("txt", _TEXT)):
    info = tarfile.TarInfo(f"{sample_id}.{suffix}")
    info.size = len(data)
    blocks += info.tobuf(tarfile.PAX_FORMAT) + _padded(data)
  return _between(f"id {sample_id[:20]!r}", blocks, None, sample_id)


def _cut_files() -> Iterator[Case]:
  """A file cut at every point of its structure, in its second sample."""
  before, case = _sample(BEFORE), _sample(CASE)
  text = len(case) - 2 * _BLOCK  # where the header of the second member starts
  for point in (1, 100, 511, 512, 513, 4000, 512 + len(_SOUND), text - 1, text, text + 300):
    write = _file(before + case[:point])
    yield Case(name=f"file cut at {point}", write=write, bad=(DAMAGED,), good=(BEFORE,))
  for point in (text + 512, text + 520):
    write = _file(before + case[:point])
    yield Case(
      name=f"file cut at {point}, in the text", write=write, bad=(DAMAGED,), good=(BEFORE,)
    )
  whole = (BEFORE, CASE)
  yield Case(name="no end mark", write=_file(before + case), bad=(DAMAGED,), good=whole)
  yield Case(name="half an end mark", write=_file(before + case + bytes(_BLOCK)), good=whole)
  for name, compress in (("gzip", gzip.compress), ("bzip2", bz2.compress)):
    packed = compress(before + case + _END)
    write = _file(packed)
    yield Case(name=name, write=write, good=whole)
    for size in (len(packed) - 1, len(packed) - 9, len(packed) // 2, 12, 5):
      write = _file(packed[:size], "a.tar.gz")
      yield Case(name=f"{name} cut at {size}", write=write, bad=(DAMAGED,), good=())


def _bomb(name: str, text: bytes = _TEXT) -> Callable[[pathlib.Path], pathlib.Path]:
  """Half a gigabyte of zeros in half a megabyte, as a member of this name."""

  def write(folder: pathlib.Path) -> pathlib.Path:
    size, step = 1 << 29, bytes(1 << 20)
    packer = zlib.compressobj(1, wbits=31)
    with open(folder / "a.tar.gz", "wb") as file:
      file.write(packer.compress(_sample(BEFORE) + _header(name, size)))
      for _ in range(size // len(step)):
        file.write(packer.compress(step))
      file.write(packer.compress(_member("case.txt", text) + _sample(AFTER) + _END))
      file.write(packer.flush())
    return folder

  return write


_LONG_NAMES = (_header("././@LongLink", 2, tarfile.GNUTYPE_LONGNAME) + _padded(b"a\0")) * 400


def _files() -> Iterator[Case]:
  before, case, after = map(_sample, (BEFORE, CASE, AFTER))
  both, all_three = (BEFORE, AFTER), (BEFORE, CASE, AFTER)
  packed = bytearray(gzip.compress(before + after + _END))
  struct.pack_into("<I", packed, len(packed) - 8, 0)
  for name, data, bad, good in (
    ("empty file", b"", (DAMAGED,), ()),
    ("one block of zeros", bytes(512), (), ()),
    ("zeros", bytes(20_480), (), ()),
    ("text", b"this is no tar file\n" * 99, (DAMAGED,), ()),
    ("zip", b"PK\3\4" + bytes(range(256)) * 8, (DAMAGED,), ()),
    ("xz", lzma.compress(before + after + _END), (), both),
    ("xz that is cut", lzma.compress(before + after + _END)[:-30], (DAMAGED,), ()),
    ("400 long names", before + _LONG_NAMES + case + _END, (DAMAGED,), (BEFORE,)),
    ("gzip of nothing", gzip.compress(b""), (DAMAGED,), ()),
    ("gzip with a wrong checksum", bytes(packed), (DAMAGED,), ()),
    ("gzip in gzip", gzip.compress(gzip.compress(before + _END)), (DAMAGED,), ()),
    ("a sample twice", before + case + after + case + _END, (), (*all_three, "a.tar:3")),
    ("sample in two", before + _WITH_SOUND + after + _WITH_TEXT + _END, (), (BEFORE, AFTER, CASE)),
    ("another archive behind the end", before + _END + after + _END, (), (BEFORE,)),
  ):
    yield Case(name=f"file: {name}", write=_file(data), bad=bad, good=good)
  yield Case(name="bomb of a sound", write=_bomb("case.wav"), bad=("cannot decode|at most",))
  yield Case(name="bomb of a text", write=_bomb("other.txt"), bad=("at most", "no audio"))
  yield Case(name="bomb of another member", write=_bomb("case.png"), bad=("no audio",))


CASES = (
  *(_between(*sample) for sample in _SAMPLES),
  *map(_named, _IDS),
  *(
    Case(
      name=f"damage: {name}",
      write=_file(_sample(BEFORE) + blocks + _sample(AFTER) + _END),
      bad=(DAMAGED,),
      good=(BEFORE,),
    )
    for name, blocks in _DAMAGE
  ),
  *_cut_files(),
  *_files(),
  *_sounds(),
)
