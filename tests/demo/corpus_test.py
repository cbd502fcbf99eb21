"""The corpus: what is held out, that only the seed decides, and the sound of the clips."""

import collections
import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest

from maxtext_ext.audio.limits import SAMPLE_RATE
from maxtext_ext.demo import corpus
from maxtext_ext.demo.corpus import Clip
from maxtext_ext.demo.words import LEXICONS
from maxtext_ext.records.schema import Record, decode_example
from maxtext_ext.sources.tfrecord import read_tfrecord

COUNTS = {"train": 9000, "validation": 200, "test": 450}
SMALL = {"train": 20, "validation": 3, "test": 6}


@pytest.fixture(scope="module")
def plans() -> dict[str, list[Clip]]:
  return corpus.plan(**COUNTS, seed=1)


def read(path: Path) -> list[Record]:
  return [decode_example(data) for _, data in read_tfrecord(str(path))]


def test_counts_languages_and_lengths_are_even(plans: dict[str, list[Clip]]) -> None:
  for split, clips in plans.items():
    assert len(clips) == COUNTS[split]
    languages = collections.Counter(clip.language for clip in clips)
    assert max(languages.values()) - min(languages.values()) <= 1
    assert set(languages) == {"English", "Arabic", "Hebrew"}
  lengths = collections.Counter(len(clip.words) for clip in plans["train"])
  assert set(lengths) == {1, 2, 3, 4}
  assert min(lengths.values()) > 0.22 * COUNTS["train"]
  assert {clip.voice.partition("+")[2] for clip in plans["train"]} == set(corpus.VARIANTS["train"])


def test_no_voice_serves_two_splits(plans: dict[str, list[Clip]]) -> None:
  voices = {split: {c.voice.partition("+")[2] for c in clips} for split, clips in plans.items()}
  for one, other in itertools.combinations(voices.values(), 2):
    assert one.isdisjoint(other)


def test_longer_texts_of_test_and_validation_are_not_trained_on() -> None:
  plans = corpus.plan(train=9000, validation=600, test=600, seed=3)
  trained = {(clip.language, clip.text) for clip in plans["train"]}
  for split in ("test", "validation"):
    for clip in plans[split]:
      assert len(clip.words) < 3 or (clip.language, clip.text) not in trained
  # Chance alone would train on some of them.
  free = corpus.plan(train=9000, validation=1, test=1, seed=3)["train"]
  free_texts = {(clip.language, clip.text) for clip in free}
  assert any(len(c.words) > 2 and (c.language, c.text) in free_texts for c in plans["test"])


def test_the_seen_share_counts_test_texts_in_training(plans: dict[str, list[Clip]]) -> None:
  training = plans["train"][:300]
  by_hand = [
    any(c.text == clip.text and c.language == clip.language for c in training)
    for clip in plans["test"]
  ]
  assert 0.05 < sum(by_hand) / 450 < 0.4
  assert corpus.seen_share(plans["test"], training) == pytest.approx(sum(by_hand) / 450)
  assert 0.3 < corpus.seen_share(plans["test"], plans["train"]) < 0.45
  assert corpus.seen_share(plans["train"], plans["train"]) == 1.0


def test_ids_are_unique_and_safe_in_paths(plans: dict[str, list[Clip]]) -> None:
  ids = [clip.sample_id for clips in plans.values() for clip in clips]
  assert len(set(ids)) == sum(COUNTS.values())
  assert not any("/" in i or " " in i for i in ids)


def test_the_seed_decides_everything() -> None:
  assert corpus.plan(**SMALL, seed=5) == corpus.plan(**SMALL, seed=5)
  one, other = (corpus.plan(**SMALL, seed=seed)["train"] for seed in (5, 6))
  assert [clip.text for clip in one] != [clip.text for clip in other]


def test_render_adds_silence_level_and_noise(plans: dict[str, list[Clip]]) -> None:
  clip = dataclasses.replace(plans["train"][0], lead=4000, tail=3000, peak=0.5, noise=1e-3)
  samples = corpus.render(clip)
  assert samples.dtype == np.float32
  assert np.abs(samples).max() == pytest.approx(0.5, abs=0.01)
  for silence in (samples[:3500], samples[-3000:]):
    assert silence.std() == pytest.approx(1e-3, rel=0.1)
  assert samples.std() > 0.02


def test_samples_stay_inside_full_scale(plans: dict[str, list[Clip]]) -> None:
  samples = corpus.render(dataclasses.replace(plans["train"][1], peak=1.0, noise=0.1))
  assert np.abs(samples).max() == 1.0


def test_a_long_phrase_is_spoken_faster_and_keeps_its_words(plans: dict[str, list[Clip]]) -> None:
  words = LEXICONS["Arabic"].words[3:11]
  slow = dataclasses.replace(
    plans["train"][0], language="Arabic", words=words, voice="ar+m1", rate=80
  )
  seconds = (len(corpus.render(slow)) - slow.lead - slow.tail) / SAMPLE_RATE
  assert 0.8 * corpus.MAX_SPEECH_SECONDS < seconds <= corpus.MAX_SPEECH_SECONDS + 1e-3


@pytest.mark.integration_test
def test_shards_hold_the_plan_whatever_the_number_of_processes(tmp_path: Path) -> None:
  calls: list[tuple[int, int]] = []
  one = corpus.synthesize(
    tmp_path / "one", **SMALL, seed=2, shards=2, workers=1, progress=lambda *c: calls.append(c)
  )
  two = corpus.synthesize(tmp_path / "two", **SMALL, seed=2, shards=2, workers=2)
  names = ["test-00000-of-00001", "train-00000-of-00002", "train-00001-of-00002"]
  names.append("validation-00000-of-00001")
  assert sorted(path.name for path in (tmp_path / "one").iterdir()) == [
    f"{n}.tfrecord" for n in names
  ]
  for path in (tmp_path / "one").iterdir():
    assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()

  plans = corpus.plan(**SMALL, seed=2)
  assert one.counts == two.counts == SMALL
  assert one.seen_test_share == corpus.seen_share(plans["test"], plans["train"])
  assert [total for _, total in calls] == [29] * 4
  assert calls[-1] == (29, 29)
  for split, clips in plans.items():
    records = {record.sample_id: record for path in one.shards[split] for record in read(path)}
    assert set(records) == {clip.sample_id for clip in clips}
    assert one.seconds[split] == pytest.approx(sum(r.seconds for r in records.values()))
    for clip in clips:
      record = records[clip.sample_id]
      assert (record.text, record.language) == (clip.text, clip.language)
      assert record.dataset_name == "demo_espeak"
      assert record.speaker == clip.sample_id.rpartition("-")[2]
      assert 0.2 < record.seconds < 3.1
      assert 0.25 < np.abs(record.audio).max() <= 1.0


def test_shards_of_another_division_are_not_mixed_in(tmp_path: Path) -> None:
  (tmp_path / "train-00000-of-00009.tfrecord").write_bytes(b"")
  with pytest.raises(ValueError, match="1 shards of another division, train-00000-of-00009"):
    corpus.synthesize(tmp_path, **SMALL)


@pytest.mark.parametrize(
  ("wrong", "message"),
  [({"test": 0}, "no clips asked for in: test"), ({"shards": 0}, "shards=0; expected at least 1")],
)
def test_wrong_counts_are_named(tmp_path: Path, wrong: dict[str, int], message: str) -> None:
  with pytest.raises(ValueError, match=message):
    corpus.synthesize(tmp_path / "out", **{**SMALL, **wrong})
  assert not (tmp_path / "out").exists()
