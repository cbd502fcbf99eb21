"""Ids that the product makes of names give way where several records would have one."""

import json
import pathlib

import pytest

from maxtext_ext.conversion.convert import ConvertOptions, convert
from maxtext_ext.conversion.verify import verify
from maxtext_ext.records.quarantine import read_lines
from maxtext_ext.sources.options import SourceOptions
from tests.conversion.small_shards import ids_of
from tests.sources.manifests import sound_bytes, write_tar


def sample(name: str, sample_id: str | None = None) -> list[tuple[str, bytes]]:
  """Members of a sample, with an id of its own or with its name for one."""
  about = {"text": f"text of {name}"} | ({"id": sample_id} if sample_id else {})
  return [(f"{name}.wav", sound_bytes(0, 0.1, "WAV")), (f"{name}.json", json.dumps(about).encode())]


def write_shards(folder: pathlib.Path) -> str:
  """Two tar files that both number from 0; the second has ids of the source's own too."""
  for name in ("a", "b"):
    (folder / name).mkdir(parents=True)
  write_tar(folder / "a" / "x.tar", *sample("000"), *sample("001"), *sample("002", "own"))
  write_tar(folder / "b" / "x.tar", *sample("000"), *sample("001"), *sample("003", "own"))
  return str(folder / "*" / "x.tar")


@pytest.mark.parametrize("audio", ["keep", "pcm16", "flac"])
@pytest.mark.parametrize("shards", [None, 1])
def test_names_that_recur_in_another_shard(tmp_path, audio, shards):
  source, out = write_shards(tmp_path / "in"), tmp_path / "out"
  options = ConvertOptions(
    source_format="tar", audio=audio, max_bad_fraction=1.0, source=SourceOptions(shards=shards)
  )
  summary = convert(source, str(out), options)
  assert (summary.written, summary.quarantined) == (5, 1)
  found = [name for names in ids_of(out) for name in names]
  assert found == ["000", "001", "own", "b/x.tar:0", "b/x.tar:1"]
  (line,) = read_lines(str(out / "quarantine.jsonl"))
  assert line["id"] == "own" and "duplicate id: 'own' is at" in line["reason"]
  (checked,) = verify(str(out))
  assert not checked.problems and not any(shard.problems for shard in checked.shards)
  before = {path.name: path.read_bytes() for path in out.glob("*.array_record")}
  assert convert(source, str(out), options).repeated
  (tmp_path / "in" / "a" / "x.tar").touch()  # it is read again, to the same bytes
  convert(source, str(out), options)
  assert {path.name: path.read_bytes() for path in out.glob("*.array_record")} == before


def test_an_id_of_the_source_that_is_like_a_fallback(tmp_path):
  source, out = write_shards(tmp_path / "in"), tmp_path / "out"
  write_tar(tmp_path / "in" / "a" / "x.tar", *sample("000"), *sample("001", "b/x.tar:0"))
  options = ConvertOptions(source_format="tar", max_bad_fraction=1.0)
  convert(source, str(out), options)
  assert ids_of(out) == [["000", "b/x.tar:0"], ["001", "own"]]
  (line,) = read_lines(str(out / "quarantine.jsonl"))
  assert line["id"] == "000" and "duplicate id" in line["reason"]
