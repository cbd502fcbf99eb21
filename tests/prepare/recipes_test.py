import re

import pytest

from maxtext_ext.prepare import arabic, gigaspeech, hebrew, librispeech
from maxtext_ext.prepare.split import Split
from maxtext_ext.text.languages import LANGUAGES

EXPERIMENT = {  # shards for train, validation, test of the experiment's 79 files
  "MohamedRashad/SADA22": (19, 3, 3),
  "MohamedRashad/mgb2_arabic": (29, 4, 4),
  "MohamedRashad/arabic_english_code_switching": (1, 1, 1),
  "fixie_ai/common_voice_17_0": (3, 2, 2),
  "google/fleurs": (1, 1, 1),
  "halabi2016/arabic_speech_corpus": (1, 0, 1),
  "UBC_NLP/Casablanca": (1, 1, 0),
}


def shards_of(source):
  counts = dict.fromkeys(("train", "validation", "test"), 0)
  for part in source.parts:
    for split in part.splits:
      counts[split] += part.shards
  return tuple(counts.values())


def test_arabic_shards_are_those_of_the_experiment():
  assert {source.dataset_name: shards_of(source) for source in arabic.SOURCES} == EXPERIMENT
  totals = [sum(counts) for counts in zip(*map(shards_of, arabic.SOURCES), strict=True)]
  assert totals == [55, 12, 12]


def test_arabic_languages():
  languages = {source.name: source.language for source in arabic.SOURCES}
  assert languages.pop("code-switching") == "Arabic/English"
  assert set(languages.values()) == {"Arabic"} and "Arabic" in LANGUAGES


def test_hebrew_is_divided_95_to_5_with_seed_42():
  assert [source.hub for source in hebrew.SOURCES] == [
    "ivrit-ai/crowd-transcribe-v5",
    "ivrit-ai/crowd-recital-whisper-training",
  ]
  for source in hebrew.SOURCES:
    (part,) = source.parts
    assert part.to == Split(shares=(("train", 0.95), ("validation", 0.05)), seed=42)
    assert source.language == "Hebrew"


ENGLISH = (
  librispeech.SOURCE,
  *(gigaspeech.source_of(subset, punctuation=False) for subset in gigaspeech.SUBSETS),
)


@pytest.mark.parametrize(
  "source", [*arabic.SOURCES, *hebrew.SOURCES, *ENGLISH], ids=lambda each: each.name
)
def test_a_source_fits_its_selector_and_names_its_splits_once(source):
  for part in source.parts:
    select = source.select(part, min_seconds=0.5, max_seconds=30.0)
    assert (select.to, select.language) == (part.to, source.language)
    assert getattr(select, "change", "") == source.change
    for key in ("overhang_seconds", "whisper_segments", "buckwalter", "group", "by_text"):
      assert getattr(select, key) == getattr(source, key)
  splits = [split for part in source.parts for split in part.splits]
  assert len(set(splits)) == len(splits)
  assert re.fullmatch(r"[a-z0-9-]+", source.name)


def test_the_recital_s_ids_are_grouped_by_recording():
  group = hebrew.SOURCES[1].group
  assert re.search(group, "3f2a-11-59.98")[1] == "3f2a-11"
  assert re.search(group, "3f2a-11-0")[1] == "3f2a-11"
