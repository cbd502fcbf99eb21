"""The log of a Hugging Face job against a server that breaks its streams."""

import pytest
from huggingface_hub import HfApi, JobInfo, constants

from maxtext_ext.launch.hub import Pace
from maxtext_ext.launch.job_log import JobLog
from tests.launch import jobs_server
from tests.launch.jobs_server import Break

# The first three lines are one line three times, at one time; the rest are alike in pairs.
LINES = [("10:00:00", "step"), ("10:00:00", "step"), ("10:00:00", "step")]
LINES += [(f"10:00:{i // 2 + 1:02}", f"loss {i // 4}") for i in range(20)]
QUICK = Pace(first=0.01, longest=0.02, patience=0.3, silence=0.4, quiet=0.2)


@pytest.fixture
def jobs(monkeypatch):
  monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
  with jobs_server.serve() as served:
    served.log = list(LINES)
    yield served


def follow(jobs, pace=QUICK):
  """The job at its end, and the lines that were written."""
  api = HfApi(endpoint=jobs.url, token=jobs_server.TOKEN)
  written = []
  job = JobInfo(**jobs.job(), endpoint=jobs.url)
  return JobLog(api, job, written.append, pace).follow(), written


TEXTS = [text for _, text in LINES]
STREAMS = {
  "no break": [],
  "after a line": [Break(1), Break(2), Break(3)],
  "not cleanly": [Break(4, cleanly=False)],
  "within a line": [Break(5, rest=9), Break(6, rest=20, cleanly=False)],
  "before anything is sent again": [Break(7), Break(0), Break(0, cleanly=False)],
  "before what was seen": [Break(9), Break(2), Break(3, cleanly=False), Break(8)],
  "as the job ends": [Break(10, cleanly=False, stage="COMPLETED"), Break(12), Break(15)],
}


@pytest.mark.parametrize("case", STREAMS)
def test_each_line_is_written_once_wherever_streams_break(jobs, case):
  jobs.streams = list(STREAMS[case])
  jobs.stage = "RUNNING" if case == "as the job ends" else "COMPLETED"
  job, written = follow(jobs)
  assert written == TEXTS
  assert job.status.stage == "COMPLETED"
  assert not jobs.streams


def test_lines_that_come_while_the_job_runs_are_written(jobs):
  jobs.stage = "RUNNING"
  jobs.streams = [Break(0), Break(3), Break(3), Break(11, stage="ERROR")]
  job, written = follow(jobs)
  assert written == TEXTS
  assert job.status.stage == "ERROR"


@pytest.mark.parametrize("part", ["/logs", "/job1"])
@pytest.mark.parametrize("status", [500, 502, 503, 429, 0])
def test_an_answer_that_passes_is_asked_for_again(jobs, part, status):
  jobs.failures = [("GET", part, status)] * 3
  jobs.streams = [Break(6, cleanly=False), Break(6)]
  _, written = follow(jobs)
  assert written == TEXTS
  assert not jobs.failures


def test_an_answer_of_a_proxy_is_none_of_the_hub(jobs):
  jobs.failures = [("GET", "/job1", 200)] * 3
  assert follow(jobs)[1] == TEXTS
  assert not jobs.failures


def test_a_log_that_is_not_there_yet_is_waited_for(jobs):
  jobs.stage = "SCHEDULING"
  jobs.failures = [("GET", "/logs", 404)] * 3
  jobs.streams = [Break(2, stage="COMPLETED")]
  assert follow(jobs)[1] == TEXTS


def test_a_log_that_comes_after_the_end_of_the_job_is_waited_for(jobs):
  jobs.failures = [("GET", "/logs", 404)] * 2
  jobs.streams = [Break(0)]
  assert follow(jobs)[1] == TEXTS


def test_a_stream_that_stays_open_behind_the_last_line_ends_with_the_job(jobs):
  jobs.left_open = True
  assert follow(jobs)[1] == TEXTS


def test_lines_of_any_characters_are_written_as_they_are(jobs):
  texts = ["שלום לכולם", "a\u2028b\x85c", "50%\r100%", "", " ", "two\nlines", "\x1b[1mbold"]
  jobs.log = [("10:00:00", text) for text in texts]
  jobs.streams = [Break(0, rest=20, cleanly=False), Break(1, rest=15)]
  assert follow(jobs)[1] == texts


def test_a_job_without_a_log_ends(jobs):
  jobs.log, jobs.stage = [], "ERROR"
  job, written = follow(jobs)
  assert (job.status.stage, written) == ("ERROR", [])


def test_a_log_that_begins_anew_is_written_and_said(jobs, capsys):
  jobs.stage = "RUNNING"
  jobs.streams = [Break(5)]
  lines = list(LINES)

  class Restarted(list):
    def __getitem__(self, part):  # the second stream is of another attempt
      again = [("11:00:00", text) for _, text in lines]
      return list.__getitem__(lines if jobs.opened == 1 else again, part)

    def __len__(self):
      return len(lines)

  jobs.log = Restarted()
  jobs.streams.append(Break(len(lines), stage="COMPLETED"))
  _, written = follow(jobs)
  assert written == [*TEXTS[:5], *TEXTS]
  assert "another one from line 1" in capsys.readouterr().err


def test_a_log_that_cannot_be_read_again_does_not_hold_the_command(jobs, capsys):
  jobs.streams = [Break(len(LINES)), *[Break(3)] * 20]
  _, written = follow(jobs)
  assert written == TEXTS
  assert f"{len(LINES)} lines of it are above" in capsys.readouterr().err


def test_a_hub_that_stays_away_is_an_error(jobs):
  jobs.failures = [("GET", "/job1", 503)] * 100
  with pytest.raises(OSError, match=r"job job1: no answer for 0.3 s .*503"):
    follow(jobs)


def test_a_refusal_is_an_error_at_once(jobs):
  jobs.failures = [("GET", "/logs", 403)]
  with pytest.raises(OSError, match="403"):
    follow(jobs)
  assert jobs.opened == 0
