"""Cached, batched generation writes what a forward pass over the whole text would, clip by clip."""

import pytest

from benchmarks.parity.generation import NEW_TOKENS, clips, generator, setup, uncached
from maxtext_ext.input.collate import make_decode_batch
from maxtext_ext.text.tokenizer import train_char_tokenizer
from tests import tiny


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
  folder = tmp_path_factory.mktemp("tokenizer")
  train_char_tokenizer(tiny.WORDS, folder, ["English", "Hebrew"])
  return str(folder)


@pytest.mark.parametrize("scanned", [False, True], ids=["unscanned", "scanned"])
def test_tokens_equal_uncached_passes_clip_by_clip(directory, scanned):
  tokenizer = setup(directory, scanned)[3]
  utterances = clips(tokenizer)
  batch = make_decode_batch(utterances, pad_id=tokenizer.pad_id, rows=6)
  got = generator(directory, scanned, tokenizer.eos_ids)(batch.arrays)
  want = [uncached(directory, scanned, clip, tokenizer.eos_ids) for clip in utterances]
  assert got[: len(want)] == want
  assert got[len(want)] == [], "an empty row writes nothing"
  assert len({tuple(tokens) for tokens in want}) == len(want), "the clips differ in what they say"


def test_a_row_does_not_depend_on_its_mates(directory):
  tokenizer = setup(directory, False)[3]
  run = generator(directory, False, tokenizer.eos_ids)
  utterances = clips(tokenizer)
  together = run(make_decode_batch(utterances, pad_id=tokenizer.pad_id, rows=6).arrays)
  backwards = run(make_decode_batch(utterances[::-1], pad_id=tokenizer.pad_id, rows=6).arrays)
  assert together[:5] == backwards[:5][::-1]


def test_generation_stops_at_each_rows_end(directory):
  tokenizer = setup(directory, False)[3]
  utterances = clips(tokenizer)
  batch = make_decode_batch(utterances, pad_id=tokenizer.pad_id, rows=6).arrays
  free = generator(directory, False, tokenizer.eos_ids)(batch)
  end = free[1][3]  # a token that one row writes becomes an end
  run = generator(directory, False, {*tokenizer.eos_ids, end})
  for before, after in zip(free, run(batch), strict=True):
    assert after == (before[: before.index(end)] if end in before else before)
    assert run.func.is_complete(after) == (end in before or len(before) < NEW_TOKENS)
