"""Greedy CTC decoding against its definition, and the engine on a model of two lines."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext import bridge
from maxtext_ext.config import load
from maxtext_ext.decode import ctc
from maxtext_ext.decode.ctc import CTCEngine, collapse
from maxtext_ext.decode.request import Request
from maxtext_ext.input.collate import make_decode_batch
from maxtext_ext.input.utterance import Utterance, build_utterance
from maxtext_ext.models.encoders.qwen3_audio import GEOMETRY
from maxtext_ext.records.schema import Record
from maxtext_ext.text.alphabet import Alphabet
from tests import tiny

ALPHABET = Alphabet("ab c")
FEATURES = slice(500, 503)  # of the samples of a chunk


@given(path=st.lists(st.integers(0, 3)))
def test_a_path_collapses_as_defined(path: list[int]):
  """Repeats merge first, blanks go afterwards."""
  merged = [label for label, _ in itertools.groupby(path)]
  assert collapse(np.array(path, np.int32)) == [label for label in merged if label != 0]


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
  line, plain = answers["1"].hypothesis(), {"finish_reason": "stop"}
  assert (line.id, line.reference, line.extra) == ("1", "ab", {"speaker": "s1"} | plain)
  assert answers["0"].hypothesis().extra == plain, "no confidences"


def test_clips_of_other_lengths_have_batches_of_their_own(engine: CTCEngine):
  params = nnx.State({"kernel": nnx.Param(jnp.ones((3, ALPHABET.vocab_size + 2)))})
  rounds = []
  clips = map(Request, clips_of_noise([1, 9, 2, 20]))
  answers = engine.run(params, clips, each_round=lambda: rounds.append(1))
  assert {answer.clip.id for answer in answers} == {"0", "1", "2", "3"}
  assert len(rounds) == 4, "three lengths, and the end"


def test_a_row_without_frames_says_nothing(engine: CTCEngine):
  params = nnx.State({"kernel": nnx.Param(jnp.ones((3, ALPHABET.vocab_size + 2)))})
  arrays = make_decode_batch(clips_of_noise([4]), pad_id=0, rows=2).arrays
  spoken, empty = engine.write(params, arrays)
  assert empty.tokens == []
  assert spoken.finish_reason == empty.finish_reason == "stop"


def test_controls_are_refused(engine: CTCEngine):
  (clip,) = clips_of_noise([2])
  for control in ({"max_new_tokens": 9}, {"temperature": 0.5}, {"repetition_penalty": 1.1}):
    with pytest.raises(ValueError, match=f"0: .* cannot honour {next(iter(control))}; leave it"):
      next(engine.run(None, [Request(clip, **control)]))


def test_beam_search_is_refused(engine: CTCEngine):
  config = bridge.replace(engine._config, beams=2)
  with pytest.raises(ValueError, match="beams=2: decoding of this model cannot honour it"):
    CTCEngine(config, engine._mesh, ALPHABET)
