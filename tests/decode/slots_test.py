"""Rows and tickets of a lane: every clip once, in rows that have room for it."""

import dataclasses

import numpy as np

from maxtext_ext.decode.controls import Controls
from maxtext_ext.decode.reader import SIZES, Reader
from maxtext_ext.decode.request import Request
from maxtext_ext.decode.shape import Shape, round_places
from maxtext_ext.decode.slots import Lane, PackedRow, Writing, expected_places, pack_rows
from maxtext_ext.input.collate import info
from maxtext_ext.input.utterance import Utterance
from maxtext_ext.models.encoders.qwen3_audio import GEOMETRY

SHAPE = Shape(
  lanes=1,
  slots=3,
  row_tokens=128,
  rows=2,
  windows=6,
  windows_together=1,
  query_block=64,
  block_places=128,
  steps=8,
  geometry=GEOMETRY,
  audio_dtype="float32",
)


def clip(name: str, seconds: float) -> Utterance:
  samples = np.ones(round(seconds * 16_000), np.float32)
  prompt = np.arange(10 + GEOMETRY.num_tokens(len(samples)), dtype=np.int32)
  return Utterance(
    sample_id=name,
    dataset_name="",
    language=None,
    text="",
    samples=samples,
    prompt=prompt,
    target=np.zeros(0, np.int32),
    audio_start=5,
    geometry=GEOMETRY,
  )


def begin(request: Request) -> Writing:
  utterance = request.utterance
  limit = expected_places(utterance, tokens_per_second=6.0, max_new_tokens=100)
  controls = Controls(most=100, temperature=0.5, seed=(3 << 32) + 7)
  return Writing(clip=info(utterance), prompt=len(utterance.prompt), controls=controls, limit=limit)


def test_every_clip_gets_a_place_in_a_row_once():
  lane = Lane(SHAPE, begin)
  clips = [clip(str(i), seconds) for i, seconds in enumerate((1, 8, 3, 0.5, 2, 6, 4, 1))]
  for each in clips:
    lane.add(Request(each))
  seen, taken = [], 0
  while lane.waiting:
    row, packed, tickets, _ = lane.next_row()
    assert len(tickets) == len(packed)
    if not packed:
      assert row == SHAPE.rows, "all rows are taken: it goes behind them"
      count = int(lane.entries()["count"][0])
      lane.drop_taken(count)
      taken += count
      continue
    assert sum(len(each.prompt) for each in packed) <= SHAPE.row_tokens
    table = lane.entries()
    own = range(int(table["count"][0]) - len(packed), int(table["count"][0]))
    firsts = [int(table["first"][0, i]) for i in own]
    lengths = [len(each.prompt) for each in packed]
    assert firsts == (row * SHAPE.row_tokens + np.cumsum([0, *lengths[:-1]])).tolist()
    assert [int(table["length"][0, i]) for i in own] == lengths
    assert {tuple(table["seed"][0, i].tolist()) for i in own} == {(3, 7)}
    assert {float(table["temperature"][0, i]) for i in own} == {0.5}
    assert [int(table["hidden"][0, i]) for i in own] == [
      row * SHAPE.clips + i for i in range(len(packed))
    ]
    seen += [each.sample_id for each in packed]
  assert sorted(seen) == sorted(each.sample_id for each in clips)
  assert len({*lane.writing}) == len(clips) and taken < len(clips)


def test_arrays_of_a_row_hold_each_clip_in_windows_of_its_own():
  clips = [clip("a", 1.2), clip("b", 3.0)]
  rows = [PackedRow(1, clips, (), []), PackedRow(2, [], (), [])]
  arrays = pack_rows(rows, SHAPE, pad_id=7)
  first, second = (len(each.prompt) for each in clips)
  assert arrays["row"].tolist() == [1, 2]
  assert arrays["windows"].tolist() == [2, 0]
  assert arrays["last"][0, :2].tolist() == [first - 1, first + second - 1]
  assert arrays["inputs"][0, first : first + second].tolist() == clips[1].prompt.tolist()
  assert (arrays["inputs"][1] == 7).all()
  assert arrays["chunk_frames"][0, :2].sum(axis=1).tolist() == [120, 300]
  start = first + clips[1].audio_start
  index = arrays["audio_index"][0, start : start + clips[1].audio_tokens]
  assert index.tolist() == (GEOMETRY.tokens_per_window + np.arange(len(index))).tolist()
  assert arrays["query_block_count"].tolist() == [-(-first // 64) + -(-second // 64), 0]


def test_drafts_stand_behind_their_prompts_as_far_as_the_row_goes():
  lane = Lane(SHAPE, lambda request: dataclasses.replace(begin(request), draft=request.draft))
  first, second = clip("a", 1.0), clip("b", 4.0)
  assert not lane.has_drafts
  lane.add(Request(first, draft=(7, 8, 9)))
  lane.add(Request(second, draft=(3,) * 200))
  assert lane.has_drafts
  kept = SHAPE.row_tokens - len(second.prompt)
  rows = [lane.next_row(), lane.next_row()]
  assert {row.lengths[0]: row.clips[0].prompt.tolist() for row in rows} == {
    (len(first.prompt), 3): [*first.prompt, 7, 8, 9],
    (len(second.prompt), kept): [*second.prompt, *[3] * kept],
  }
  assert not lane.has_drafts
  lane.accept(rows[0], np.array([2, 0]), -np.arange(SHAPE.row_tokens, dtype=np.float32))
  (ticket,) = rows[0].tickets
  prompt, _ = rows[0].lengths[0]
  writing = lane.writing[ticket]
  assert writing.tokens == list(writing.draft[:2]) and writing.accepted == 2
  assert writing.log_probs == [-prompt, -prompt - 1]


def test_a_clip_that_needs_more_places_gets_them_up_to_the_longest_text():
  writing = begin(Request(clip("a", 1.0)))
  assert not writing.stalled
  limits = []
  while writing.limit < writing.prompt + writing.controls.most:
    writing.tokens = [0] * (writing.limit - writing.prompt)
    assert writing.stalled
    writing.extend()
    limits.append(writing.limit)
  assert limits == sorted({*limits}) and limits[-1] == writing.prompt + 100


def test_sizes_of_slots_are_few_and_close():
  sizes = {round_places(n) for n in range(1, 20_000)}
  assert len(sizes) < 40
  for needed in range(128, 20_000, 37):
    assert needed <= round_places(needed) < needed * 1.26 + 128


def test_clips_are_read_ahead_and_the_longest_come_first():
  seconds = (1.0, 9.0, 3.0, 30.0, 2.0)
  taken = []
  clips = iter(clip(str(s), s) for s in seconds)
  reader = Reader((taken.append(1) or Request(each) for each in clips), row_tokens=128, ahead=3)
  reader.fill()
  assert len(taken) == 3 and reader.counts().tolist() == [3, *[0] * (SIZES - 1)]
  assert [reader.take(0).utterance.sample_id for _ in range(3)] == ["9.0", "3.0", "1.0"]
  assert reader.take(0).utterance.sample_id == "2.0"
  assert reader.take(0) is None and reader.ended
  assert reader.take(2).utterance.sample_id == "30.0"
  assert not reader.counts().any()
