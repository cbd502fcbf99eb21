import math
import pickle
import statistics
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxtext_ext.corpus.statistics import (
  PROBLEMS_KEPT,
  Group,
  Survey,
  Surveyor,
  by_field,
  by_group,
  merge,
  rows_by,
  summarize,
)
from maxtext_ext.records.schema import Record, RecordError

TEXTS = st.text(st.sampled_from("ab אب5\n€"), min_size=1, max_size=12)


@st.composite
def records(draw) -> Record:
  samples = draw(st.lists(st.integers(-32_768, 32_767), min_size=1, max_size=40))
  return Record(
    sample_id=draw(st.sampled_from(["one", "two", "three"])),
    audio=np.array(samples, np.int16),
    text=draw(TEXTS),
    dataset_name=draw(st.sampled_from(["", "d1", "d2"])),
    language=draw(st.sampled_from([None, "Hebrew", "English"])),
    speaker=draw(st.sampled_from([None, "s1", "s2"])),
  )


# Shards of records, with the split of each; None is a record that cannot be read.
SHARDS = st.lists(
  st.tuples(st.sampled_from(["train", "test"]), st.lists(st.none() | records(), max_size=6)),
  max_size=4,
)


def survey_of(shards, first: int = 0) -> list[Survey]:
  parts = []
  for index, (split, entries) in enumerate(shards, first):
    surveyor = Surveyor(index, split)
    for position, record in enumerate(entries):
      if record is None:
        surveyor.reject(f"{index}:{position}", "broken")
      else:
        surveyor.add(record, position)
    parts.append(surveyor.survey())
  return parts


def everything(shards) -> list[tuple[str, Record]]:
  return [(split, record) for split, entries in shards for record in entries if record is not None]


def equal(one: Survey, other: Survey) -> bool:
  return (
    one.rows.tobytes() == other.rows.tobytes()
    and one.groups == other.groups
    and one.speakers == other.speakers
    and one.characters == other.characters
    and one.unreadable == other.unreadable
    and one.problems == other.problems
  )


def check_summary(summary, wanted: list[Record]) -> None:
  seconds = [len(record.audio) / 16_000 for record in wanted]
  assert summary.records == len(wanted)
  assert summary.seconds == pytest.approx(sum(seconds))
  assert summary.shortest == min(seconds)
  assert summary.median == pytest.approx(statistics.median(seconds))
  assert summary.longest == max(seconds)
  assert summary.characters == sum(len(record.text) for record in wanted)
  assert summary.words == sum(len(record.text.split()) for record in wanted)
  assert summary.characters_per_second == pytest.approx(summary.characters / sum(seconds))
  speakers = {(record.dataset_name, record.speaker) for record in wanted if record.speaker}
  assert summary.speakers == (len(speakers) or None)


@given(SHARDS)
def test_figures_are_those_of_a_plain_computation(shards):
  survey = merge(survey_of(shards))
  known = everything(shards)
  groups = by_group(survey)
  named = [(Group(s, r.dataset_name, r.language or ""), r) for s, r in known]
  assert set(groups) == {group for group, _ in named}
  for group, summary in groups.items():
    check_summary(summary, [record for name, record in named if name == group])
  for field in ("split", "dataset", "language"):
    summaries = by_field(survey, field)
    assert set(summaries) == {getattr(group, field) for group, _ in named}
    for value, summary in summaries.items():
      check_summary(summary, [r for group, r in named if getattr(group, field) == value])
    assert [s.seconds for s in summaries.values()] == sorted(
      (s.seconds for s in summaries.values()), reverse=True
    )
  characters: dict[str, Counter[str]] = {}
  for _, record in known:
    characters.setdefault(record.language or "", Counter()).update(record.text)
  assert survey.characters == characters
  assert survey.unreadable == sum(
    (Counter({split: entries.count(None)}) for split, entries in shards), Counter()
  )


@given(SHARDS, st.data())
def test_surveys_of_parts_merge_to_that_of_the_whole(shards, data):
  parts = survey_of(shards)
  whole = merge(parts)
  cut = data.draw(st.integers(0, len(parts)))
  assert equal(merge([merge(parts[:cut]), merge(parts[cut:])]), whole)
  assert equal(merge([whole]), whole)
  assert equal(merge([pickle.loads(pickle.dumps(part)) for part in parts]), whole)


@given(SHARDS)
def test_equal_digests_mean_equal_things(shards):
  rows = merge(survey_of(shards)).rows
  known = [record for _, record in everything(shards)]
  for field, key in (
    ("id", lambda record: record.sample_id),
    ("text", lambda record: " ".join(record.text.split())),
    ("sound", lambda record: record.audio.tobytes()),
  ):
    pairs = {(digest, key(record)) for digest, record in zip(rows[field], known, strict=True)}
    assert len({digest for digest, _ in pairs}) == len({value for _, value in pairs}) == len(pairs)


def test_rows_say_where_the_record_is_and_how_loud():
  loud = Record(sample_id="a", audio=np.full(160, 0.5, np.float32), text="x", speaker="s")
  (part,) = survey_of([("train", [None, loud])], first=7)
  (row,) = part.rows
  assert (row["shard"], row["position"], row["samples"]) == (7, 1, 160)
  assert (row["peak"], row["rms"], row["offset"], row["clipped"]) == (0.5, 0.5, 0.5, 0)
  assert part.speakers == (("", "s"),)
  assert part.problems == ("7:0: broken",)


def test_more_records_than_a_block():
  tone = np.full(16, 0.5, np.float32)
  surveyor = Surveyor(0, "train")
  for i in range(9_000):
    surveyor.add(Record(sample_id=str(i), audio=tone, text=f"{i}"), i)
  rows = surveyor.survey().rows
  assert rows["position"].tolist() == list(range(9_000))
  assert len(np.unique(rows["id"])) == 9_000
  assert rows.nbytes < 80 * len(rows)


@pytest.mark.parametrize(
  ("audio", "reason"),
  [
    (np.zeros(0, np.float32), "0 samples"),
    (np.array([0.1, np.nan], np.float32), "NaN"),
    (np.array([np.inf, 0.1], np.float32), "infinite"),
  ],
)
def test_what_is_not_sound_is_not_noted(audio, reason):
  surveyor = Surveyor(0, "train")
  with pytest.raises(RecordError, match=reason):
    surveyor.add(Record(sample_id="a", audio=audio, text="x"), 0)
  survey = surveyor.survey()
  assert (len(survey.rows), survey.groups, survey.characters) == (0, (), {})


def test_problems_are_few():
  surveyor = Surveyor(0, "train")
  for i in range(50):
    surveyor.reject(str(i), "broken")
  survey = merge([surveyor.survey(), surveyor.survey()])
  assert survey.unreadable == {"train": 100}
  assert len(survey.problems) == PROBLEMS_KEPT


def test_nothing():
  nothing = merge([])
  assert by_group(nothing) == by_field(nothing, "split") == rows_by(nothing, "split") == {}
  summary = summarize(nothing.rows)
  assert (summary.records, summary.seconds, summary.speakers) == (0, 0, None)
  assert math.isnan(summary.median) and math.isnan(summary.characters_per_second)
