import dataclasses
import math

import numpy as np
import pytest

from maxtext_ext.corpus.issues import find
from maxtext_ext.corpus.statistics import Surveyor, merge
from maxtext_ext.records.schema import Record

SHARED = "The same {} in two splits"


def clip(name: str, *, seconds: float = 2.0, level: float = 0.1, **fields) -> Record:
  """A tone of its own for each name; 10 characters a second."""
  time = np.arange(round(seconds * 16_000)) / 16_000
  pitch = 100 + sum(name.encode())
  tone = level * math.sqrt(2) * np.sin(2 * np.pi * pitch * time)
  text = f"{name} says ".ljust(round(10 * seconds), "a")
  fields = {"text": text, "language": "English"} | fields
  return Record(sample_id=name, audio=tone.astype(np.float32), **fields)


def with_audio(record: Record, change) -> Record:
  return dataclasses.replace(record, audio=change(record.audio).astype(np.float32))


USUAL = [clip(f"usual{i}", seconds=1 + i / 10) for i in range(12)]


def found(train: list[Record], test: list[Record] = ()) -> dict[str, list[tuple[str, str]]]:
  """Ids and details by the name of the finding; all else is usual."""
  parts = []
  records = [*USUAL, *train, *test]
  for index, (split, part) in enumerate((("train", [*USUAL, *train]), ("test", test))):
    surveyor = Surveyor(index, split)
    for position, record in enumerate(part):
      surveyor.add(record, position)
    parts.append(surveyor.survey())
  return {
    finding.name: [(records[row].sample_id, finding.detail(row)) for row in finding.rows.tolist()]
    for finding in find(merge(parts))
  }


def test_usual_records_are_not_listed():
  assert found([]) == {}


def test_nothing_at_all():
  assert find(merge([])) == []


@pytest.mark.parametrize(
  ("record", "name", "detail"),
  [
    (clip("x", level=2).as_float32().clip(-1, 1), "Clipped", "% of the samples at full scale"),
    (clip("x", level=1e-3).as_float32(), "Nearly silent", "RMS -60 dBFS, peak -57 dBFS"),
    (np.zeros(32_000, np.float32), "Nearly silent", "RMS none, peak none"),
    (clip("x").as_float32() - 0.05, "Off centre", "mean -5.0% of full scale"),
  ],
)
def test_sound(record, name, detail):
  listed = found([dataclasses.replace(clip("x"), audio=record.astype(np.float32))])
  assert list(listed) == [name]
  assert listed[name][0][0] == "x"
  assert detail in listed[name][0][1]


def test_a_clip_that_touches_full_scale_once_is_fine():
  peak = clip("x").audio.copy()
  peak[100] = 1
  assert found([dataclasses.replace(clip("x"), audio=peak)]) == {}


@pytest.mark.parametrize(
  ("seconds", "name"),
  [(0.4, "Very short"), (0.6, None), (29.9, None), (30.1, "Very long")],
)
def test_lengths(seconds, name):
  listed = found([clip("x", seconds=seconds)])
  assert listed == ({name: [("x", f"{seconds:.2f} s")]} if name else {})


def test_the_worst_come_first():
  listed = found([clip("a", seconds=40), clip("b", seconds=60), clip("c", seconds=50)])
  assert [name for name, _ in listed["Very long"]] == ["b", "c", "a"]


def test_characters_a_second_are_held_to_the_language():
  chinese = [
    clip(f"zh{i}", text="我" * (4 + i), language="Chinese", seconds=1 + i / 4) for i in range(9)
  ]
  assert found(chinese) == {}  # 4 a second is usual there
  listed = found([*chinese, clip("slow", text="so"), clip("fast", text="ab " * 40)])
  assert listed == {
    "More text than sound": [("fast", "60.0 characters a second, 6.0 times more than usual")],
    "More sound than text": [("slow", "1.0 characters a second, 10.0 times less than usual")],
  }


@pytest.mark.parametrize(
  ("odd", "name"),
  [
    ("\ufffd", "Broken characters"),
    ("\n", "Control characters"),
    ("\u200f", "Invisible characters"),
    ("\u00a0", "Unusual spaces"),
    ("€", "Symbols"),
    ("הab", "Mixed scripts"),
    ("7", None),
    ("ה", None),
  ],
)
def test_texts(odd, name):
  listed = found([clip("x", text=f"hello {odd} and more")])
  assert list(listed) == ([name] if name else [])


def test_repeated_texts():
  same = [clip(name, text="thank you for watching") for name in "abc"]
  twice = [clip(name, text="one  two three four") for name in "de"]
  listed = found([twice[0], *same, dataclasses.replace(twice[1], text=" one two three four")])
  assert listed == {
    "Repeated texts": [("a", "3 records with this text"), ("d", "2 records with this text")]
  }


@pytest.mark.parametrize(
  ("change", "shared"),
  [
    ({"sample_id": "new", "text": "something else here"}, "sound"),
    ({"audio": clip("other").audio, "text": "something else here"}, "id"),
    ({"audio": clip("other").audio, "sample_id": "new"}, "text"),
  ],
)
def test_what_splits_share(change, shared):
  known = clip("known", text="a text of its own !!")
  copy = dataclasses.replace(known, **change)
  listed = found([known], [copy, clip("fine")])
  assert listed.pop("Repeated texts", None) is None or shared == "text"
  assert listed == {SHARED.format(shared): [(copy.sample_id, "in test and train")]}


def test_speakers_in_two_splits():
  listed = found(
    [clip("a", speaker="1"), clip("b", speaker="2"), clip("c", speaker="3")],
    [
      clip("d", speaker="1"),
      clip("e", speaker="2", dataset_name="another corpus"),
      clip("f", speaker="1"),
      clip("g"),
    ],
  )
  assert listed == {SHARED.format("speaker"): [("d", "in test and train")]}
