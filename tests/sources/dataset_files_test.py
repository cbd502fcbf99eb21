import pytest

from maxtext_ext.sources.dataset_files import choose_files

PUSHED = ["data/test-00000-of-00001.parquet", "data/train-00000-of-00001-8af31c.parquet"]
VOICE = [
  f"ar/{split}/000{index}.parquet"
  for split in ("train", "validation", "test", "validated", "invalidated", "other")
  for index in range(2)
]
COUNTRIES = [
  f"{country}/{split}-00000-of-00001.parquet"
  for country in ("Egypt", "UAE")
  for split in ("test", "validation")
]


@pytest.mark.parametrize(
  ("names", "split", "config", "expected"),
  [
    (PUSHED, "train", None, [PUSHED[1]]),
    (PUSHED, "test", None, [PUSHED[0]]),
    (PUSHED, "validation", None, []),
    (VOICE, "validation", "ar", ["ar/validation/0000.parquet", "ar/validation/0001.parquet"]),
    (VOICE, "validated", "ar", ["ar/validated/0000.parquet", "ar/validated/0001.parquet"]),
    (VOICE, "train", None, ["ar/train/0000.parquet", "ar/train/0001.parquet"]),
    (VOICE, "train", "he", []),
    (COUNTRIES, "test", "*", [COUNTRIES[0], COUNTRIES[2]]),
    (COUNTRIES, "validation", "UAE", [COUNTRIES[3]]),
    (["ar_eg/fleurs-dev.parquet"], "validation", None, ["ar_eg/fleurs-dev.parquet"]),
    (["valid.parquet", "training.parquet"], "train", None, ["training.parquet"]),
    (["test_set/train-0.parquet"], "test", None, []),
    (["train/a.parquet", "validation/a.parquet"], "validation", None, ["validation/a.parquet"]),
    (["b.parquet", "a.parquet", "a.csv"], "train", None, ["a.parquet", "b.parquet"]),
    (["b.parquet", "a.parquet"], "test", None, []),
    ([], "train", None, []),
  ],
)
def test_names_tell_the_split(names, split, config, expected):
  assert choose_files(names, split, config) == expected


def card(*configs):
  return {"configs": [{"config_name": name, "data_files": files} for name, files in configs]}


@pytest.mark.parametrize(
  ("metadata", "split", "config", "expected"),
  [
    (card(("default", "data/*")), "train", None, PUSHED),
    (card(("default", ["data/train-*", "data/test-*"])), "train", None, PUSHED),
    (card(("default", [{"split": "test", "path": "data/train-*"}])), "test", None, PUSHED[1:]),
    (card(("default", {"split": "dev", "path": ["data/test-*"]})), "validation", None, PUSHED[:1]),
    (card(("a", "data/train-*"), ("b", "data/test-*")), "train", "b", PUSHED[:1]),
    (card(("a", "data/train-*"), ("b", "data/test-*")), "train", "*", PUSHED),
    (card(("a", "data/train-*"), ("default", "data/test-*")), "train", None, PUSHED[:1]),
    (card(("a", "data/train-*")), "train", None, PUSHED[1:]),
    (card(("a", "data/train-*")), "train", "data", PUSHED[1:]),  # a folder, not a config
    ({"configs": None}, "train", None, PUSHED[1:]),
    ({}, "train", None, PUSHED[1:]),
  ],
)
def test_a_card_has_the_last_word(metadata, split, config, expected):
  assert choose_files(PUSHED, split, config, metadata) == expected


@pytest.mark.parametrize(
  ("names", "metadata", "said"),
  [
    (COUNTRIES, None, r"configs \['Egypt', 'UAE'\]"),
    (PUSHED, card(("a", "data/train-*"), ("b", "data/test-*")), r"configs \['a', 'b'\]"),
    (["data/test-00000-of-00002.parquet"], None, "1 of 2 parquet files are there, number 1"),
  ],
)
def test_what_cannot_be_chosen_is_an_error(names, metadata, said):
  with pytest.raises(ValueError, match=said):
    choose_files(names, "test", None, metadata)
