"""The slot engine writes what a pass over the whole text would, whatever is decoded with a clip.

Weights are drawn with an untied head: with a tied one every token of a random model is followed by
itself, and all answers are alike.
"""

import dataclasses
import functools
import random
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.parity.generation import NEW_TOKENS, clips, engine, setup, uncached, write
from maxtext_ext.decode import sampling
from maxtext_ext.decode.request import Request
from maxtext_ext.text.tokenizer import train_char_tokenizer
from tests import tiny

SECONDS = (0.2, 1.0, 3.3, 7.9, 9.5, 2.0, 5.2, 0.9, 6.1)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
  folder = tmp_path_factory.mktemp("tokenizer")
  train_char_tokenizer(tiny.WORDS, folder, ["English", "Hebrew"])
  return str(folder)


@pytest.fixture(scope="module")
def made(directory):
  """Engine of 4 slots, its weights, and clips."""
  made, weights = engine(directory, False)
  made.warm_up(weights, seconds=max(SECONDS))
  return made, weights, clips(setup(directory, False)[3], SECONDS)


@functools.cache
def wanted(directory, scanned, count, ends=()):
  """Returns what passes over the whole text write for the first clips."""
  tokenizer = setup(directory, scanned)[3]
  eos_ids = {*tokenizer.eos_ids, *ends}
  return {
    clip.sample_id: uncached(directory, scanned, clip, eos_ids)
    for clip in clips(tokenizer, SECONDS[:count])
  }


def with_drafts(made, weights, utterances, drafts):
  """Returns what is written with drafts, by id."""
  requests = [Request(clip, draft=tuple(drafts.get(clip.sample_id, ()))) for clip in utterances]
  return {answer.clip.id: answer.written for answer in made.run(weights, requests)}


def assert_same(written, want):
  """Compares all but how much came from a draft."""
  assert written.keys() == want.keys()
  for id_, answer in written.items():
    assert (answer.tokens, answer.finish_reason) == (want[id_].tokens, want[id_].finish_reason)
    np.testing.assert_allclose(answer.log_probs, want[id_].log_probs, atol=1e-5)


def test_nothing_is_compiled_after_warming_up(made):
  """The first test that uses this engine."""
  compiled = []

  def note(event: str, _: float, **of: Any) -> None:
    if event == "/jax/core/compile/backend_compile_duration":
      compiled.append(of)

  jax.monitoring.register_event_duration_secs_listener(note)
  try:
    jax.jit(lambda x: x + 1)(1)
    assert len(compiled) == 1, "compilations are counted"
    write(*made)
  finally:
    jax.monitoring.unregister_event_duration_listener(note)
  assert len(compiled) == 1, compiled


@pytest.mark.parametrize("scanned", [False, True], ids=["unscanned", "scanned"])
def test_answers_are_those_of_passes_over_the_whole_text(directory, scanned):
  want = wanted(directory, scanned, 5)
  written = write(*engine(directory, scanned), clips(setup(directory, scanned)[3], SECONDS[:5]))
  assert {id_: answer.tokens for id_, answer in written.items()} == {
    id_: tokens for id_, (tokens, _) in want.items()
  }
  for id_, (tokens, log_probs) in want.items():
    np.testing.assert_allclose(written[id_].log_probs, log_probs, atol=1e-5)
    assert written[id_].complete == (len(log_probs) > len(tokens)), "the eos has one too"
  assert len({tuple(tokens) for tokens, _ in want.values()}) == len(want), "the clips differ"


def test_answers_do_not_depend_on_the_order_nor_on_the_other_clips(made):
  made, weights, utterances = made
  together = write(made, weights, utterances)
  assert len(together) > 2 * made._config.decode_rows, "slots are refilled"
  for seed in range(5):
    order = random.Random(seed).sample(utterances, len(utterances))
    assert write(made, weights, order) == together
  for clip in utterances[::2]:
    assert write(made, weights, [clip]) == {clip.sample_id: together[clip.sample_id]}


def test_answers_do_not_depend_on_the_size_of_the_slots(directory, made):
  made, weights, utterances = made
  together = write(made, weights, utterances)
  # A budget of one prompt's length: slots are far larger from the start.
  roomy, _ = engine(directory, False, tokens_per_second=80.0, max_new_tokens=400)
  short = [clip for clip in utterances if clip.seconds < 4]
  for id_, written in write(roomy, weights, short).items():
    assert written.tokens[:NEW_TOKENS] == together[id_].tokens
    assert written.log_probs[: len(together[id_].log_probs)] == together[id_].log_probs
  # Hardly any: clips reach it, and get more places again and again.
  tight, _ = engine(directory, False, tokens_per_second=0.1, max_new_tokens=400, loop_repeats=0)
  endless, _ = engine(directory, False, tokens_per_second=80.0, max_new_tokens=400, loop_repeats=0)
  for each in (tight, endless):
    each._eos_ids = ()
  cramped = write(tight, weights, short)
  assert {len(written.tokens) for written in cramped.values()} == {400}, "nothing is cut"
  assert cramped == write(endless, weights, short)
  assert tight.counts.moves > endless.counts.moves


def test_a_text_ends_at_an_eos_at_the_limit_or_in_a_loop(directory, made):
  made, weights, utterances = made
  free = write(made, weights, utterances)
  end = free[utterances[1].sample_id].tokens[3]  # a token that one clip writes becomes an end
  ended, _ = engine(directory, False)
  ended._eos_ids = (*made._eos_ids, end)
  for id_, after in write(ended, weights, utterances).items():
    before = free[id_].tokens
    assert after.tokens == (before[: before.index(end)] if end in before else before)
    assert (after.finish_reason == "stop") == (end in before or free[id_].complete)
    assert len(after.tokens) <= NEW_TOKENS


def test_a_text_that_repeats_itself_is_ended(directory, made):
  _, weights, utterances = made
  endless, _ = engine(directory, False, max_new_tokens=300, loop_repeats=0)
  stopped, _ = engine(directory, False, max_new_tokens=300, loop_repeats=5)
  free, short = (write(each, weights, utterances[:4]) for each in (endless, stopped))
  loops = [id_ for id_, written in short.items() if written.finish_reason == "loop"]
  assert loops, "random weights repeat themselves"
  for id_ in loops:
    tokens = short[id_].tokens
    assert tokens == free[id_].tokens[: len(tokens)]
    period = next(n for n in range(1, 17) if tokens[-n:] == tokens[-2 * n : -n])
    assert tokens[-5 * period :] == tokens[-period:] * 5
    assert tokens[-5 * period - 1 : -1] != tokens[-period - 1 : -1] * 5 or period > 1
  drafts = {id_: written.tokens for id_, written in free.items()}
  drafted = with_drafts(stopped, weights, utterances[:4], drafts)
  assert_same(drafted, short)
  assert [drafted[id_].accepted for id_ in loops] == [len(short[id_].tokens) - 1 for id_ in loops]


def test_long_clips_have_rows_and_slots_of_their_own(directory, made):
  made, weights, utterances = made
  long = clips(setup(directory, False)[3], (41.0,))
  long = [dataclasses.replace(clip, sample_id="long") for clip in long]
  short = utterances[:3]
  together = write(made, weights, [short[0], *long, *short[1:]])
  assert {id_: together[id_] for id_ in together if id_ != "long"} == write(made, weights, short)
  assert together["long"] == write(made, weights, long)["long"]


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
def test_programs_of_other_platforms_write_the_same(directory, made, platform):
  """On a CPU: the kernel is interpreted, a window has its buffer."""
  made, weights, utterances = made
  other, _ = engine(directory, False)
  other._platform = platform
  want = write(made, weights, utterances)
  assert_same(write(other, weights, utterances[::-1]), want)
  drafts = {id_: written.tokens[: len(id_) % 3 + 5] for id_, written in want.items()}
  assert_same(with_drafts(other, weights, utterances, drafts), want)


def test_samples_of_another_type_are_refused(made):
  made, weights, utterances = made
  wrong = dataclasses.replace(utterances[0], samples=np.zeros(16_000, np.int16))
  with pytest.raises(ValueError, match="samples are int16, expected audio_dtype=float32"):
    write(made, weights, [wrong])


def test_a_clip_may_have_fewer_tokens_than_others(made):
  made, weights, utterances = made
  want = write(made, weights, utterances[:3])
  most = [1, 3, NEW_TOKENS + 5]
  requests = [Request(u, max_new_tokens=n) for u, n in zip(utterances, most, strict=False)]
  answers = answers_of(made, weights, requests)
  for utterance, count in zip(utterances, most, strict=False):
    full, cut = want[utterance.sample_id], answers[utterance.sample_id]
    assert cut.tokens == full.tokens[:count]
    assert cut.complete == (len(full.log_probs) <= count and full.complete)
  with pytest.raises(ValueError, match="max_new_tokens is 0, expected at least 1"):
    Request(utterances[0], max_new_tokens=0)


def test_a_clip_is_drawn_by_its_own_seed_whatever_is_decoded_with_it(directory, made):
  made, weights, utterances = made
  greedy = write(made, weights, utterances)
  drawn = [Request(clip, temperature=1.5, seed=5) for clip in utterances[::2]]
  penalised = [Request(clip, repetition_penalty=4.0) for clip in utterances[1:4:2]]
  plain = [Request(clip) for clip in utterances[5::2]]
  requests = [*drawn, *penalised, *plain]
  mixed = answers_of(made, weights, requests)
  for seed in range(2):
    assert answers_of(made, weights, random.Random(seed).sample(requests, 9)) == mixed
  assert answers_of(made, weights, drawn[:1]).items() <= mixed.items()
  for request in plain:
    assert mixed[request.utterance.sample_id] == greedy[request.utterance.sample_id]

  def draw(logits_V, written):
    number = jnp.asarray(len(written))
    noise_V = sampling.noise(jnp.asarray([0, 5], jnp.uint32), number, made._config.vocab_size)
    return jnp.argmax(logits_V / 1.5 + noise_V[: len(logits_V)])

  def penalise(logits_V, written):
    history = jnp.asarray([*written, 0])
    return jnp.argmax(
      sampling.penalise(logits_V, history, jnp.asarray(len(written)), jnp.asarray(4.0))
    )

  eos_ids = setup(directory, False)[3].eos_ids
  for request, choose in ((drawn[1], draw), (penalised[1], penalise)):
    clip = request.utterance
    tokens, log_probs = uncached(directory, False, clip, eos_ids, choose)
    assert mixed[clip.sample_id].tokens == tokens != greedy[clip.sample_id].tokens
    np.testing.assert_allclose(mixed[clip.sample_id].log_probs, log_probs, atol=1e-5)


def answers_of(made, weights, requests):
  return {answer.clip.id: answer.written for answer in made.run(weights, requests)}


def test_drafts_change_no_result_and_save_steps(made):
  made, weights, utterances = made
  want = write(made, weights, utterances)
  texts = {id_: written.tokens for id_, written in want.items()}
  rng = random.Random(0)

  def with_error(id_):
    place = rng.randrange(len(texts[id_]))
    wrong = (texts[id_][place] + 1) % made._tokenizer.vocab_size
    return [*texts[id_][:place], wrong, *texts[id_][place + 1 :]]

  ends = made._eos_ids[:1]
  kinds = {
    "right": texts,
    "one wrong": {id_: with_error(id_) for id_ in texts},
    "too long": {id_: [*tokens, *tokens, *[3] * 1000] for id_, tokens in texts.items()},
    "cut": {id_: tokens[:5] for id_, tokens in texts.items()},
    "of others": dict(zip(texts, [*texts.values()][1:], strict=False)),
    "ended": {id_: [*tokens[:4], *ends, *tokens[4:]] for id_, tokens in texts.items()},
    "of some": {id_: texts[id_] for id_ in [*texts][::2]},
  }
  steps = {}
  for kind, drafts in kinds.items():
    before = dataclasses.replace(made.counts)
    written = with_drafts(made, weights, rng.sample(utterances, len(utterances)), drafts)
    assert_same(written, want)
    for id_, answer in written.items():
      same = [a == b for a, b in zip(drafts.get(id_, ()), texts[id_], strict=False)]
      # Its last token is written by a slot if it ends the text.
      common = min([*same, False].index(False), NEW_TOKENS - 1)
      assert answer.accepted == (4 if kind == "ended" else common)
    counts = made.counts.since(before)
    assert counts.accepted == sum(answer.accepted for answer in written.values())
    steps[kind] = counts.steps
  assert steps["right"] == steps["too long"] == 3, "9 clips in 4 slots: each needs one step"
  assert steps["right"] < min(steps[kind] for kind in ("one wrong", "cut", "of some", "ended"))
  assert made.token_seconds > 0, "it was measured"
  drawn = [Request(utterances[0], temperature=1.5, seed=5, draft=draft) for draft in ((), (3, 4))]
  one, other = (answers_of(made, weights, [request]) for request in drawn)
  assert one == other, "drafts are for greedy clips"


def test_each_round_may_end_the_run(made):
  made, weights, utterances = made
  rounds = iter(range(2))
  with pytest.raises(RuntimeError, match="StopIteration"):
    list(made.run(weights, map(Request, utterances), each_round=lambda: next(rounds)))
