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
from maxtext_ext.input.collate import ClipInfo, DecodeBatch
from maxtext_ext.text.alphabet import Alphabet
from tests import tiny

ALPHABET = Alphabet("ab c")


@given(path=st.lists(st.integers(0, 3)))
def test_a_path_collapses_as_defined(path: list[int]):
  """Repeats merge first, blanks go afterwards."""
  merged = [label for label, _ in itertools.groupby(path)]
  assert collapse(np.array(path, np.int32)) == [label for label in merged if label != 0]


class Listener(nnx.Module):
  """Turns each frame into logits by a matrix, as a stand-in for a CTC model."""

  def __init__(self) -> None:
    self.kernel = nnx.Param(jnp.zeros((3, ALPHABET.vocab_size + 2)))
    self.state = nnx.Variable(jnp.zeros(1))  # of a kind that is no weight

  def emissions(self, batch):
    return batch["features"] @ self.kernel[...], batch["frames"][:, 0]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> CTCEngine:
  monkeypatch.setattr(ctc, "make_model", lambda config, mesh: Listener())
  config = load(tiny.DEMO, ["template=letters", "vocab_size=16"])
  return CTCEngine(config, bridge.make_mesh(config), ALPHABET)


def most_probable_path(logits_FV: np.ndarray) -> tuple[int, ...]:
  """The path of the largest probability among all of them."""
  frames, symbols = logits_FV.shape
  paths = itertools.product(range(symbols), repeat=frames)
  return max(paths, key=lambda path: logits_FV[range(frames), path].sum())


def test_answers_are_those_of_the_most_probable_paths(engine: CTCEngine):
  rng = np.random.default_rng(0)
  lengths = [5, 1, 4, 0]
  features_BFD = rng.normal(size=(4, 5, 3)).astype(np.float32)
  kernel_DV = rng.normal(size=(3, ALPHABET.vocab_size + 2)).astype(np.float32)
  kernel_DV[:, ALPHABET.vocab_size :] *= 100  # outputs that stand for nothing are never chosen
  params = nnx.State({"kernel": nnx.Param(jnp.asarray(kernel_DV))})
  clips = tuple(
    ClipInfo(id=str(i), dataset="d", language="English", seconds=1.0, reference="ab")
    for i in range(3)
  )
  arrays = {"features": features_BFD, "frames": np.array(lengths, np.int32)[:, None]}
  answers = list(engine.run(params, [DecodeBatch(arrays=arrays, utterances=clips)] * 2))
  expected = []
  for features_FD, length in zip(features_BFD[:3], lengths[:3], strict=True):
    path = most_probable_path((features_FD[:length] @ kernel_DV)[:, : ALPHABET.vocab_size])
    labels = [label for label, _ in itertools.groupby(path) if label]
    expected.append("".join(ALPHABET.characters[label - 1] for label in labels).strip())
  assert len(set(expected)) == 3
  assert [answer.text for answer in answers[0]] == expected
  assert answers[0] == answers[1]
  assert all(answer.complete and answer.language is None for answer in answers[0])
  line = answers[0][1].hypothesis()
  assert (line.id, line.reference, line.hypothesis) == ("1", "ab", expected[1])


def test_a_row_without_frames_says_nothing(engine: CTCEngine):
  params = nnx.State({"kernel": nnx.Param(jnp.ones((3, ALPHABET.vocab_size + 2)))})
  arrays = {"features": np.ones((1, 4, 3), np.float32), "frames": np.zeros((1, 1), np.int32)}
  (written,) = engine.write(params, arrays)
  assert written.tokens == []
