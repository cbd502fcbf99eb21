"""The CTC engine on a model of two lines, against the most probable paths and texts."""

import itertools
import threading
from collections import defaultdict

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from maxtext_ext import bridge
from maxtext_ext.config import load
from maxtext_ext.decode import ctc, ctc_search
from maxtext_ext.decode.ctc import CTCEngine, spell
from maxtext_ext.decode.request import Request
from maxtext_ext.input.collate import make_decode_batch
from maxtext_ext.input.utterance import Utterance, build_utterance
from maxtext_ext.models.encoders.qwen3_audio import GEOMETRY
from maxtext_ext.records.schema import Record
from maxtext_ext.text.alphabet import Alphabet
from tests import tiny

ALPHABET = Alphabet("ab c")
FEATURES = slice(500, 503)  # of the samples of a chunk


class Listener(nnx.Module):
  """Turns three samples of each chunk into logits by a matrix, as a stand-in for a CTC model."""

  def __init__(self) -> None:
    self.kernel = nnx.Param(jnp.zeros((3, ALPHABET.vocab_size + 2)))
    self.state = nnx.Variable(jnp.zeros(1))  # of a kind that is no weight

  def emissions(self, batch):
    samples_BWCS, is_real_BWC = batch["samples"], batch["chunk_segment"] > 0
    features_BFD = samples_BWCS[..., FEATURES].reshape(len(samples_BWCS), -1, 3)
    return features_BFD @ self.kernel[...], jnp.sum(is_real_BWC, axis=(1, 2))


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> CTCEngine:
  monkeypatch.setattr(ctc, "make_model", lambda config, mesh: Listener())
  keys = ["template=letters", "vocab_size=16", "audio_dtype=float32", "decode_rows=4"]
  config = load(tiny.DEMO, keys)
  return CTCEngine(config, bridge.make_mesh(config), ALPHABET)


def most_probable_path(logits_FV: np.ndarray) -> tuple[int, ...]:
  """The path of the largest probability among all of them."""
  frames, symbols = logits_FV.shape
  paths = itertools.product(range(symbols), repeat=frames)
  return max(paths, key=lambda path: logits_FV[range(frames), path].sum())


def clips_of_noise(chunks: list[int]) -> list[Utterance]:
  """Clips of so many chunks."""
  rng = np.random.default_rng(0)
  made = []
  for number, count in enumerate(chunks):
    samples = rng.normal(size=count * GEOMETRY.chunk_hop).astype(np.float32)
    speaker = "s1" if number % 2 else None
    record = Record(
      sample_id=str(number), audio=samples, text="ab", language="English", speaker=speaker
    )
    keys = {"geometry": GEOMETRY, "template": "letters", "with_target": False}
    made.append(build_utterance(record, ALPHABET, **keys))
  return made


def expected_text(clip: Utterance, kernel_DV: np.ndarray) -> str:
  samples = make_decode_batch([clip], pad_id=0).arrays["samples"]
  features_FD = samples.reshape(-1, samples.shape[-1])[: clip.chunks, FEATURES]
  path = most_probable_path((features_FD @ kernel_DV)[:, : ALPHABET.vocab_size])
  labels = [label for label, _ in itertools.groupby(path) if label]
  return "".join(ALPHABET.characters[label - 1] for label in labels).strip()


def test_answers_are_those_of_the_most_probable_paths(engine: CTCEngine):
  rng = np.random.default_rng(0)
  kernel_DV = rng.normal(size=(3, ALPHABET.vocab_size + 2)).astype(np.float32)
  kernel_DV[:, ALPHABET.vocab_size :] *= 100  # outputs that stand for nothing are never chosen
  params = nnx.State({"kernel": nnx.Param(jnp.asarray(kernel_DV))})
  clips = clips_of_noise([5, 1, 4, 3, 4, 2, 5, 4, 3])  # more than are decoded together
  answers = {answer.clip.id: answer for answer in engine.run(params, map(Request, clips))}
  assert len({answer.text for answer in answers.values()}) > 5
  assert {id_: answer.text for id_, answer in answers.items()} == {
    clip.sample_id: expected_text(clip, kernel_DV) for clip in clips
  }
  assert all(answer.complete and answer.language is None for answer in answers.values())
  line = answers["1"].hypothesis()
  assert (line.id, line.reference, line.extra["speaker"]) == ("1", "ab", "s1")
  for answer in answers.values():
    extra = answer.hypothesis().extra
    assert extra["finish_reason"] == ("stop" if answer.text else "no_speech")
    assert [word["word"] for word in extra["words"]] == answer.text.split()
    check_words(extra["words"], answer.clip.seconds)


def check_words(words: list[dict], seconds: float) -> None:
  """Words are one after the other in the clip, with probabilities."""
  edges = [0.0, *(word[edge] for word in words for edge in ("start", "end")), round(seconds, 3)]
  assert edges == sorted(edges)
  assert all(word["start"] < word["end"] and 0 < word["confidence"] <= 1 for word in words)


def test_times_and_confidences_are_those_of_the_frames():
  path_F = np.array([0, 1, 1, 0, 1, 3, 2, 2])
  log_prob_F = np.log(np.array([0.9, 0.5, 0.25, 0.9, 0.8, 0.7, 0.5, 0.6]))
  written = spell(path_F, log_prob_F, lambda frame: (0.1 * frame, 0.1 * frame + 0.1), 0.75)
  assert written.tokens == [1, 1, 3, 2]
  assert np.exp(written.log_probs) == pytest.approx([0.5, 0.8, 0.7, 0.6])
  expected = [(0.1, 0.3), (0.4, 0.5), (0.5, 0.6), (0.6, 0.75)]
  assert np.array(written.times) == pytest.approx(np.array(expected))


def test_beams_find_the_most_probable_texts_whatever_is_decoded_with_a_clip(
  engine: CTCEngine, monkeypatch: pytest.MonkeyPatch
):
  monkeypatch.setattr(ctc_search, "_QUICK", ctc_search._THOROUGH)
  rng = np.random.default_rng(1)
  kernel_DV = rng.normal(size=(3, ALPHABET.vocab_size + 2)).astype(np.float32)
  params = nnx.State({"kernel": nnx.Param(jnp.asarray(kernel_DV))})
  clips = clips_of_noise([5, 1, 4, 3, 4, 2, 5, 4, 3])
  config = bridge.replace(engine._config, beams=100)
  searching = CTCEngine(config, engine._mesh, ALPHABET)
  together = list(searching.run(params, map(Request, clips)))
  assert len({answer.clip.id for answer in together}) == len(together) == len(clips)
  greedy = {answer.clip.id: answer.text for answer in engine.run(params, map(Request, clips))}
  texts = {answer.clip.id: answer.text for answer in together}
  assert texts == {clip.sample_id: most_probable_text(clip, kernel_DV) for clip in clips}
  assert texts != greedy
  for answer in together:
    (alone,) = searching.run(params, [Request(clips[int(answer.clip.id)])])
    assert alone == answer
    assert alone.complete and len(alone.written.log_probs) == len(alone.written.tokens)
    check_words(alone.hypothesis().extra["words"], alone.clip.seconds)


def most_probable_text(clip: Utterance, kernel_DV: np.ndarray) -> str:
  """The text of which all paths together are the most probable."""
  samples = make_decode_batch([clip], pad_id=0).arrays["samples"]
  features_FD = samples.reshape(-1, samples.shape[-1])[: clip.chunks, FEATURES]
  logits_FV = (features_FD @ kernel_DV)[:, : ALPHABET.vocab_size]
  probs_FV = np.exp(logits_FV) / np.exp(logits_FV).sum(axis=1, keepdims=True)
  found = defaultdict[str, float](float)
  for path in itertools.product(range(ALPHABET.vocab_size), repeat=len(probs_FV)):
    labels = [label for label, _ in itertools.groupby(path) if label]
    text = " ".join(ALPHABET.decode(labels).split())
    found[text] += float(probs_FV[range(len(path)), path].prod())
  return max(found, key=lambda text: found[text])


def test_clips_of_other_lengths_have_batches_of_their_own(engine: CTCEngine):
  params = nnx.State({"kernel": nnx.Param(jnp.ones((3, ALPHABET.vocab_size + 2)))})
  rounds = []
  clips = map(Request, clips_of_noise([1, 9, 2, 20]))
  answers = engine.run(params, clips, each_round=lambda: rounds.append(1))
  assert {answer.clip.id for answer in answers} == {"0", "1", "2", "3"}
  assert len(rounds) == 4, "three lengths, and the end"


@pytest.mark.parametrize("beams", [1, 4])
def test_logits_that_are_not_finite_harm_nothing_else(engine: CTCEngine, beams: int):
  kernel_DV = np.zeros((3, ALPHABET.vocab_size + 2), np.float32)
  kernel_DV[:, 2] = np.nan
  params = nnx.State({"kernel": nnx.Param(jnp.asarray(kernel_DV))})
  searching = CTCEngine(bridge.replace(engine._config, beams=beams), engine._mesh, ALPHABET)
  (answer,) = searching.run(params, map(Request, clips_of_noise([4])))
  assert np.isfinite(answer.written.log_probs).all()


def test_frames_that_say_nothing_have_no_words():
  written = spell(np.zeros(0, int), np.zeros(0), lambda frame: (0.0, 0.0), 1.0)
  assert (written.tokens, written.times, written.finish_reason) == ([], (), "stop")


def test_controls_are_refused(engine: CTCEngine):
  (clip,) = clips_of_noise([2])
  for control in ({"max_new_tokens": 9}, {"temperature": 0.5}, {"repetition_penalty": 1.1}):
    with pytest.raises(ValueError, match=f"0: .* cannot honour {next(iter(control))}; leave it"):
      next(engine.run(None, [Request(clip, **control)]))


@pytest.mark.parametrize(
  ("keys", "message"),
  [
    ({"temperature": 0.5}, "temperature=0.5: decoding of this model cannot honour it"),
    ({"length_penalty": 2.0}, "length_penalty=2.0: decoding of this model cannot honour it"),
    ({"lm_path": "a.arpa"}, "lm_path: only beam search uses them, .*; give beams=16, or leave"),
    ({"lm_path": "a", "hotwords": ["a"]}, "lm_path and hotwords: only beam search"),
    ({"beams": 2, "lm_path": "a"}, "lm_path: a: no such file"),
  ],
)
def test_keys_that_do_not_fit_are_refused(engine: CTCEngine, keys, message: str):
  with pytest.raises(ValueError, match=message):
    CTCEngine(bridge.replace(engine._config, **keys), engine._mesh, ALPHABET)


def test_evaluation_in_training_is_greedy(engine: CTCEngine):
  searching = bridge.replace(engine._config, beams=8, lm_path="a.arpa", hotwords=["a"])
  config = CTCEngine.in_training(searching)
  assert (config.beams, config.lm_path, config.hotwords) == (1, "", [])


def test_a_run_that_is_broken_off_ends_its_threads(engine: CTCEngine):
  params = nnx.State({"kernel": nnx.Param(jnp.ones((3, ALPHABET.vocab_size + 2)))})
  before = threading.active_count()
  answers = engine.run(params, map(Request, clips_of_noise([1] * 40)))
  next(answers)
  answers.close()
  assert threading.active_count() == before


def test_batches_of_long_clips_have_fewer_rows():
  seconds = (0.08, 5.0, 8.0, 9.0, 16.0, 30.0, 3600.0)
  assert [ctc.rows_of(32, each) for each in seconds] == [32, 32, 32, 16, 16, 8, 1]
