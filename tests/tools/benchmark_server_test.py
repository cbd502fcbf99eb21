"""The script: options, Ctrl-C, and the continuation of what it interrupted."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from maxtext_ext.evaluate.hypotheses import read_hypotheses
from tests import asr_server
from tests.server_benchmark import corpora

SCRIPT = pathlib.Path(__file__).parents[2] / "tools" / "benchmark_server.py"
CLIPS = 6


@pytest.mark.integration_test
def test_an_interrupted_benchmark_continues(tmp_path):
  data = corpora.write_jsonl(tmp_path / "eval.jsonl", CLIPS)
  out = tmp_path / "out"
  command = [sys.executable, str(SCRIPT), data, "--out", str(out), "--language", "en"]
  with asr_server.serve() as server:
    server.texts = corpora.texts(CLIPS)
    held = len(corpora.record(4).audio)
    server.faults[held] = [asr_server.HANG]
    command += ["--server", server.url, "--concurrency", "2"]
    environment = os.environ | {"OPENAI_API_KEY": "secret"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    while len(server.asked) < CLIPS - 1:  # the rest is done, and one clip hangs
      assert process.poll() is None, process.stderr.read()
      time.sleep(0.01)
    while len(read_hypotheses(out)) < CLIPS - 1:
      assert process.poll() is None, process.stderr.read()
      time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"interrupted; the answers are in {out}, the same command continues" in printed
    assert len(read_hypotheses(out)) == CLIPS - 1
    server.asked.clear()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [len(each.samples) for each in server.asked] == [held]
    assert server.asked[0].headers["Authorization"] == "Bearer secret"
  assert "RTFx" in done.stdout and "0.00%" in done.stdout
  figures = json.loads((out / "report.json").read_text())
  assert (figures["wer"], figures["speed"]["clips"]) == (0.0, CLIPS)
  assert "secret" not in "".join(path.read_text() for path in out.glob("*.*"))
