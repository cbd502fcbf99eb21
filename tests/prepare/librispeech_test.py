import dataclasses

import pytest

from maxtext_ext.conversion.convert import ConvertSummary
from maxtext_ext.prepare import gigaspeech, librispeech
from maxtext_ext.prepare.command import choose_parts, published_difference
from maxtext_ext.prepare.prepare import Prepared, Written
from maxtext_ext.sources.dataset_files import choose_files

SOURCE = librispeech.SOURCE


def test_the_published_subsets():
  parts = {part.label: (part.config, part.split) for part in SOURCE.parts}
  assert parts == {
    "train-clean-100": ("clean", "train.100"),
    "train-clean-360": ("clean", "train.360"),
    "train-other-500": ("other", "train.500"),
    "dev-clean": ("clean", "validation"),
    "dev-other": ("other", "validation"),
    "test-clean": ("clean", "test"),
    "test-other": ("other", "test"),
  }
  published = [part.published for part in SOURCE.parts]
  assert sum(each.records for each in published) == 292_367  # the whole corpus has so many
  assert sum(each.hours for each in published) == pytest.approx(982.1)


def test_splits_of_two_words_are_folders_or_beginnings_of_files():
  names = [
    "clean/train.100/0000.parquet",
    "clean/train.360/0000.parquet",
    "clean/train.100-00000-of-00001.parquet",
    "other/train.100/0000.parquet",
  ]
  assert choose_files(names, "train.100", "clean") == [names[2], names[0]]
  assert choose_files(names, "train.360", "clean") == [names[1]]
  assert choose_files(names, "train.500", "clean") == []


def prepared(part, *, read, written=None, seconds=0.0):
  written = read if written is None else written
  summary = ConvertSummary(
    read=read, written=written, quarantined=0, left_out={}, seconds=seconds, shards=()
  )
  splits = {part.to: Written(records=written, seconds=seconds)}
  return Prepared(name="librispeech", part=part, data_dir="d", splits=splits, summary=summary)


@pytest.mark.parametrize(
  ("counts", "said"),
  [
    ({"read": 2_703, "seconds": 5.39 * 3600}, "2,703 utterances and 5.4 hours, as published"),
    ({"read": 2_703, "written": 2_702, "seconds": 5.2 * 3600}, "2,703 utterances, as published"),
    ({"read": 2_702, "seconds": 5.39 * 3600}, "INCOMPLETE: 2,702 utterances, of 2,703 published"),
    ({"read": 2_703, "seconds": 5.2 * 3600}, "DIFFERENT: 5.20 hours, of 5.4 published"),
  ],
)
def test_counts_are_compared_with_the_published_ones(counts, said):
  (part,) = choose_parts(SOURCE, ["dev-clean"]).parts
  assert published_difference(prepared(part, **counts)).startswith(said)
  unpublished = dataclasses.replace(part, published=None)
  assert published_difference(prepared(unpublished, **counts)) == ""


def test_gigaspeech_has_no_exact_hours():
  (part,) = choose_parts(gigaspeech.source_of("s", punctuation=False), ["train"]).parts
  assert published_difference(prepared(part, read=230_068, seconds=1.0)) == (
    "230,068 utterances, as published"
  )


def lines_of(*names):
  parts = choose_parts(SOURCE, names).parts
  return librispeech.experiment_lines([prepared(part, read=1) for part in parts]).splitlines()


def test_lines_for_an_experiment():
  assert lines_of("train-clean-100", "dev-clean", "test-clean") == [
    "data_dir: d",
    "train_split: train-clean-100",
    "eval_split: dev-clean",
  ]
  assert lines_of("train-clean-100", "train-clean-360") == [
    "data_dir: d",
    "mixture:",
    "  - {name: train-clean-100, data_dir: d, split: train-clean-100}",
    "  - {name: train-clean-360, data_dir: d, split: train-clean-360}",
  ]
  assert lines_of("test-clean") == ["data_dir: d"]


def test_parts_that_are_not_there():
  with pytest.raises(ValueError, match="'train-clean' is no part of librispeech, expected one of"):
    choose_parts(SOURCE, ["train-clean"])
