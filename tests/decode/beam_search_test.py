"""Steps of beam search, with logits that are drawn for every text instead of a model's."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maxtext_ext.decode import beam_search
from maxtext_ext.decode.beam_search import SearchRules, top_tokens
from maxtext_ext.decode.beam_text import BeamWriting
from maxtext_ext.decode.controls import Controls
from maxtext_ext.decode.state import LENGTH, LOOP, STOP
from maxtext_ext.input.collate import ClipInfo

CLIP = ClipInfo(id="", dataset="", language=None, seconds=0.0, reference="", speaker=None)
VOCABULARY, EOS = 4, 3  # and a token that may not be written

_search = jax.jit(beam_search.search, static_argnums=0)


def log_softmax(logits):
  return logits - np.log(np.exp(logits).sum())


class Model:
  """Logits of the next token, drawn anew for every text."""

  def __init__(self, seed):
    self._seed = seed

  def __call__(self, text):
    return np.random.default_rng([self._seed, *text]).normal(size=VOCABULARY + 1) * 2

  def log_probs(self, text):
    """Of every token of a text."""
    logits = [self(text[:i])[:VOCABULARY] for i in range(len(text))]
    return [float(log_softmax(x)[token]) for x, token in zip(logits, text, strict=True)]


def decode(model, most, *, beams, penalty=1.0, repeats=0):
  """Returns the best text, its log-probabilities, and why it ended."""
  rules = SearchRules(
    beams=beams,
    length_penalty=penalty,
    eos_ids=(EOS,),
    vocab_size=VOCABULARY,
    repeats=repeats,
  )
  state, texts = beam_search.begin(1, beams), [()] * beams
  writing = BeamWriting(clip=CLIP, prompt=0, controls=Controls(most=most), limit=0, beams=beams)
  for count in range(1, most + 1):
    logits_VX = np.stack([model(text) for text in texts], axis=1).astype(np.float32)
    last = jnp.array([count == most])
    state, chosen, ends = _search(rules, state, logits_VX, jnp.array([count]), last)
    token, log_prob, parent = (np.asarray(x[0]) for x in chosen)
    writing.add(token, log_prob, parent)
    texts = [(*texts[p], int(t)) for p, t in zip(parent[:-1], token[:-1], strict=True)]
    if ends[0]:
      break
  return *writing.text(), int(state.reason_B[0])


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.sampled_from([-0.5, 0.0, 1.0, 2.5]))
def test_with_as_many_beams_as_texts_the_best_of_all_texts_is_found(seed, penalty):
  model, most = Model(seed), 2
  words = range(EOS)
  texts = [(*text, EOS) for n in range(most) for text in itertools.product(words, repeat=n)]
  texts += itertools.product(words, repeat=most)
  best = max(texts, key=lambda text: sum(model.log_probs(text)) / len(text) ** penalty)
  tokens, log_probs, reason = decode(model, most, beams=len(texts), penalty=penalty)
  assert tuple(tokens) == best
  np.testing.assert_allclose(log_probs, model.log_probs(best), atol=1e-5)
  assert reason == (STOP if best[-1] == EOS else LENGTH)


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 1.0, 2.5]))
def test_one_beam_is_greedy(seed, penalty):
  model, text = Model(seed), ()
  while len(text) < 6 and EOS not in text:
    text = (*text, int(np.argmax(model(text)[:VOCABULARY])))
  tokens, log_probs, reason = decode(model, 6, beams=1, penalty=penalty)
  assert tuple(tokens) == text
  np.testing.assert_allclose(log_probs, model.log_probs(text), atol=1e-5)
  assert reason == (STOP if text[-1] == EOS else LENGTH)


def test_a_text_that_repeats_itself_ends():
  def model(text):
    """Writes 0 1 2 1 2 ..., and after that hardly anything else."""
    follows = {(): 0, (0,): 1, (1,): 2, (2,): 1}[text[-1:]]
    return np.where(np.arange(VOCABULARY + 1) == follows, 5.0, 0.0)

  tokens, _, reason = decode(model, 20, beams=2, repeats=4)
  assert tokens == [0, *[1, 2] * 4] and reason == LOOP
  tokens, _, reason = decode(model, 20, beams=2)
  assert tokens == [0, *[1, 2] * 9, 1] and reason == LENGTH


def test_logits_that_are_no_numbers_give_no_text():
  assert decode(lambda text: np.full(VOCABULARY + 1, np.nan), 5, beams=2) == ([], [], LENGTH)


@pytest.mark.parametrize(("size", "count"), [(5, 5), (128, 3), (700, 9)])
def test_the_likeliest_tokens_are_found(size, count):
  logits_VX = np.random.default_rng(size).permutation(size * 3).reshape(size, 3)
  logits_VX = logits_VX.astype(np.float32)
  values_XC, tokens_XC = jax.jit(top_tokens, static_argnums=1)(logits_VX, count)
  want_XC = np.argsort(-logits_VX, axis=0)[:count].T
  np.testing.assert_array_equal(tokens_XC, want_XC)
  np.testing.assert_array_equal(values_XC.T, np.take_along_axis(logits_VX, want_XC.T, axis=0))
