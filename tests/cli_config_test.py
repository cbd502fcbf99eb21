"""The command `maxtext-ext config`."""

import json
import subprocess
import sys

import pytest

from maxtext_ext.cli import main

LORA = "configs/experiments/hebrew_lora.yml"


def run(capsys, *arguments: str) -> str:
  with pytest.raises(SystemExit) as ended:
    main(["config", *arguments])
  assert not ended.value.code
  return capsys.readouterr().out


def test_keys_are_printed_in_80_columns(capsys, monkeypatch):
  monkeypatch.setenv("COLUMNS", "80")
  lines = [line.rstrip() for line in run(capsys, LORA, "lora_rank=4").splitlines()]
  assert max(map(len, lines)) <= 80
  at = lines.index("LoRA")
  assert lines[at + 1].split() == ["lora_rank:", "4", "the", "command", "line"]
  assert lines[at + 2].strip() == "Rank of the adapters; 0: train every weight."
  assert not any(line.strip().startswith("steps:") for line in lines)
  assert "  steps: 1000" in run(capsys, "configs/speech.yml", "--all")


def test_a_value_cannot_steer_the_terminal(capsys):
  out = run(capsys, "configs/speech.yml", "context=\x1b[2Jשלום\nsecond line")
  assert r"context: \x1b[2Jשלום\nsecond line " in out


def test_json_and_markdown(capsys):
  rows = json.loads(run(capsys, LORA, "lora_rank=4", "--json"))
  (rank,) = [row for row in rows if row["key"] == "lora_rank"]
  assert (rank["group"], rank["value"], rank["origin"]) == ("LoRA", 4, "the command line")
  assert run(capsys, "--markdown").startswith("# Configuration keys\n")


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ((LORA, "lora_rnak=4"), "unknown key lora_rnak; did you mean lora_rank?"),
    ((LORA, "steps=1", "steps=2"), "give steps once"),
    ((LORA, "--markdown"), "--markdown prints defaults"),
  ],
)
def test_mistakes_are_one_line(arguments, message, capsys):
  with pytest.raises(SystemExit) as ended:
    main(["config", *arguments])
  assert ended.value.code == 2
  assert message in capsys.readouterr().err


def test_neither_jax_nor_numpy_is_imported():
  script = (
    "import sys\n"
    "from maxtext_ext.cli import app\n"
    f"app(['config', {LORA!r}, '--all'], standalone_mode=False)\n"
    "print([name for name in ('jax', 'numpy', 'maxtext', 'grain') if name in sys.modules])"
  )
  finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
  assert finished.stdout.splitlines()[-1] == "[]", finished.stderr
