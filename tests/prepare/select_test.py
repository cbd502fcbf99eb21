import pickle

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from maxtext_ext.conversion.selector import Selected, Skipped, describe_selector
from maxtext_ext.prepare.select import NO_WORDS, Select, open_segment
from maxtext_ext.prepare.split import Split
from maxtext_ext.records.schema import Record

RATE = 16_000


def clip(seconds=1.0, text="שלום עולם", sample_id="a", samples=None):
  count = round(seconds * RATE) if samples is None else samples
  return Record(sample_id=sample_id, audio=np.ones(count, np.int16), text=text)


def select(**options):
  return Select(**{"to": "train", "language": "Hebrew"} | options)


@pytest.mark.parametrize(
  ("samples", "reason"),
  [
    (8_000, None),
    (7_999, "shorter than 0.5 s"),
    (480_000, None),
    (480_001, "longer than 30 s"),
    (1, "shorter than 0.5 s"),
  ],
)
def test_limits_of_length_belong_to_it(samples, reason):
  got = select()(clip(samples=samples))
  assert got == Skipped(reason) if reason else isinstance(got, Selected)


@pytest.mark.parametrize(
  ("samples", "taken"),
  [(480_000, 480_000), (480_001, 480_000), (482_304, 480_000), (482_401, None)],
)
def test_what_an_encoder_added_is_cut_off(samples, taken):
  got = select(overhang_seconds=0.15)(clip(samples=samples))
  assert (len(got.record.audio) if taken else got) == (taken or Skipped("longer than 30 s"))


@pytest.mark.parametrize(
  ("language", "text", "expected"),
  [
    ("Hebrew", "<|0.00|>שָׁלוֹם!!<|1.20|>", "שלום!"),
    ("Hebrew", "שלום", "שלום"),
    ("Hebrew", "<|0.00|> ...<|1.20|>", None),
    ("Hebrew", "\u200f״ ?!", None),
    ("Arabic", "مرحبا  بكم ..", "مرحبا بكم ."),
    ("Arabic", "؟", None),
    ("Arabic", "السـلام عليـــكم", "السلام عليكم"),
    ("Arabic", "مُحَمَّد", "مُحَمَّد"),
    ("Arabic/English", "شكـرا very much", "شكرا very much"),
    ("Arabic/English", "شكرا thanks", "شكرا thanks"),
  ],
)
def test_text_is_cleaned_and_left_out_without_words(language, text, expected):
  got = select(language=language)(clip(text=text))
  assert (got.record.text if expected else got) == (expected or Skipped(NO_WORDS))


def test_a_record_that_needs_nothing_stays_the_same_object():
  record = clip()
  assert select()(record).record is record
  assert select()(clip(text="שלום  ")).record.text == "שלום"


@pytest.mark.parametrize(
  ("text", "start"),
  [
    ("<|0.00|>one<|2.40|><|3.10|>", 3.1),
    ("<|0.00|>one<|2.40|> <|2.40|> ", 2.4),
    ("<|0.00|>one<|2.40|><|2.40|>two<|5.00|>", None),
    ("<|0.00|>one<|2.40|>", None),
    ("one", None),
    ("", None),
  ],
)
def test_a_segment_that_is_not_written_out(text, start):
  assert open_segment(text) == start


def test_speech_that_is_not_in_the_text_is_cut_off():
  text = "<|0.00|>שלום<|2.40|><|27.52|>"
  got = select(whisper_segments=True, overhang_seconds=0.15)(clip(30.1, text))
  assert (len(got.record.audio), got.record.text) == (27.52 * RATE, "שלום")
  assert len(select()(clip(30.0, text)).record.audio) == 30 * RATE
  assert len(select(whisper_segments=True)(clip(20, text)).record.audio) == 20 * RATE
  short = select(whisper_segments=True)(clip(30, "<|0.00|>אה<|0.30|><|0.40|>"))
  assert short == Skipped("shorter than 0.5 s")


def test_clips_of_a_recording_stay_together():
  grouped = select(to=Split(), group=r"^(.*)-[^-]*$")
  alone = select(to=Split())
  for recording in ("rec-1", "rec-2", "rec-16", "rec-33"):
    ids = [f"{recording}-{seek}.0" for seek in range(200)]
    assert len({grouped(clip(sample_id=each)).split for each in ids}) == 1
    assert {alone(clip(sample_id=each)).split for each in ids} == {"train", "validation"}
  assert grouped(clip(sample_id="without")).split == Split().part_of("without")


def test_a_sentence_stays_in_one_part():
  by_text = select(to=Split(), by_text=True)
  for number in range(50):
    text = f"משפט {number}"
    splits = {by_text(clip(text=text + end, sample_id=end + "x")).split for end in ("", " ", "  ")}
    assert splits == {Split().part_of(text)}


def test_buckwalter_becomes_arabic():
  got = select(language="Arabic", buckwalter=True)(clip(text="waraj~aHa  Alt~aqoriyru"))
  assert got.record.text == "ورجح التقرير"


@given(
  st.text(max_size=30),
  st.integers(1, 600_000),
  st.booleans(),
  st.booleans(),
)
def test_what_is_taken_is_within_the_limits_and_is_taken_again(text, samples, segments, by_text):
  chosen = select(to=Split(), overhang_seconds=0.15, whisper_segments=segments, by_text=by_text)
  got = chosen(clip(text=text, samples=samples))
  if isinstance(got, Selected):
    assert 0.5 <= got.record.seconds <= 30
    assert got.record.text.strip() == got.record.text != ""
    again = chosen(got.record)
    assert again.record is got.record
    assert again.split == got.split


def test_it_is_the_same_in_every_process():
  chosen = select(to=Split(), group="x")
  assert pickle.loads(pickle.dumps(chosen)) == chosen
  assert describe_selector(chosen) == describe_selector(select(to=Split(), group="x"))
  assert " at 0x" not in describe_selector(chosen)
  assert describe_selector(chosen) != describe_selector(select(to=Split(seed=1), group="x"))


@pytest.mark.parametrize("limits", [(1.0, 1.0), (-1.0, 2.0), (5.0, 2.0)])
def test_limits_the_wrong_way_round(limits):
  with pytest.raises(ValueError, match="min_seconds"):
    select(min_seconds=limits[0], max_seconds=limits[1])
