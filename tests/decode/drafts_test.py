"""Drafts against the text that is written token by token."""

import functools
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from maxtext_ext.decode.drafts import draft_arrays, usable_part, verify
from maxtext_ext.decode.head import LONGEST_PERIOD

ROW, CLIPS, VOCABULARY, REPEATS = 128, 8, 9, 3


@pytest.mark.parametrize(
  ("draft", "usable"),
  [
    ((), ()),
    ((5, 6), (5, 6)),
    ((5, 6, 7, 8), (5, 6, 7)),  # the fourth token would end the text
    ((5, 9, 7), (5,)),  # an eos
    ((5, 6, 10), (5, 6)),  # beyond the vocabulary
    ((-1, 6), ()),
  ],
)
def test_a_draft_ends_where_a_text_would(draft, usable):
  assert usable_part(draft, most=4, eos_ids=(9,), vocab_size=10) == usable


class Model:
  """Takes hidden states as logits."""

  config = SimpleNamespace(
    logits_via_embedding=False, normalize_embedding_logits=False, final_logits_soft_cap=None
  )

  def head(self, hidden, *, model_mode):
    del model_mode
    return hidden


def draw_row(rng):
  """Draws a row of clips with drafts, some of them loops, and logits that predict most of them."""
  inputs = rng.integers(VOCABULARY, size=ROW).astype(np.int32)
  logits = rng.normal(size=(ROW, VOCABULARY + 1)).astype(np.float32)
  logits[:, VOCABULARY] = 9.0  # the table is padded; this is never written
  lengths, segments = [], []
  while len(segments) < ROW and len(lengths) < CLIPS:
    left = ROW - len(segments)
    prompt = min(int(rng.integers(1, 20)), left)
    draft = min(int(rng.choice([0, 4, 24])), left - prompt)
    first = len(segments) + prompt
    text = inputs[first : first + draft]
    if draft == 24 and rng.random() < 0.3:
      period = int(rng.integers(1, 5))
      text[5:] = np.resize(text[5 : 5 + period], draft - 5)
    logits[first - 1 + np.arange(draft), text] = 5.0
    if draft and rng.random() < 0.4:
      logits[first - 1 + rng.integers(draft)] *= -1
    lengths.append((prompt, draft))
    segments += [len(lengths)] * (prompt + draft)
  segments += [0] * (ROW - len(segments))
  return lengths, inputs, np.array(segments, np.int32), logits


def write_on(draft, likeliest):
  """Returns the part of a draft that is written token by token, without an end."""
  for count, token in enumerate(draft):
    text = draft[: count + 1]
    loop = any(
      text[-period * REPEATS :] == text[-period:] * REPEATS
      for period in range(1, len(text) // REPEATS + 1)
    )
    if token != likeliest[count] or loop:
      return draft[:count]
  return draft


def repeated(text, period):
  """Counts the last tokens that equal the one a period before."""
  count = 0
  while count < len(text) - period and text[-1 - count] == text[-1 - count - period]:
    count += 1
  return count


def test_what_is_accepted_is_what_would_be_written_token_by_token():
  keys = {"vocab_size": VOCABULARY, "repeats": REPEATS, "platform": "cpu"}
  run = jax.jit(functools.partial(verify, Model(), **keys))
  rng = np.random.default_rng(0)
  seen = set()
  for _ in range(12):
    rows = [draw_row(rng) for _ in range(2)]
    inputs, segments, logits = (np.stack(arrays) for arrays in list(zip(*rows, strict=True))[1:])
    arrays = draft_arrays([row[0] for row in rows], row_tokens=ROW, clips=CLIPS)
    batch = {"inputs": inputs, "inputs_segmentation": segments, **arrays}
    found = jax.device_get(run(logits, batch))
    log_probs = np.asarray(jax.nn.log_softmax(logits[..., :VOCABULARY]))
    for row, (lengths, *_) in enumerate(rows):
      end = 0
      for clip, (prompt, draft) in enumerate(lengths):
        first, end = end + prompt, end + prompt + draft
        assert arrays["last"][row, clip] == first - 1
        whole = inputs[row, first:end].tolist()
        text = write_on(whole, log_probs[row, first - 1 : end - 1].argmax(axis=-1).tolist())
        seen.add((draft, len(text) == draft, bool(text)))
        assert found.written["accepted"][row, clip] == len(text)
        recent = [*text[::-1], *[-1] * LONGEST_PERIOD][:LONGEST_PERIOD]
        assert found.written["recent"][row, clip].tolist() == recent
        runs = [repeated(text, period) for period in range(1, LONGEST_PERIOD + 1)]
        assert found.written["runs"][row, clip].tolist() == runs
        places = first + np.arange(len(text))
        np.testing.assert_allclose(
          found.log_prob[row, places], log_probs[row, places - 1, text], atol=1e-5
        )
  assert seen >= {(24, True, True), (24, False, True), (4, False, False), (0, True, False)}
