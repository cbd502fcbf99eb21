"""A model of its own is one file, one line in MODELS and one yml; nothing else changes."""

import pathlib

import numpy as np
import pytest

from maxtext_ext import Transcriber
from maxtext_ext.audio.limits import SAMPLE_RATE
from maxtext_ext.decode import decode
from maxtext_ext.evaluate.evaluate import evaluate
from maxtext_ext.evaluate.hypotheses import read_hypotheses
from maxtext_ext.files.jsonl import METRICS_FILE, read_metrics
from maxtext_ext.models.encoders import ENCODERS
from maxtext_ext.models.make import MODELS
from maxtext_ext.planning.compile_step import load_for
from maxtext_ext.planning.model_flops import model_flops
from maxtext_ext.planning.topology import parse_topology
from maxtext_ext.records.schema import Record
from maxtext_ext.text.alphabet import Alphabet
from maxtext_ext.train.loop import main
from tests import tiny
from tests.families.toy_ctc import ToyCTC
from tests.families.toy_encoder import ToyEncoder
from tests.train.loop_test import assert_same_weights, losses, weights
from tests.train.steps import Steps

TOY = (
  "speech_model=toy_ctc",
  "speech_encoder=toy",
  "encoder={width: 24, num_mel_bins: 40}",
  "vocab_size=8",
)

YML = """
base_config: configs/experiments/demo.yml
speech_model: toy_ctc
speech_encoder: toy
encoder: {width: 24, num_mel_bins: 40}
template: letters
vocab_size: 5
curriculum: []
"""
LETTERS = " abc"  # each a tone of its own


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
  monkeypatch.setitem(ENCODERS, "toy", ToyEncoder)
  monkeypatch.setitem(MODELS, "toy_ctc", ToyCTC)


def noise(letters: list[list[int]], frames: list[int]) -> dict[str, np.ndarray]:
  """Rows of one window, in each a clip of so many frames of noise with these letters."""
  rng = np.random.default_rng(0)
  rows, longest = len(letters), max(map(len, letters))
  chunk_frames = np.clip(np.asarray(frames)[:, None] - 50 * np.arange(6), 0, 50)[:, None]
  targets = np.zeros((2, rows, longest), np.int32)
  for row, ids in enumerate(letters):
    targets[:, row, : len(ids)] = ids, np.ones(len(ids))
  return {
    "samples": rng.normal(0, 0.1, (rows, 1, 6, 8_240)).astype(np.float32),
    "chunk_frames": chunk_frames.astype(np.int32),
    "chunk_segment": (chunk_frames > 0).astype(np.int32),
    "targets": targets[0],
    "targets_segmentation": targets[1],
  }


def test_it_learns_and_leaves_out_clips_that_are_too_short_for_their_letters():
  steps = Steps(*TOY, "learning_rate=0.05", "train_parts={encoder: 0.01, head: 0.05}")
  # The last clip gives 2 tokens, and its letters need 3: a blank stands between equal ones.
  batch = noise([[3, 1, 2], [5, 5], [4, 4]], [300, 120, 20])
  first = steps.step(batch)
  assert (first["target_tokens"], first["impossible_clips"]) == (5, 1)
  alone = {key: value[:2] for key, value in batch.items()}
  assert steps.loss(batch) == pytest.approx(steps.loss(alone), rel=1e-6)
  for _ in range(20):
    last = steps.step(batch)
  assert last["updates"] == 21
  assert last["loss"] < 0.7 * first["loss"]


def test_a_plan_is_of_the_longest_clips_and_counts_no_decoder():
  keys = [*TOY, "max_seconds=10", "per_device_batch_seconds=40", "curriculum=[]"]
  config = load_for(tiny.DEMO, keys, parse_topology("gpu:80GB"))
  assert (config.windows_per_row, config.per_device_batch_size) == (4, 3), "rows of 4 x 3 s"
  assert (config.num_decoder_layers, config.emb_dim) == (0, 24)
  window = 2 * 30 * 40 * 24
  head = 2 * 30 * 24 * 8
  assert model_flops(config) == pytest.approx(0.95 * 3 * 4 * 3 * (window + head))
  rows = load_for(tiny.DEMO, [*keys, "per_device_batch_size=7"], parse_topology("gpu:80GB"))
  assert rows.per_device_batch_size == 7


def tones(text: str) -> np.ndarray:
  """A clip that says a text: 0.2 s of a tone for each letter, 0.1 s of silence behind it."""
  time = np.arange(SAMPLE_RATE // 5) / SAMPLE_RATE
  silence = np.zeros(SAMPLE_RATE // 10)
  hertz = [400 * 2 ** LETTERS.index(letter) for letter in text]
  sound = [part for f in hertz for part in (0.3 * np.sin(2 * np.pi * f * time), silence)]
  return np.concatenate(sound).astype(np.float32)


def clips(count: int, seed: int) -> list[Record]:
  """Clips of one to three words of up to four letters; 0.3 to 4.2 s."""
  rng = np.random.default_rng(seed)
  made = []
  for number in range(count):
    words = [
      "".join(rng.choice(list("abc"), rng.integers(1, 5))) for _ in range(rng.integers(1, 4))
    ]
    text = " ".join(words)
    made.append(Record(sample_id=f"clip{seed}-{number:03d}", audio=tones(text), text=text))
  return made


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
  """The yml and `key=value` strings of a run with data."""
  folder = tmp_path_factory.mktemp("ctc")
  (folder / "toy.yml").write_text(YML)
  tiny.write_split(folder / "data", "train", clips(64, seed=0))
  tiny.write_split(folder / "data", "validation", clips(6, seed=1), shards=1)
  tiny.write_split(folder / "data", "test", clips(6, seed=2), shards=1)
  Alphabet(LETTERS).write(folder / "alphabet")
  return [
    str(folder / "toy.yml"),
    *(f"data_dir={folder / 'data'}", f"tokenizer_path={folder / 'alphabet'}"),
    *(f"base_output_directory={folder / 'runs'}", f"jax_cache_dir={folder / 'programs'}"),
    *("max_target_length=64", "per_device_batch_size=8", "max_seconds=6"),
    *("steps=20", "checkpoint_period=10", "learning_rate=0.05", "eval_interval=10"),
  ]


@pytest.mark.integration_test
def test_a_toy_ctc_model_trains_resumes_decodes_and_is_scored(keys: list[str]):
  yml, *keys = keys
  whole = main(yml, [*keys, "run_name=whole"])
  half = ["run_name=cut", "steps=10", "learning_rate_schedule_steps=20"]
  main(yml, tiny.last_wins([*keys, *half]))
  resumed = main(yml, [*keys, "run_name=cut"])
  assert losses(resumed.run_dir) == losses(whole.run_dir)
  assert_same_weights(weights(resumed.run_dir, 20), weights(whole.run_dir, 20))
  metrics = pathlib.Path(whole.run_dir, METRICS_FILE)
  assert len(read_metrics(metrics, "token_fill")) == 20
  wers = read_metrics(metrics, "eval_wer")
  assert [step for step, _ in wers] == [10, 20]

  decoded = decode.main(yml, [*keys, "run_name=whole"])
  assert (decoded.clips, decoded.cut) == (6, 0)
  assert evaluate(decoded.output).overall.words.rate < 0.2
  output = f"output={pathlib.Path(whole.run_dir, 'searched')}"
  searched = decode.main(yml, [*keys, "run_name=whole", "beams=8", "hotwords=[cab, a]", output])
  assert evaluate(searched.output).overall.words.rate < 0.2
  for line in read_hypotheses(searched.output):
    times = [at for word in line.extra["words"] for at in (word["start"], word["end"])]
    assert times == sorted(times) and line.duration >= times[-1]

  transcriber = Transcriber.from_pretrained(whole.run_dir)
  said = transcriber.transcribe([tones("cab a"), tones("b")])
  assert [clip.text for clip in said] == ["cab a", "b"]


@pytest.mark.integration_test
def test_frozen_parts_are_saved_too(keys: list[str]):
  yml, *keys = keys
  short = ["run_name=frozen", "train_parts={head: 0.05}", "checkpoint_period=1", "eval_interval=-1"]
  frozen = tiny.last_wins([*keys, *short, "learning_rate_schedule_steps=2"])
  run = main(yml, tiny.last_wins([*frozen, "steps=1"]))
  main(yml, tiny.last_wins([*frozen, "steps=2"]))
  first, second = weights(run.run_dir, 1), weights(run.run_dir, 2)
  changed = {path for path in first if not np.array_equal(first[path], second[path])}
  parameters = {path for path in first if path.startswith("/params")}
  assert any("speech_encoder" in path for path in parameters - changed)
  assert any("head" in path for path in parameters & changed)
  assert decode.main(yml, tiny.last_wins([*frozen, "steps=2"])).clips == 6
