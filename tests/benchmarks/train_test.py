import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tokenizers

from benchmarks.speech_like import make_clips
from benchmarks.train_data import LANGUAGE, SHAPES, write_clips, write_shape, write_tokenizer
from maxtext_ext.checkpoint.qwen3_asr_config import model_keys
from maxtext_ext.text.special_tokens import AUDIO_PAD, IM_END
from maxtext_ext.text.templates.qwen3_asr import build_prompt, build_target
from tests import tiny

ROOT = Path(__file__).parents[2]
# Answers as peer_torch_train.py, by the same tokenizer and without a model.
FAKE_PEER = f"""#!{sys.executable}
import json, pathlib, sys
import tokenizers
folder, batch = pathlib.Path(sys.argv[2]), int(sys.argv[sys.argv.index("--batch") + 1])
tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
lines = [json.loads(line) for line in (folder / "clips.jsonl").read_text().splitlines()]
print(json.dumps({{"parameters": 1, "versions": "none"}}), flush=True)
step = 0
for _ in sys.stdin:
  texts = [line["text"] + "{IM_END}" for line in lines[step * batch : (step + 1) * batch]]
  answers = sum(len(tokenizer.encode(text).ids) for text in texts)
  step += 1
  print(json.dumps({{
    "seconds": 2.0, "cpu_seconds": 4.0, "input_wait_seconds": 1.0, "audio_seconds": 3.0,
    "answer_tokens": answers + WRONG, "token_fill": 0.5, "loss": 1.0,
  }}), flush=True)
"""
SMALL = (
  *tiny.SHAPE,
  "num_mel_bins_for_audio=128",
  "vocab_size=512",
  "base_num_decoder_layers=1",
  "encoder_layers_for_audio=1",
  "encoder_attention_heads_for_audio=4",
  "per_device_batch_size=1",
)


def run(folder: Path, *, wrong: int) -> subprocess.CompletedProcess:
  python = folder / "python"
  python.write_text(FAKE_PEER.replace("WRONG", str(wrong)), "utf-8")
  python.chmod(0o755)
  return subprocess.run(
    [
      *(sys.executable, "-m", "benchmarks.train", "--peer-python", str(python)),
      *("--batch", "2", *SMALL),
    ],
    cwd=ROOT,
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    capture_output=True,
    text=True,
    timeout=1800,
  )


@pytest.mark.slow
@pytest.mark.integration_test
def test_ends_with_its_figures_as_json(tmp_path):
  done = run(tmp_path, wrong=0)
  assert done.returncode == 0, done.stderr
  figures = json.loads(done.stdout.splitlines()[-1])
  assert figures["name"] == "train_60m_cpu"
  assert (figures["peer"], figures["peer_without_input"]) == (1.5, 3.0)
  assert figures["ours"] > 0
  assert figures["ratio"] == pytest.approx(figures["ours"] / 1.5, rel=0.02)
  assert figures["ratio_of_cpu_seconds"] > 0
  assert 0 <= figures["waiting"] < 1


@pytest.mark.integration_test
def test_a_peer_that_learns_something_else_is_refused(tmp_path):
  done = run(tmp_path, wrong=1)
  assert done.returncode and "the peer learns" in done.stderr


def test_both_sides_read_the_same_shape(tmp_path):
  for name in SHAPES:
    keys = write_shape(name, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    read = model_keys(config)
    del keys["checkpoint_family"]  # the peer has none
    assert {key: read.get(key) for key in keys} == keys


@pytest.mark.parametrize("vocab_size", [24_576, 151_936])
def test_one_tokenizer_for_both_sides(tmp_path, vocab_size):
  clips = make_clips(4)
  texts = [clip.text for clip in clips]
  tokenizer = write_tokenizer(tmp_path, texts, vocab_size)
  plain = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
  assert tokenizer.vocab_size <= vocab_size
  prompt = build_prompt(tokenizer)
  assert tokenizer.decode([*prompt.before, *prompt.after]) == "system\n\nuser\n\nassistant\n"
  assert len(prompt.before) + len(prompt.after) < 20
  answers = write_clips(tmp_path, clips, tokenizer)
  lines = (tmp_path / "clips.jsonl").read_text("utf-8").splitlines()
  whole = [plain.encode(json.loads(line)["text"] + IM_END).ids for line in lines]
  assert [len(ids) for ids in whole] == answers
  for clip, ids in zip(clips, whole, strict=True):
    assert ids == build_target(tokenizer, clip.text, language=LANGUAGE, forced=False)
  assert plain.token_to_id(AUDIO_PAD) == tokenizer.audio_pad_id
