"""Decoding of shards: whatever is killed, slow or done twice, each clip is in the output once."""

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from gcs_faults import Faults
from gcs_server import serving
from hypothesis import given, settings
from hypothesis import strategies as st

from maxtext_ext.decode.division import Division
from maxtext_ext.decode.driver import Tally, decode_shards
from maxtext_ext.decode.folder import MANIFEST_FILE, Manifest, OutputFolder
from maxtext_ext.decode.parts import Part
from maxtext_ext.evaluate.hypotheses import read_hypotheses
from maxtext_ext.evaluate.hypothesis import ERROR, Hypothesis
from maxtext_ext.files import connection, storage
from maxtext_ext.input.drops import DropCounter
from tests.decode import standin

CLIPS = 43


class Killed(BaseException):
  """The end of a process, after which it does nothing more."""


def require_each_once(path: str, clips: int) -> None:
  """Checks that the folder has all shards, and each clip once with its own answer."""
  lines = read_hypotheses(path)  # raises for a shard that is missing and for an id that is twice
  assert sorted(line.id for line in lines) == sorted(standin.ids(clips))
  for line in lines:
    assert line.hypothesis == standin.text_of(line.id)
    assert line.extra.get(ERROR) == ("no sound" if standin.is_bad(line.id) else None)
    assert line.duration == (90.0 if standin.is_long(line.id) else 0.0)


def killed_after(count: int):
  left = iter(range(count))

  def each() -> None:
    if next(left, None) is None:
      raise Killed

  return each


@settings(max_examples=25)
@given(
  clips=st.integers(1, 40),
  jobs=st.lists(
    st.tuples(st.integers(1, 4), st.lists(st.integers(0, 30), min_size=4, max_size=4)), max_size=4
  ),
  hosts=st.integers(1, 4),
)
def test_killed_jobs_are_continued_by_other_numbers_of_hosts(tmp_path_factory, clips, jobs, hosts):
  path = str(tmp_path_factory.mktemp("output"))
  for seed, (count, lives) in enumerate(jobs):
    for host in range(count):
      try:
        standin.decode(
          path, clips, host=host, hosts=count, seed=seed, each=killed_after(lives[host])
        )
      except Killed:
        continue
  for host in range(hosts):
    standin.decode(path, clips, host=host, hosts=hosts, seed=99)
  # Of several hosts each has looked for what is left on its own, and may have seen less.
  standin.decode(path, clips)
  require_each_once(path, clips)
  assert standin.decode(path, clips).clips == 0, "nothing is decoded twice"


def test_a_slow_host_goes_on_while_another_job_does_its_work(place):
  done = []

  def meanwhile() -> None:
    if not done:  # within the first clip of the slow one
      done.append(standin.decode(place, CLIPS, seed=1))
      require_each_once(place, CLIPS)
      done.append({path: storage.read_bytes(path) for path in storage.list_folder(place, ".jsonl")})

  slow = standin.decode(place, CLIPS, each=meanwhile)
  assert done[0].clips == CLIPS
  assert slow.taken >= CLIPS - 20, "what was finished meanwhile is not begun"
  assert slow.clips + slow.taken == CLIPS
  require_each_once(place, CLIPS)
  after = {path: storage.read_bytes(path) for path in storage.list_folder(place, ".jsonl")}
  assert after == done[1]


def test_two_jobs_at_once_share_the_work(place):
  """Both begin together and take turns at each clip."""
  tallies = {}

  def other() -> None:
    if "second" not in tallies:
      tallies["second"] = None
      tallies["second"] = standin.decode(place, CLIPS, seed=2)

  half = iter(range(CLIPS))
  tallies["first"] = standin.decode(
    place, CLIPS, seed=1, each=lambda: other() if next(half) == CLIPS // 3 else None
  )
  require_each_once(place, CLIPS)
  assert 0 < tallies["first"].clips < CLIPS and 0 < tallies["second"].clips < CLIPS


def test_what_another_job_has_begun_comes_last(place):
  names = standin.ids(CLIPS)
  division = Division.of(names, 5)
  other = OutputFolder(place, Manifest.of(division, {"step": 1}))
  other.join()
  begun = [0, 2, 3, 4]  # by a job that was killed
  assert all(map(other.claim, begun))
  order = []
  folder = OutputFolder(place, Manifest.of(division, {"step": 1}))
  finish = folder.finish
  folder.finish = lambda shard, data: order.append(shard) or finish(shard, data)
  decode_shards(
    folder,
    division,
    range(division.shards),
    lambda number: standin.read(names, number),
    lambda clips: standin.answers(clips, seed=0, slots=1),
    threads=2,
    failures=DropCounter(1.0),
  )
  assert order == [1, *range(5, division.shards), *begun]
  require_each_once(place, CLIPS)
  assert storage.list_folder(place, ".claim") == []


def test_counts_of_a_job(tmp_path):
  tally = standin.decode(str(tmp_path), CLIPS)
  assert (tally.clips, tally.failed, tally.cut, tally.taken) == (CLIPS, 4, 0, 0)
  assert tally.first_failure.endswith("3.wav: no sound")
  assert tally.note() == "43 clips, 360 s of audio, 4 failed"
  other = Tally(clips=2, seconds=3.0, cut=1, first_failure="other")
  other.merge(tally)
  assert other == Tally(clips=45, seconds=363.0, cut=1, failed=4, first_failure="other")


def test_a_recording_that_turns_out_bad_fails_with_all_its_pieces(tmp_path):
  names = ["5.wav", "a.wav"]
  division = Division.of(names, 5)
  folder = OutputFolder(str(tmp_path), Manifest.of(division, {}))
  folder.join()

  def read(place: int) -> Iterator[Part | Hypothesis]:
    parts = list(standin.read(names, place))
    if place == 0:
      parts[-1] = Hypothesis(id="5.wav", reference="", hypothesis="", extra={ERROR: "cut short"})
    yield from parts

  tally = decode_shards(
    folder,
    division,
    [0],
    read,
    lambda clips: standin.answers(clips, seed=0),
    threads=2,
    failures=DropCounter(1.0),
  )
  assert (tally.clips, tally.failed) == (2, 1)
  lines = {line.id: line for line in read_hypotheses(str(tmp_path))}
  assert (lines["5.wav"].hypothesis, lines["5.wav"].extra[ERROR]) == ("", "cut short")
  assert lines["a.wav"].hypothesis == "text of a.wav"


def test_an_id_that_occurs_twice_is_told(tmp_path):
  names = ["a.wav", "b.wav", "a.wav"]
  division = Division.of(names, 5)
  folder = OutputFolder(str(tmp_path), Manifest.of(division, {}))
  with pytest.raises(ValueError, match=r"id 'a.wav' of dataset '' occurs twice"):
    decode_shards(
      folder,
      division,
      [0],
      lambda place: standin.read(names, place),
      lambda clips: standin.answers(clips, seed=0),
      threads=1,
      failures=DropCounter(1.0),
    )


def test_a_reference_that_is_not_known_is_none_of_silence(tmp_path):
  names = standin.ids(4)
  division = Division.of(names, 2)
  folder = OutputFolder(str(tmp_path), Manifest.of(division, {}))
  folder.join()
  decode_shards(
    folder,
    division,
    range(division.shards),
    lambda place: standin.read(names, place),
    lambda clips: standin.answers(clips, seed=0),
    threads=1,
    failures=DropCounter(1.0),
    has_reference=lambda place: place % 2 == 0,
  )
  known = {line.id: line.reference for line in read_hypotheses(str(tmp_path))}
  assert known == {name: None if place % 2 else "" for place, name in enumerate(names)}


def test_a_source_that_cannot_be_reached_ends_the_job(tmp_path):
  division = Division.of(standin.ids(20), 5)
  folder = OutputFolder(str(tmp_path), Manifest.of(division, {}))
  folder.join()

  def read(place: int) -> Iterator[Hypothesis]:
    yield from ()
    raise OSError("gs://bucket/a.wav: cannot read it (503); check the name and the network")

  with pytest.raises(OSError, match=r"gs://bucket/a.wav: cannot read it"):
    decode_shards(
      folder,
      division,
      range(4),
      read,
      lambda clips: standin.answers(clips, seed=0),
      threads=2,
      failures=DropCounter(1.0),
    )
  assert folder.unfinished() == [0, 1, 2, 3]


def test_too_many_clips_that_cannot_be_read_end_the_job(tmp_path):
  names = standin.ids(20)
  division = Division.of(names, 5)
  folder = OutputFolder(str(tmp_path), Manifest.of(division, {}))
  folder.join()

  def read(place: int) -> Iterator[Hypothesis]:
    yield Hypothesis(id=names[place], reference="", hypothesis="", extra={ERROR: "not found"})

  with pytest.raises(ValueError, match=r"11 of 11 records read .* max_bad_fraction") as refusal:
    decode_shards(
      folder,
      division,
      range(4),
      read,
      lambda clips: standin.answers(clips, seed=0),
      threads=2,
      failures=DropCounter(0.01),
    )
  assert f"{names[division.places(0)[0]]}: not found" in str(refusal.value)
  assert folder.unfinished() == [2, 3]


def start(path: str, clips: int, *words: str) -> subprocess.Popen:
  command = [sys.executable, standin.__file__, path, str(clips), *words]
  return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(params=["disk", "bucket"])
def output(request, tmp_path, monkeypatch) -> Iterator[str]:
  """A folder on a disk, or in a bucket with faults of all kinds."""
  if request.param == "disk":
    yield str(tmp_path / "output")
    return
  monkeypatch.setattr(connection, "SILENCE_SECONDS", 0.5)
  with serving(monkeypatch, "bucket") as server:
    faults = Faults(server, seed=5, stall_seconds=1.0)
    yield "gs://bucket/output"
    assert faults.counts.keys() >= {"429", "503", "reset", "lost", "cut", "corrupted"}


@pytest.mark.integration_test
def test_processes_that_are_killed(output):
  clips = 160
  # Three hosts of a job; two are killed at different moments, one stops for a while.
  hosts = [
    start(output, clips, "--hosts", str(host), "3", "--seconds", "0.02") for host in range(3)
  ]
  for host, read in ((hosts[0], 6), (hosts[1], 23)):
    host.stdout.read(read)
    host.send_signal(signal.SIGKILL)
  hosts[2].stdout.read(10)
  hosts[2].send_signal(signal.SIGSTOP)
  # Two jobs of their own do the rest, at the same time.
  rest = [start(output, clips, "--seed", seed, "--seconds", "0.004") for seed in ("1", "2")]
  for job in rest:
    _, errors = job.communicate(timeout=120)
    assert job.returncode == 0, errors
  require_each_once(output, clips)
  before = {path: storage.read_bytes(path) for path in storage.list_folder(output)}
  assert f"{output}/{MANIFEST_FILE}" in before
  hosts[2].send_signal(signal.SIGCONT)
  _, errors = hosts[2].communicate(timeout=120)
  assert hosts[2].returncode == 0, errors
  for host in hosts:
    host.communicate()
  assert {path: storage.read_bytes(path) for path in storage.list_folder(output)} == before
