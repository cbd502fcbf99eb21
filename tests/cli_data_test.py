"""`maxtext-ext data ...` as a person meets it: what is printed where, and the exit status."""

import os
import pathlib
import pty
import re
import signal
import subprocess
import sys
import time
from typing import get_args

import numpy as np
import pytest
import soundfile

from maxtext_ext.cli import main
from maxtext_ext.cli_data import SourceFormat
from maxtext_ext.sources.formats import SOURCES
from tests.conversion.small_shards import encoded, ids_of, write_shards

ROOT = pathlib.Path(__file__).parents[1]
# What a shell starts in the background, this suite too, is deaf to Ctrl-C, and so are its children.
HEARING = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""


def run(capsys, *args: str) -> tuple[int, str, str]:
  with pytest.raises(SystemExit) as caught:
    main(["data", *args])
  printed = capsys.readouterr()
  return int(caught.value.code or 0), printed.out, printed.err


@pytest.fixture
def source(tmp_path) -> str:
  return write_shards(tmp_path / "in", ["a", "b", "a"], ["c", "b"], ["d"])


def test_convert_twice_and_verify(capsys, source, tmp_path):
  out = str(tmp_path / "out")
  args = ["convert", source, out, "--from", "tfrecord", "--max-bad-fraction", "0.5"]
  status, printed, err = run(capsys, *args, "--workers", "2")
  reading = f"{source}: reading 0.tfrecord, 1.tfrecord, 2.tfrecord as tfrecord"
  assert status == 0
  assert printed.splitlines() == [reading, "read 6 = written 4 + quarantined 2"]
  assert [line.partition(": ")[0] for line in err.splitlines()] == ["  quarantined"] * 2
  assert ids_of(tmp_path / "out") == [["a", "b"], ["c"], ["d"]]
  status, printed, _ = run(capsys, *args)
  assert status == 0
  assert printed.splitlines()[1:] == [
    f"{out}: complete already, nothing to do",
    "read 6 = written 4 + quarantined 2",
  ]
  status, printed, err = run(capsys, "verify", out, "--workers", "2")
  assert (status, err) == (0, "")
  assert re.search(r"train\W+3\W+4\W.*whole", printed)

  (tmp_path / "out" / "train-00002-of-00003.array_record").unlink()
  status, printed, err = run(capsys, "verify", out)
  assert status == 1
  assert "1 bad" in printed
  assert "bad: train-00002-of-00003.array_record is missing" in err


def test_other_options_end_in_one_line_with_the_remedy(capsys, source, tmp_path):
  args = ["convert", source, str(tmp_path / "out"), "--from", "tfrecord", "--max-bad-fraction", "1"]
  assert run(capsys, *args)[0] == 0
  status, _, err = run(capsys, *args, "--audio", "flac")
  assert status == 2
  (line,) = err.splitlines()
  assert "audio was 'keep', now 'flac'; replace it with --overwrite" in line
  assert run(capsys, *args, "--audio", "flac", "--overwrite")[0] == 0


def test_too_many_bad_records_are_shown(capsys, tmp_path):
  source = write_shards(tmp_path / "in", ["a", *[b"?"] * 12])
  status, _, err = run(capsys, "convert", source, str(tmp_path / "o"), "--from", "tfrecord")
  assert status == 2
  *reasons, last = err.splitlines()
  assert [line[:8] for line in reasons] == ["  bad: /"] * 10
  assert last.startswith("error: 11 of 12 records are bad (91.7%), over max_bad_fraction=0.01")


@pytest.mark.parametrize(
  ("args", "said"),
  [
    (["convert", "in", "out", "--wokers", "2"], "(see maxtext-ext data convert --help)"),
    (["convert", "in", "out", "--from", "wav"], "'wav'"),
    (
      ["convert", "in", "out", "--from", "tfrecord", "--text-key", "x"],
      "--text-key: --from tfrecord does not read it, only --dataset --language --shards",
    ),
    (["convert", "in", "out", "--shards", "2", "--records-per-shard", "9"], "expected one of them"),
    (["convert", "in", "out", "--", "--project=x"], "expected that only with --engine beam"),
    (["convert", "in", "out", "--shards", "0"], "shards is 0, expected 1 or more"),
    (["convert", "in", "out"], "in: no input found"),
    (["verify", "nowhere"], "nowhere: no shards"),
  ],
)
def test_mistakes(capsys, tmp_path, monkeypatch, args, said):
  monkeypatch.chdir(tmp_path)
  status, printed, err = run(capsys, *args)
  assert (status, printed) == (2, "")
  assert said in err and len(err.splitlines()) == 1
  assert not (tmp_path / "out").exists()


def write_long_source(folder: pathlib.Path, shards: int = 6) -> str:
  rng = np.random.default_rng(0)
  samples = [rng.integers(-9_000, 9_000, 16_000).astype(np.int16) for _ in range(8)]
  content = [[encoded(f"{n}-{i}", samples[i % 8]) for i in range(100)] for n in range(shards)]
  return write_shards(folder, *content)


def command(*args: str) -> list[str]:
  return [sys.executable, "-m", "maxtext_ext.cli", "data", *args]


@pytest.mark.integration_test
def test_a_terminal_sees_the_progress(tmp_path):
  source = write_long_source(tmp_path / "in")
  mine, terminal = pty.openpty()
  process = subprocess.Popen(
    command("convert", source, str(tmp_path / "out"), "--from", "tfrecord", "--workers", "2"),
    cwd=ROOT,
    env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    stdout=terminal,
    stderr=terminal,
  )
  os.close(terminal)
  shown = read_all(mine)
  assert process.wait() == 0
  assert re.search(r"converting .*%.* [\d,]+ records, \d\.\d h of audio, [\d,]+ s/s .*0:00:", shown)
  assert shown.rstrip().endswith("read 600 = written 600 + quarantined 0")


def read_all(descriptor: int) -> str:
  parts = []
  try:
    while part := os.read(descriptor, 65_536):
      parts.append(part)
  except OSError:  # the other side is closed
    pass
  return b"".join(parts).decode(errors="replace")


@pytest.mark.integration_test
@pytest.mark.parametrize("workers", ["1", "2"])
def test_interrupted(tmp_path, workers):
  """Ctrl-C goes to all processes of a terminal: one line, and nothing half done."""
  # Long enough for a signal on a busy machine: seconds, of which the first shard takes little.
  source, out = write_long_source(tmp_path / "in", shards=40), tmp_path / "out"
  args = command("convert", source, str(out), "--from", "tfrecord", "--workers", workers)
  process = subprocess.Popen(
    # Nice, so that on a busy machine it does not end before the test has seen its first shard.
    ["nice", "-n", "19", sys.executable, "-c", HEARING, *args],
    cwd=ROOT,
    stderr=subprocess.PIPE,
    text=True,
    start_new_session=True,
  )
  deadline = time.monotonic() + 600
  while not list(out.glob("*.array_record")):
    assert process.poll() is None and time.monotonic() < deadline
    time.sleep(0.005)
  os.killpg(process.pid, signal.SIGINT)
  _, err = process.communicate(timeout=600)
  assert process.returncode == 130
  assert err == "interrupted; run the same command again to resume\n"
  assert not list(out.glob("*.tmp-*"))
  assert subprocess.run(args, cwd=ROOT, capture_output=True).returncode == 0
  assert sum(map(len, ids_of(out))) == 4000


def test_the_format_and_the_files_of_the_split_are_told(capsys, tmp_path, caplog):
  samples = np.sin(np.arange(1600) / 5)
  soundfile.write(tmp_path / "a.wav", samples, 16_000)
  for split in ("train", "validation", "test"):
    (tmp_path / f"{split}.jsonl").write_text(f'{{"audio": "a.wav", "text": "{split}"}}\n')
  out = str(tmp_path / "out")
  status, printed, err = run(capsys, "convert", str(tmp_path), out, "--split", "train")
  assert (status, err) == (0, "")
  assert printed.splitlines() == [
    f"{tmp_path}: reading train.jsonl as jsonl",
    "read 1 = written 1 + quarantined 0",
  ]
  status, printed, err = run(capsys, "convert", str(tmp_path), out, "--split", "mine")
  assert status == 2  # three records of one name
  assert "no file is named after the split 'mine', so all of them are read: " in err + caplog.text
  assert "test.jsonl, train.jsonl, validation.jsonl" in err + caplog.text
  (tmp_path / "more.csv").write_text("audio,text\n")
  status, printed, err = run(capsys, "convert", str(tmp_path), out)
  assert (status, printed, len(err.splitlines())) == (2, "", 1)
  assert "looks like csv and jsonl; say which: --from csv or --from jsonl" in err


def test_the_choices_are_the_formats():
  assert set(get_args(SourceFormat)) == {"auto", *SOURCES}
