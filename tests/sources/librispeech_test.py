"""Archives laid out as those of openslr.org/12."""

import io
import tarfile

import numpy as np
import pytest

from maxtext_ext.sources.entry import Bad, Good
from maxtext_ext.sources.options import SourceOptions
from tests.sources.manifests import ramp, sound_bytes, write_tar
from tests.sources.opening import opener, outcomes, read_entries

ROOT = "LibriSpeech/dev-clean"


def chapter(speaker, number, count, *, last=True, texts=None):
  """The members of a chapter: its transcript behind the sound, or before."""
  names = [f"{speaker}-{number}-{index:04d}" for index in range(count)]
  folder = f"{ROOT}/{speaker}/{number}"
  sounds = [(f"{folder}/{name}.flac", sound_bytes(0, 1)) for name in names]
  texts = texts or [f"TEXT {name}" for name in names]
  lines = "".join(f"{name} {text}\n" for name, text in zip(names, texts, strict=True))
  transcript = (f"{folder}/{speaker}-{number}.trans.txt", lines.encode())
  return [*sounds, transcript] if last else [transcript, *sounds]


@pytest.fixture
def archive(tmp_path):
  return write_tar(
    tmp_path / "dev-clean.tar",
    ("LibriSpeech/README.TXT", b"about"),
    ("LibriSpeech/SPEAKERS.TXT", b"; ID |SEX"),
    *chapter(84, 121123, 3),
    *chapter(84, 121550, 2, last=False),
    *chapter(174, 50561, 2),
  )


IDS = [
  *(f"84-121123-{index:04d}" for index in range(3)),
  *(f"84-121550-{index:04d}" for index in range(2)),
  *(f"174-50561-{index:04d}" for index in range(2)),
]


def test_an_archive(archive):
  entries = read_entries("librispeech", archive, language="en", dataset_name="librispeech")
  assert outcomes(entries) == [(name, f"TEXT {name}") for name in IDS]
  assert [entry.position for entry in entries] == list(range(7))
  first, last = entries[0].record, entries[-1].record
  assert (first.speaker, last.speaker) == ("84", "174")
  assert (first.language, first.dataset_name) == ("English", "librispeech")
  np.testing.assert_allclose(first.audio, ramp(0, 1), atol=1e-4)


@pytest.mark.parametrize("count", [2, 3, 7])
def test_shards_hold_every_utterance_once_and_chapters_whole(archive, count):
  shards = opener("librispeech")(str(archive), SourceOptions(shards=count))
  assert len(shards) == count
  parts = [[name for name, _ in outcomes(list(shard.entries()))] for shard in shards]
  assert sorted(name for part in parts for name in part) == sorted(IDS)
  chapters = [{name.rpartition("-")[0] for name in part} for part in parts]
  assert sum(map(len, chapters)) == 3


def test_compressed_archives(archive):
  packed = archive.with_name("dev-clean.tar.gz")
  with tarfile.open(archive) as plain, tarfile.open(packed, "w:gz") as out:
    for member in plain:
      out.addfile(member, plain.extractfile(member))
  assert outcomes(read_entries("librispeech", packed)) == outcomes(
    read_entries("librispeech", archive)
  )


def test_what_is_missing_or_broken_is_quarantined_once(tmp_path):
  folder = f"{ROOT}/1/2"
  path = write_tar(
    tmp_path / "dev-clean.tar",
    (f"{folder}/1-2-0000.flac", sound_bytes(0, 1)),
    (f"{folder}/1-2-0001.flac", b"fLaC broken"),
    (f"{folder}/1-2-0002.flac", sound_bytes(0, 1)),
    (f"{folder}/1-2-0003.flac", sound_bytes(0, 1)),
    (f"{folder}/1-2.trans.txt", b"1-2-0000 GOOD\n1-2-0001 BROKEN\n1-2-0003\n1-2-0009 GONE\n"),
    (f"{ROOT}/1/3/1-3-0000.flac", sound_bytes(0, 1)),
    (f"{ROOT}/1/4/1-4.trans.txt", b"1-4-0000 \xff\n"),
    (f"{ROOT}/1/4/1-4-0000.flac", sound_bytes(0, 1)),
    (f"{ROOT}/1/5/9-9-0000.flac", sound_bytes(0, 1)),  # not of its folder
  )
  found = dict(outcomes(read_entries("librispeech", path)))
  assert found.pop("1-2-0000") == "GOOD"
  expected = {
    "1-2-0001": "audio",
    "1-2-0002": "1-2.trans.txt has no line of it",
    "1-2-0003": "text is missing",
    "1-2-0009": "its sound is not in the archive",
    "1-3-0000": "1-3.trans.txt is not in the archive",
    "1-4-0000": "not UTF-8",
  }
  assert found.keys() == expected.keys()
  for name, reason in expected.items():
    assert reason in found[name], name


def test_a_cut_archive_gives_what_is_whole_and_says_so(archive):
  archive.write_bytes(archive.read_bytes()[:27_000])
  entries = read_entries("librispeech", archive)
  good = [entry.record.sample_id for entry in entries if isinstance(entry, Good)]
  bad = [entry.reason for entry in entries if isinstance(entry, Bad)]
  assert good == IDS[:5]
  assert sum("cut or damaged" in reason and "copy the file again" in reason for reason in bad) == 1
  assert all(0 <= entry.done <= 1 for entry in entries)


def test_an_archive_within_long_names(tmp_path):
  path = tmp_path / "x.tar"
  with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as out:
    for name, content in chapter(7, 8, 1):
      info = tarfile.TarInfo("deep/" * 30 + name)
      info.size = len(content)
      out.addfile(info, io.BytesIO(content))
  assert outcomes(read_entries("librispeech", path)) == [("7-8-0000", "TEXT 7-8-0000")]
