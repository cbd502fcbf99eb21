"""Output folders that several jobs join, by their manifest."""

import pytest

from maxtext_ext.decode.division import Division
from maxtext_ext.decode.folder import MANIFEST_FILE, Manifest, OutputFolder
from maxtext_ext.files import storage

IDS = [f"clip{number}" for number in range(10)]
SETTINGS = {"run": "r", "step": 7, "context": "", "targets": ("a", "b")}


def output(root: str, ids=IDS, clips_per_shard: int = 4, **changes) -> OutputFolder:
  division = Division.of(ids, clips_per_shard)
  return OutputFolder(storage.join(root, "out"), Manifest.of(division, SETTINGS | changes))


def test_jobs_of_the_same_settings_join(place):
  first, second = output(place), output(place, IDS[::-1])
  first.join()
  second.join()
  assert first.unfinished() == second.unfinished() == [0, 1, 2]
  assert first.finish(1, b"{}\n")
  assert not second.finish(1, b"{} \n"), "created once"
  assert second.is_finished(1) and not second.is_finished(0)
  assert first.unfinished() == second.unfinished() == [0, 2]
  names = [path.rpartition("/")[2] for path in storage.list_folder(first.path)]
  assert names == ["hypotheses-00001-of-00003.jsonl", MANIFEST_FILE]


def test_a_claim_lasts_until_the_shard_is_there(place):
  first, second = output(place), output(place)
  first.join()
  assert first.claim(1) and first.claim(1), "its own"
  assert not second.claim(1) and second.claim(2)
  assert second.unfinished() == [0, 1, 2], "a claim is no shard"
  second.finish(1, b"{}\n")
  assert first.claim(1), "gone with the shard, by whomever it was made"
  first.remove_claims()
  assert len(storage.list_folder(first.path, ".claim")) == 2, "others may be decoding still"
  first.finish(0, b"")
  output(place).finish(2, b"")
  first.claim(0)
  first.remove_claims()
  assert storage.list_folder(first.path, ".claim") == []


@pytest.mark.parametrize(
  ("change", "said"),
  [
    ({"step": 8}, "step was 7, now 8"),
    ({"context": "Cohen"}, "context was '', now 'Cohen'"),
    ({"beams": 4}, "beams was its default, now 4"),
    ({"ids": IDS[1:]}, "of 10 clips, now 9, with other ids"),
    ({"ids": [*IDS[1:], "another"]}, "of 10 clips, now 10, with other ids"),
    ({"clips_per_shard": 5}, "3 shards, now 2: give clips_per_shard=4"),
  ],
)
def test_another_job_is_refused_and_changes_nothing(tmp_path, change, said):
  output(str(tmp_path)).join()
  before = (tmp_path / "out" / MANIFEST_FILE).read_bytes()
  with pytest.raises(ValueError, match=r"transcripts of other settings \(") as refusal:
    output(str(tmp_path), **change).join()
  assert said in str(refusal.value)
  assert str(refusal.value).endswith("give another output=, or replace_output=true to remove them")
  assert (tmp_path / "out" / MANIFEST_FILE).read_bytes() == before


def test_the_output_of_an_earlier_version_is_not_mixed_in(place):
  old = storage.join(place, "out", "hypotheses-00000-of-00002.jsonl")
  storage.write_bytes(old, b"{}\n")
  storage.write_bytes(storage.join(place, "out", "decoded.json"), b"{}")
  folder = output(place)
  with pytest.raises(
    ValueError, match=r"of a version without manifest.json, such as hypotheses-00000"
  ):
    folder.join()
  folder.join(replace=True)
  assert folder.unfinished() == [0, 1, 2]
  assert storage.list_folder(folder.path) == [storage.join(folder.path, MANIFEST_FILE)]


def test_other_files_of_the_folder_stay(tmp_path):
  folder = output(str(tmp_path))
  folder.join()
  folder.finish(0, b"")
  (tmp_path / "out" / "notes.txt").touch()
  (tmp_path / "out" / "mine.jsonl").touch()
  output(str(tmp_path), step=8).join(replace=True)
  assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
    MANIFEST_FILE,
    "mine.jsonl",
    "notes.txt",
  ]


def test_a_job_whose_folder_was_replaced_writes_no_more(place):
  slow, fast = output(place), output(place, step=8)
  slow.join()
  fast.join(replace=True)
  with pytest.raises(OSError, match="not that of this job any more"):
    slow.finish(0, b"old")
  assert fast.finish(0, b"new")


def test_what_is_of_the_same_settings_is_not_replaced(place):
  folder = output(place)
  folder.join()
  folder.finish(2, b"")
  output(place).join(replace=True)
  assert folder.unfinished() == [0, 1], "a job that is started again goes on"


def test_a_replacement_that_was_cut_is_not_taken_for_a_new_folder(place):
  output(place).join()
  assert output(place).finish(0, b"")
  storage.remove(storage.join(place, "out", "hypotheses-00000-of-00003.jsonl"))  # the first step
  with pytest.raises(ValueError, match="transcripts of other settings"):
    output(place, step=8).join()


def test_what_is_no_manifest_is_told(tmp_path):
  folder = output(str(tmp_path))
  storage.write_bytes(storage.join(folder.path, MANIFEST_FILE), b"[]")
  with pytest.raises(
    ValueError, match=r"manifest.json: not the manifest of a decode; give another output=$"
  ):
    folder.join()
