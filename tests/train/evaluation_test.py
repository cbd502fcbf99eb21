"""Evaluation in the loop: what it finds is what decoding finds, and training does not notice it."""

import json
import pathlib
import signal

import pytest

from maxtext_ext.config import load
from maxtext_ext.decode import decode as decode_run
from maxtext_ext.evaluate.decoded import read as read_decoded
from maxtext_ext.evaluate.evaluate import evaluate
from maxtext_ext.train import loop
from maxtext_ext.train.signals import StopRequest
from tests import tiny
from tests.train.loop_test import assert_same_weights, losses, weights
from tests.train.processes import launcher, saved_steps, wait_until

SMALL = (
  "per_device_batch_size=1",
  "max_target_length=128",
  "windows_per_row=1",
  "max_seconds=4",
  "base_num_decoder_layers=1",
  "encoder_layers_for_audio=1",
)
LORA = ("lora_rank=2", "lora_dropout=0.3", "enable_dropout=true", "dropout_rate=0.3")
EVALUATED = ("eval_interval=2", "eval_samples=3", "max_new_tokens=12")


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
  """`key=value` strings of a run on one-letter words, of which a model soon has some right."""
  folder = tmp_path_factory.mktemp("run")
  keys = [*tiny.make_run(folder, train=24, test=8, words=("a", "b", "c")), *SMALL, "decode_rows=3"]
  keys += ["learning_rate=0.02", "checkpoint_period=100"]
  return keys


def logged(run_dir: str) -> dict[int, dict[str, float]]:
  """Lines that each evaluation of a run has logged."""
  lines = pathlib.Path(run_dir, "metrics.jsonl").read_text("utf-8").splitlines()
  found = [line for line in map(json.loads, lines) if "eval_wer" in line]
  assert len({line["step"] for line in found}) == len(found), "none is written twice"
  return {line.pop("step"): line for line in found}


def evaluations(run_dir: str) -> dict[int, dict[str, float]]:
  """Results of each evaluation of a run, without what belongs to the process that made them."""
  return {
    step: {key: line[key] for key in ("eval_loss", "eval_wer", "eval_cer")}
    for step, line in logged(run_dir).items()
  }


def samples(run_dir: str) -> list[dict]:
  lines = pathlib.Path(run_dir, "samples.jsonl").read_bytes().splitlines()
  return [json.loads(line) for line in lines]


def saved(run_dir: str) -> set[int]:
  return {int(path.name) for path in pathlib.Path(run_dir, "checkpoints").iterdir()}


def best_of(found: dict[int, dict[str, float]]) -> int:
  return min(found, key=lambda step: (found[step]["eval_wer"], -step))


@pytest.fixture(scope="module")
def args(keys):
  """A run of 7 steps with everything on that is random."""
  return [*keys, *LORA, *EVALUATED, "steps=7", "max_num_checkpoints_to_keep=1"]


@pytest.fixture(scope="module")
def whole(args):
  """The folder of that run."""
  return loop.main(tiny.DEMO, [*args, "run_name=whole"]).run_dir


def test_training_does_not_notice_it(args, whole):
  plain = loop.main(tiny.DEMO, [*args, "eval_interval=-1", "run_name=plain"])
  assert losses(whole) == losses(plain.run_dir)
  assert_same_weights(weights(whole, 7), weights(plain.run_dir, 7))


def test_what_it_found_is_written_down(whole):
  found = evaluations(whole)
  assert list(found) == [2, 4, 6, 7], "and after the last step"
  assert len({line["eval_wer"] for line in found.values()}) > 1, "it says something"
  first, *others = logged(whole).values()
  assert {"eval_loss", "eval_wer", "eval_cer", "eval_transcript_seconds"} == first.keys()
  for line in others:
    assert line.keys() - first.keys() >= {"eval_drafts_accepted"}
    assert 0 <= line["eval_drafts_accepted"] <= 1 and line["eval_transcript_seconds"] > 0
  assert saved(whole) == {best_of(found), 7}
  board = b"".join(path.read_bytes() for path in pathlib.Path(whole, "tensorboard").glob("*"))
  for tag in (b"eval/loss", b"eval/wer", b"eval/cer", b"eval/samples", b"| reference |"):
    assert tag in board
  shown = samples(whole)
  assert [line["step"] for line in shown] == [2] * 3 + [4] * 3 + [6] * 3 + [7] * 3
  assert len({line["id"] for line in shown}) == 3, "the same clips at every step"
  assert {"step", "id", "reference", "hypothesis", "wer"} <= shown[0].keys()


def test_decoding_takes_the_best_and_finds_the_same(args, whole):
  found = evaluations(whole)
  decoded = decode_run.main(tiny.DEMO, [*args, "run_name=whole", "split=validation"])
  scores = evaluate(decoded.output)
  best = found[best_of(found)]
  assert (scores.wer, scores.cer) == (best["eval_wer"], best["eval_cer"])
  source = read_decoded(decoded.output)
  assert source == decoded.source
  assert (source.run, source.split, source.step) == ("whole", "validation", best_of(found))
  assert decoded.cut == scores.overall.cut


class AskedIn(StopRequest):
  """A request to stop that comes in the evaluation after a step, when it was asked for so often."""

  def __init__(self, run_dir: pathlib.Path, step: int, calls: int) -> None:
    super().__init__()
    self.name = "SIGTERM"
    self._run_dir, self._step, self._left = run_dir, step, calls

  def asked(self) -> bool:
    # The loss of a step is written before its evaluation begins, else when the next is under way.
    if (self._run_dir / "metrics.jsonl").exists() and self._step in losses(str(self._run_dir)):
      self._left -= 1
    return self._left < 0


def test_a_run_that_is_cut_in_evaluations_chooses_as_one_that_is_not(args, whole, capsys):
  config = load(tiny.DEMO, [*args, "run_name=cut"])
  folder = pathlib.Path(whole).parent / "cut"
  for step, calls in ((2, 0), (6, 3)):
    result = loop._train(config, AskedIn(folder, step, calls))
    assert (result.steps, result.status) == (step, 143)
    assert step not in evaluations(str(folder)), "it was interrupted"
    assert f"SIGTERM: stopped after step {step} of 7; the same" in capsys.readouterr().err
    # As if it had been killed when its samples were written, and its numbers were not.
    with (folder / "samples.jsonl").open("a") as file:
      file.write(json.dumps({"step": step, "id": "of no evaluation"}) + "\n")
  assert loop.main(tiny.DEMO, [*args, "run_name=cut"]).status == 0
  assert evaluations(str(folder)) == evaluations(whole)
  assert samples(str(folder)) == samples(whole)
  assert losses(str(folder)) == losses(whole)
  assert_same_weights(weights(str(folder), 7), weights(whole, 7))
  assert saved(str(folder)) == saved(whole)


def test_a_run_ends_when_nothing_gets_better_and_says_so_when_it_is_started_again(keys, capsys):
  args = [*keys, *EVALUATED, "learning_rate=0", "run_name=early", "steps=40", "eval_interval=1"]
  for _ in range(2):
    ended = loop.main(tiny.DEMO, [*args, "early_stopping_patience=2"])
    assert ended.steps == 3 and list(losses(ended.run_dir)) == [1, 2, 3]
    assert saved(ended.run_dir) == {1, 2, 3}, "the newest of equals is the best"
    said = capsys.readouterr().err
    assert "stopped after step 3 of 40: in 2 evaluations no better word error rate than" in said
    assert "%; to continue, give an early_stopping_patience above 2, or 0" in said


@pytest.mark.cpu_only
@pytest.mark.integration_test
@pytest.mark.slow
def test_a_run_that_is_killed_while_its_best_is_saved_chooses_the_same(args, whole):
  folder = pathlib.Path(whole).parent / "killed"
  with launcher(folder.parents[1]) as made:
    for _ in range(2):
      before = max(saved_steps(folder), default=0)
      process = made.start(*args, "run_name=killed")
      wait_until(lambda: any((folder / "checkpoints").glob("*-tmp")), process)
      process.send(signal.SIGKILL)
      assert process.wait() == -signal.SIGKILL
      assert before in (0, *saved_steps(folder)), "what was whole is there"
    process = made.start(*args, "run_name=killed")
    assert process.wait() == 0, process.errors
  assert evaluations(str(folder)) == evaluations(whole)
  assert samples(str(folder)) == samples(whole)
  assert saved(str(folder)) == saved(whole)


@pytest.mark.cpu_only
@pytest.mark.integration_test
@pytest.mark.slow
def test_two_processes_find_what_one_does(keys, tmp_path):
  # Nothing is learned, for the batches of one process and of two have other clips.
  args = [*keys, *EVALUATED, "steps=1", "eval_interval=1", "learning_rate=0"]
  args += [f"base_output_directory={tmp_path}", "enable_checkpointing=false"]
  found, shown = [], []
  with launcher(tmp_path) as made:
    for processes in (1, 2):
      name = f"run_name=of-{processes}"
      for process in made.start_all(processes, *args, name, devices=2 // processes):
        assert process.wait() == 0, process.errors
      run_dir = str(tmp_path / f"of-{processes}")
      found.append(evaluations(run_dir)[1])
      shown.append(samples(run_dir))
  assert shown[0] == shown[1] and len(shown[0]) == 3
  assert found[0].pop("eval_loss") == pytest.approx(found[1].pop("eval_loss"), rel=1e-6)
  assert found[0] == found[1]
