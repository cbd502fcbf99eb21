"""Tar files as WebDataset writes them, compressed, cut and forged."""

import bz2
import gzip
import io
import json
import lzma
import re
import tarfile

import fsspec
import numpy as np
import pyarrow as pa
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from sound_files import encode_by_ffmpeg

from maxtext_ext.sources import tar_members
from maxtext_ext.sources.entry import Bad, Good
from maxtext_ext.sources.options import SourceOptions
from tests.sources.opening import opener

PLAIN = SourceOptions()
open_shards = opener("tar")
TONE = (0.3 * np.sin(np.arange(800) / 5)).astype(np.float32)


def sound(kind: str = "WAV", rate: int = 16_000) -> bytes:
  file = io.BytesIO()
  soundfile.write(file, TONE, rate, format=kind)
  return file.getvalue()


WAV = sound()


def archive(*members: tuple[str, bytes | str], form: int = tarfile.PAX_FORMAT) -> bytes:
  file = io.BytesIO()
  with tarfile.open(fileobj=file, mode="w", format=form) as written:
    for name, content in members:
      data = content.encode() if isinstance(content, str) else content
      header = tarfile.TarInfo(name)
      header.size = len(data)
      written.addfile(header, io.BytesIO(data))
  return file.getvalue()


def samples(count: int, start: int = 0) -> list[tuple[str, bytes | str]]:
  members = []
  for index in range(start, start + count):
    members += [(f"clips/{index:04d}.wav", WAV), (f"clips/{index:04d}.txt", f"text {index}\n")]
  return members


def read(path, data: bytes | None = None, options: SourceOptions = PLAIN) -> list[Good | Bad]:
  if data is not None:
    path.write_bytes(data)
  return [entry for shard in open_shards(str(path), options) for entry in shard.entries()]


def test_samples(tmp_path):
  details = {"text": "hello", "language": "en", "speaker": "s", "dataset": "d", "duration": 0.05}
  entries = read(
    tmp_path / "a.tar",
    archive(
      ("README.md", "about"),
      ("./x/a.flac", sound("FLAC")),
      ("./x/a.json", json.dumps(details)),
      ("./x/a.jpg", b"a picture"),
      ("b.16k.mp3", sound("MP3")),
      ("b.txt", "language Hebrew<asr_text>שלום\n"),
      ("c.TRANSCRIPT", "text in front"),
      ("c.OGG", sound("OGG")),
      ("d.m4a", encode_by_ffmpeg(np.tile(TONE, 20), 16_000, "ipod", "aac")),
      ("d.json", json.dumps({"id": 7, "sentence": "from JSON"})),
      ("d.txt", "from the text file"),
    ),
  )
  assert all(isinstance(entry, Good) for entry in entries), [vars(each) for each in entries]
  said = [(each.record.sample_id, each.record.text, each.record.language) for each in entries]
  assert said == [
    ("x/a", "hello", "English"),
    ("b", "שלום", "Hebrew"),
    ("c", "text in front", None),
    ("7", "from the text file", None),
  ]
  assert (entries[0].record.speaker, entries[0].record.dataset_name) == ("s", "d")
  np.testing.assert_allclose(entries[0].record.audio, TONE, atol=2**-15)
  assert [entry.position for entry in entries] == [0, 1, 2, 3]
  done = [entry.done for entry in entries]
  assert done == sorted(done) and done[0] > 0 and done[-1] == 1.0


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_formats_and_long_names(tmp_path, form):
  folder = "/".join(["folder" * 4] * (3 if form == tarfile.USTAR_FORMAT else 9))
  data = archive((f"{folder}/a.wav", WAV), (f"{folder}/a.txt", "hi"), form=form)
  (entry,) = read(tmp_path / "a.tar", data)
  assert entry.record.sample_id == f"{folder}/a"


@pytest.mark.parametrize(
  ("name", "pack"),
  [
    ("a.tar.gz", gzip.compress),
    ("a.tar", bz2.compress),
    ("a.tar.xz", lzma.compress),
    ("a.tar.zst", lambda data: pa.Codec("zstd").compress(data, asbytes=True)),
    ("a.tgz", gzip.compress),
  ],
)
def test_compressed(tmp_path, name, pack):
  entries = read(tmp_path / name, pack(archive(*samples(5))))
  assert [entry.record.text for entry in entries] == [f"text {index}" for index in range(5)]


def test_names_of_members(tmp_path):
  members = [
    ("a.left.wav", WAV[:99]),
    ("a.right.wav", WAV),
    ("a.json", json.dumps({"said": "this", "text": "not this", "key": "k"})),
    ("a.txt", "nor this"),
  ]
  options = SourceOptions(audio_key="right.wav", text_key="said", id_key="key", language="Hebrew")
  (entry,) = read(tmp_path / "a.tar", archive(*members), options)
  record = entry.record
  assert (record.sample_id, record.text, record.language) == ("k", "this", "Hebrew")
  (entry,) = read(tmp_path / "a.tar", None, SourceOptions(audio_key="right.wav", text_key="txt"))
  assert entry.record.text == "nor this"


@pytest.mark.parametrize(
  ("members", "reason"),
  [
    ([("a.wav", WAV)], "text is missing or empty"),
    ([("a.wav", WAV), ("a.txt", " \n")], "text is missing or empty"),
    ([("a.wav", WAV), ("a.txt", b"\xff")], r"text is not UTF-8 \(byte 0xff at 0\)"),
    ([("a.wav", WAV), ("a.json", "{")], "not JSON"),
    ([("a.wav", WAV), ("a.json", "[]")], "JSON is a list"),
    ([("a.txt", "hi")], "no audio: no member of this name"),
    ([("a.jpg", b""), ("a.txt", "hi")], "no audio"),
    ([("a.wav", b"junk"), ("a.txt", "hi")], "cannot decode 4 bytes"),
    ([("a.wav", WAV), ("a.mp3", b""), ("a.txt", "hi")], "two members with its audio, 'a.mp3'"),
    ([("a.wav", WAV), ("a.txt", "x" * ((4 << 20) + 1))], "'a.txt' has 4194305 bytes, expected"),
  ],
)
def test_bad_samples(tmp_path, members, reason):
  between = archive(*samples(1), *members, *samples(1, start=1))
  first, last, bad = sorted(
    read(tmp_path / "a.tar", between), key=lambda entry: isinstance(entry, Bad)
  )
  assert isinstance(first, Good) and isinstance(last, Good)
  assert isinstance(bad, Bad) and re.search(reason, bad.reason)
  assert (bad.sample_id, bad.position) == ("a", 1)


@pytest.mark.parametrize("order", ["sounds first", "texts first", "one by one"])
def test_members_that_stand_apart(tmp_path, order):
  members = samples(6)
  sounds, texts = members[::2], members[1::2]
  apart = {
    "sounds first": sounds + texts,
    "texts first": texts + sounds,
    "one by one": [*sounds[:3], texts[0], *sounds[3:], *reversed(texts[1:])],
  }[order]
  entries = read(tmp_path / "a.tar", archive(*apart, ("lost.wav", WAV), ("alone.txt", "hi")))
  *good, lost, alone = entries
  found = {entry.record.sample_id: entry.record.text for entry in good}
  assert found == {f"clips/{index:04d}": f"text {index}" for index in range(6)}
  assert all(np.array_equal(entry.record.audio, good[0].record.audio) for entry in good)
  assert (lost.sample_id, alone.sample_id) == ("lost", "alone")
  assert "text is missing" in lost.reason and "no audio" in alone.reason
  assert sorted(entry.position for entry in entries) == list(range(8))


def test_three_members_that_stand_apart(tmp_path):
  details = json.dumps({"speaker": "s", "language": "en"})
  said = json.dumps({"text": "in JSON"})
  members = [("a.flac", sound("FLAC")), ("b.sph", sound("NIST")), ("a.json", details)]
  members += [("b.json", said), ("a.txt", "\ufefftext of a"), ("b.txt", "text of b")]
  entries = read(tmp_path / "a.tar", archive(*members))
  assert all(isinstance(entry, Good) for entry in entries), [vars(entry) for entry in entries]
  found = {e.record.sample_id: (e.record.text, e.record.speaker) for e in entries}
  assert found == {"a": ("text of a", "s"), "b": ("in JSON", None)}


def test_damage_of_members_that_stand_apart(tmp_path):
  members = samples(4)
  data = archive(*members[::2], *members[1::2])
  entries = read(tmp_path / "a.tar", data[: data.index(b"text 2")])
  good = [entry.record.text for entry in entries if isinstance(entry, Good)]
  bad = [entry.reason for entry in entries if isinstance(entry, Bad)]
  assert good == ["text 0", "text 1"]
  assert ["text is missing" in reason for reason in bad] == [True, True, False]
  assert "cut" in bad[-1]


def test_what_is_no_sample(tmp_path):
  path = tmp_path / "a.tar"
  with tarfile.open(path, "w") as written:
    folder = tarfile.TarInfo("clips")
    folder.type = tarfile.DIRTYPE
    written.addfile(folder)
    link = tarfile.TarInfo("clips/0000.wav")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    written.addfile(link)
    for name, data in [("._0000.wav", b"mac"), (".hidden", b""), ("a.wav", WAV), ("a.txt", b"x")]:
      header = tarfile.TarInfo(name)
      header.size = len(data)
      written.addfile(header, io.BytesIO(data))
  (entry,) = read(path)
  assert entry.record.sample_id == "a"


def test_a_large_member_waits_on_disk(tmp_path, monkeypatch):
  monkeypatch.setattr(tar_members, "IN_MEMORY", 100)
  assert all(isinstance(entry, Good) for entry in read(tmp_path / "a.tar", archive(*samples(3))))


THREE = archive(*samples(3))
ENDS = [3_584, 7_168, 10_752]  # where each sample ends: 512 + 2048 for the WAV, 512 + 512
PACKED = gzip.compress(THREE)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(THREE)))
def test_a_file_cut_anywhere_gives_what_is_whole(tmp_path_factory, stop):
  entries = read(tmp_path_factory.mktemp("cut") / "a.tar", THREE[:stop])
  whole = sum(end - 512 + len("text 0\n") <= stop for end in ENDS)
  if stop >= ENDS[-1] + 512:  # the end mark is there
    assert len(entries) == whole == 3
    return
  *good, bad = entries
  assert [entry.record.text for entry in good] == [f"text {index}" for index in range(whole)]
  assert isinstance(bad, Bad) and "cut" in bad.reason and bad.position == whole


@settings(max_examples=50, deadline=None)
@given(st.integers(0, len(PACKED) - 1))
def test_a_compressed_file_cut_anywhere(tmp_path_factory, stop):
  *good, bad = read(tmp_path_factory.mktemp("cut") / "a.tar.gz", PACKED[:stop])
  assert [entry.record.text for entry in good] == [f"text {index}" for index in range(len(good))]
  assert isinstance(bad, Bad) and "cut" in bad.reason


def forge(data: bytes, offset: int, **fields: bytes | int) -> bytes:
  """Changes a header and makes its checksum right again."""
  header = tarfile.TarInfo.frombuf(data[offset : offset + 512], "utf-8", "strict")
  for name, value in fields.items():
    setattr(header, name, value)
  return data[:offset] + header.tobuf(tarfile.GNU_FORMAT) + data[offset + 512 :]


@pytest.mark.parametrize("size", [10_000, 10**9, 10**12, 2**60, -(2**40)])
@pytest.mark.parametrize("at", [0, 3_584 + 2_560])
def test_absurd_sizes(tmp_path, at, size):
  entries = read(tmp_path / "a.tar", forge(THREE, at, size=size))
  assert len(entries) == (at > 0) + 1
  assert isinstance(entries[-1], Bad)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_absurd_extended_headers(tmp_path, kind):
  first, bad = read(tmp_path / "a.tar", forge(THREE, ENDS[0], size=2**40, type=kind))
  assert isinstance(first, Good)
  assert "a header says 1099511627776 bytes" in bad.reason


def test_a_damaged_header(tmp_path):
  """tarfile ends there without a word."""
  data = bytearray(THREE)
  data[ENDS[0] + 20] ^= 1
  first, bad = read(tmp_path / "a.tar", bytes(data))
  assert isinstance(first, Good)
  assert f"header at byte {ENDS[0]} is damaged in or behind sample 'clips/0000'" in bad.reason


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_broken_files_never_crash(tmp_path_factory, data):
  content = bytearray(data.draw(st.sampled_from([THREE, PACKED])))
  for _ in range(data.draw(st.integers(1, 4))):
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
  entries = read(tmp_path_factory.mktemp("broken") / "a.tar", bytes(content))
  assert sorted(entry.position for entry in entries) == list(range(len(entries)))


@pytest.mark.parametrize(
  "content", [b"", b"not a tar", bytes(range(256)) * 9, b"\x1f\x8b", b"BZh9"]
)
def test_what_is_no_tar_file(tmp_path, content):
  (entry,) = read(tmp_path / "a.tar", content)
  assert isinstance(entry, Bad)


def test_an_empty_archive(tmp_path):
  assert read(tmp_path / "a.tar", archive()) == []


def test_files_are_shards_or_grouped(tmp_path):
  for index in range(5):
    (tmp_path / f"{index}.tar").write_bytes(archive(*samples(1, start=index)))
  whole = open_shards(str(tmp_path), PLAIN)
  assert [len(shard.paths) for shard in whole] == [1] * 5
  grouped = open_shards(str(tmp_path), SourceOptions(shards=2))
  texts = [[entry.record.text for entry in shard.entries()] for shard in grouped]
  assert texts == [["text 0", "text 1"], ["text 2", "text 3", "text 4"]]
  assert [entry.done for entry in grouped[0].entries()] == [0.5, 1.0]
  with pytest.raises(ValueError, match="shards is 6, but there are only 5 files"):
    open_shards(str(tmp_path), SourceOptions(shards=6))


def test_files_at_a_url():
  fsspec.filesystem("memory").pipe("/tars/a.tar.gz", PACKED)
  (shard,) = open_shards("memory://tars", PLAIN)
  assert len(list(shard.entries())) == 3
