import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from safetensors.numpy import load_file, save_file

from benchmarks.parity.references import qwen3_asr_files
from maxtext_ext.audio.limits import SAMPLE_RATE
from maxtext_ext.cli import main
from maxtext_ext.compat import dispatch
from maxtext_ext.demo import demo as demo_run
from maxtext_ext.records.reader import RecordSource, find_shards
from maxtext_ext.text.normalize import NORMALIZERS

HEAVY = ("jax", "flax", "maxtext", "transformers", "numpy", "grain", "omegaconf", "tensorflow")


def run(capsys, *args):
  """Exit status, standard output and standard error of `maxtext-ext ARGS`."""
  with pytest.raises(SystemExit) as exited:
    main(list(args))
  captured = capsys.readouterr()
  return exited.value.code or 0, captured.out, captured.err


@pytest.mark.parametrize(
  "args",
  [
    [],
    ["--help"],
    ["--version"],
    ["train", "--help"],
    ["data", "convert", "--help"],
    ["convert", "check", "--help"],
    ["transcribe", "--help"],
    ["nonsense"],
  ],
)
def test_answers_without_a_heavy_import(args):
  script = (
    "import sys\n"
    "from maxtext_ext.cli import main\n"
    "try:\n"
    "  main(sys.argv[1:])\n"
    "except SystemExit:\n"
    "  pass\n"
    f"print('heavy:', [name for name in {HEAVY!r} if name in sys.modules])"
  )
  finished = subprocess.run(
    [sys.executable, "-c", script, *args], capture_output=True, text=True, check=True
  )
  assert finished.stdout.splitlines()[-1] == "heavy: []"


def test_the_shell_completes_commands_and_keys():
  for words, offered in {
    "maxtext-ext tra": ["train", "transcribe"],
    "maxtext-ext train configs/experiments/demo.yml steps=3 lora_r": ["lora_rank=", "lora_rank=0"],
  }.items():
    variables = {"_MAXTEXT_EXT_COMPLETE": "complete_bash", "COMP_WORDS": words}
    variables["COMP_CWORD"] = str(len(words.split()) - 1)
    script = "from maxtext_ext.cli import main; main([])"
    finished = subprocess.run(
      [sys.executable, "-c", script],
      env={**os.environ, **variables},
      capture_output=True,
      text=True,
      check=True,
    )
    assert finished.stdout.split() == offered


def test_help_lists_the_commands(capsys):
  status, out, _ = run(capsys)
  assert status == 0
  for command in ("train", "decode", "transcribe", "evaluate", "data", "convert", "demo", "doctor"):
    assert command in out


def test_help_names_the_normalizers(capsys):
  _, out, _ = run(capsys, "evaluate", "--help")
  words = re.split(r"[\s│,.;]+", out)
  assert set(NORMALIZERS) <= set(words)


@pytest.mark.parametrize(
  ("args", "said"),
  [
    (["nonsense"], "nonsense"),
    (["train"], "CONFIG"),
    (["train", "steps=5"], ".yml"),
    (["train", "missing.yml"], "missing.yml"),
    (["decode", "configs/experiments/demo.yml", "--steps"], "--steps"),
    (["decode", "configs/experiments/demo.yml", "no_such_key=1"], "no_such_key"),
    (["evaluate", "missing/folder"], "missing/folder"),
    (["evaluate", "missing", "--protocol", "board"], "board"),
    (["evaluate", "missing", "--alignment", "x"], "alignment"),
    (["data"], "command"),
    (["data", "convert", "in"], "out"),
    (["data", "convert", "in", "out", "--from", "csv"], "csv"),
    (["data", "convert", "missing.jsonl", "out"], "missing.jsonl"),
    (["convert"], "command"),
    (["convert", "to-maxtext", "./missing", "out"], "./missing: no such folder"),
    (["convert", "to-maxtext", "missing", "out", "--dtype", "int8"], "int8"),
    (["convert", "to-hf", "missing", "out"], "no checkpoint there"),
    (["convert", "check", "missing"], "reference"),
    (["convert", "check", "missing", "missing.npz"], "missing: no such folder"),
    (["transcribe", "missing", "a.wav"], "missing: no such folder"),
    (["demo", "--date", "my.jsonl"], "--date"),
  ],
)
def test_a_mistake_is_one_line(capsys, args, said):
  status, out, err = run(capsys, *args)
  assert status == 2
  assert out == ""
  assert err.startswith("error: ")
  assert err.count("\n") == 1
  assert said in err


def test_the_traceback_is_shown_on_request(monkeypatch):
  monkeypatch.setenv("MAXTEXT_EXT_TRACEBACK", "1")
  with pytest.raises(ValueError, match="missing"):
    main(["evaluate", "missing"])


def test_ctrl_c_exits_with_130(capsys, monkeypatch):
  def interrupted(_):
    raise KeyboardInterrupt

  monkeypatch.setattr(dispatch, "train", interrupted)
  assert run(capsys, "train", "any.yml")[0] == 130


def test_a_fault_of_the_program_keeps_its_traceback(monkeypatch):
  def broken(_):
    raise RuntimeError("fault")

  monkeypatch.setattr(dispatch, "train", broken)
  with pytest.raises(RuntimeError, match="fault"):
    main(["train", "any.yml"])


@pytest.mark.parametrize("command", ["train", "decode"])
def test_keys_are_passed_on(capsys, monkeypatch, command):
  calls = []
  monkeypatch.setattr(dispatch, command, calls.append)
  assert run(capsys, command, "a.yml", "steps=5", "run_name=x y")[0] == 0
  assert calls == [[f"maxtext-ext {command}", "a.yml", "steps=5", "run_name=x y"]]


@pytest.mark.parametrize(
  ("args", "call"),
  [
    ([], ("", None, "qwen3_asr")),
    (["--data", "my.jsonl", "--out", "elsewhere"], ("elsewhere", "my.jsonl", "qwen3_asr")),
    (["--model", "lmu"], ("", None, "lmu")),
  ],
)
def test_demo_is_called(capsys, monkeypatch, args, call):
  calls = []
  monkeypatch.setattr(demo_run, "main", lambda *given, model: calls.append((*given, model)))
  assert run(capsys, "demo", *args)[0] == 0
  assert calls == [call]


def write_lines(path, lines):
  path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def test_data_convert_accounts_for_every_record(capsys, tmp_path):
  tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(SAMPLE_RATE) / SAMPLE_RATE)
  soundfile.write(tmp_path / "good.wav", tone, SAMPLE_RATE)
  soundfile.write(tmp_path / "silent.wav", np.zeros(SAMPLE_RATE), SAMPLE_RATE)
  source, out = tmp_path / "clips.jsonl", tmp_path / "out"
  write_lines(
    source,
    [{"audio": "good.wav", "text": "a tone"}, {"audio": "silent.wav", "text": "nothing"}],
  )

  args = ["data", "convert", str(source), str(out), "--split", "dev", "--audio", "pcm16"]
  status, printed, err = run(capsys, *args)
  assert (status, printed) == (2, f"{source}: reading clips.jsonl as jsonl\n")
  assert "silent" in err.splitlines()[0]
  assert "1 of 2 records are bad (50.0%), over max_bad_fraction=0.01" in err.splitlines()[-1]

  status, printed, err = run(capsys, *args, "--max-bad-fraction", "0.5")

  assert (status, printed.splitlines()[-1]) == (0, "read 2 = written 1 + quarantined 1")
  assert "silent" in err
  assert len(RecordSource(find_shards(str(out), "dev"))) == 1


def test_data_convert_fails_when_nothing_can_be_used(capsys, tmp_path):
  source = tmp_path / "clips.jsonl"
  write_lines(source, [{"audio": "absent.wav", "text": "a"}])
  args = ["data", "convert", str(source), str(tmp_path / "out"), "--max-bad-fraction", "1"]
  status, printed, err = run(capsys, *args)
  assert (status, printed.splitlines()[-1]) == (2, "read 1 = written 0 + quarantined 1")
  assert "quarantine.jsonl" in err.splitlines()[-1]


def test_evaluate_writes_the_report(capsys, tmp_path):
  decoded, report = tmp_path / "decoded.jsonl", tmp_path / "report.html"
  line = {"id": "1", "dataset": "d", "language": "English", "duration": 1.0}
  write_lines(decoded, [line | {"reference": "one two", "hypothesis": "one too"}])
  status, printed, _ = run(capsys, "evaluate", str(decoded), "--report", str(report))
  assert status == 0
  assert "50.0" in printed
  assert report.read_text(encoding="utf-8").lstrip().lower().startswith("<!doctype html>")


def test_evaluate_takes_several_places_and_fields(capsys, tmp_path):
  paths = []
  for name in ("dev", "test"):
    paths.append(str(tmp_path / f"{name}.jsonl"))
    line = {"id": "1", "reference": "one two", "hypothesis": "one too", "noise": "car"}
    write_lines(tmp_path / f"{name}.jsonl", [line])
  options = ["--by", "noise", "--alignment", "sclite", "--block", "noise", "--resamples", "50"]
  status, printed, _ = run(capsys, "evaluate", *paths, *options, "--seed", "2")
  assert status == 0
  assert "car" in printed
  assert "2 blocks by noise, each within one of 2 datasets, 50" in " ".join(printed.split())


def test_checkpoints_are_converted_there_and_back(capsys, tmp_path):
  tensors = qwen3_asr_files.write(tmp_path / "hf", "original", head="stored", dtype="bfloat16")
  source, out, back = (str(tmp_path / name) for name in ("hf", "out", "back"))
  status, said, err = run(
    capsys, "convert", "to-maxtext", source, out, "--dtype", "float32", "--no-scan-layers"
  )
  assert (status, err) == (0, "")
  assert (
    said == f"{out}: qwen3_asr, original names, 70 tensors, 0.00 GB, output head tied, stored\n"
  )
  status, said, _ = run(capsys, "convert", "to-hf", out, back, "--names", "native")
  assert status == 0
  assert "native names, 70 tensors" in said
  found = load_file(tmp_path / "back" / "model.safetensors")
  assert all(
    found[qwen3_asr_files.native_name(k)].tobytes() == v.tobytes() for k, v in tensors.items()
  )


def test_tensors_that_do_not_fit_are_listed_line_by_line(capsys, tmp_path):
  tensors = qwen3_asr_files.write(tmp_path / "hf", "original")
  tensors["one.more"] = tensors.pop("thinker.model.norm.weight")
  save_file(tensors, tmp_path / "hf" / "model.safetensors")
  status, _, err = run(capsys, "convert", "to-maxtext", str(tmp_path / "hf"), str(tmp_path / "out"))
  assert status == 2
  assert err.splitlines()[:2] == [
    "  unknown: one.more [48]",
    "  missing: thinker.model.norm.weight [48]",
  ]
  assert err.splitlines()[2].startswith("error: ")
  assert "2 tensors" in err.splitlines()[2]
