"""The number of windows of a row."""

import pytest
from inputs import with_keys

from maxtext_ext.input.pipeline import (
  Filters,
  HostAugment,
  NamedData,
  NoiseOnly,
  eval_iterator,
  train_iterator,
)

STEPS = 100


def test_windows_are_chosen_from_the_data(config, tokenizer):
  """Some 35 tokens and 2.3 chunks a clip: in 320 tokens 9 clips, and their 21 chunks."""
  config = with_keys(config, windows_per_row=0, max_tokens=320, filters=Filters(max_seconds=16.0))
  chosen = {windows(config, tokenizer, host_index=host, host_count=2) for host in range(2)}
  assert chosen <= {2, 3} and len(chosen) == 1
  batch = next(eval_iterator(config, tokenizer))
  assert batch["samples"].shape[1] in chosen


def windows(config, tokenizer, **hosts):
  state = train_iterator(config, tokenizer, steps=STEPS, **hosts).get_state()
  return state["identity"]["windows_per_row"]


@pytest.fixture
def short_rows(tmp_path, config, make_record, write_split):
  """Rows of few tokens, and clips of 0.5 to 3 s with one of 9 s."""
  records = [make_record(number) for number in range(40)]
  write_split(tmp_path, "train", [*records, make_record(40, seconds=9.0)])
  return with_keys(
    config,
    data_dir=str(tmp_path),
    windows_per_row=0,
    max_tokens=420,
    filters=Filters(max_seconds=30.0),
  )


def test_the_longest_clip_of_a_small_dataset_has_room_and_so_when_it_is_slowed_down(
  short_rows, tokenizer
):
  one_clip = with_keys(short_rows, max_tokens=400)
  assert windows(one_clip, tokenizer) >= 2, "9 s"
  slow = with_keys(one_clip, augment=HostAugment(speed_range=(0.5, 1.0)))
  assert windows(slow, tokenizer) >= 3, "18 s"
  bounded = with_keys(slow, filters=Filters(max_seconds=10.0))
  assert windows(bounded, tokenizer) == windows(one_clip, tokenizer), "never over max_seconds"


def test_noise_alone_has_room_too(short_rows, tokenizer, noise_dir):
  config = with_keys(
    short_rows,
    augment=HostAugment(noise_dir=noise_dir),
    noise_only=NoiseOnly(noise_only_rate=0.001, noise_only_seconds=(20.0, 25.0)),
  )
  assert windows(config, tokenizer) >= 4


def test_a_mixture_is_sampled_in_its_proportions(
  config, tokenizer, tmp_path, make_record, write_split
):
  """Clips of half a second need a tenth of the windows that clips of 5 s and no more text need."""
  for name, seconds in (("short", 0.5), ("long", 5.0)):
    (tmp_path / name).mkdir()
    write_split(tmp_path / name, "train", [make_record(n, seconds=seconds) for n in range(20)])

  def chosen(weight):
    data = [
      NamedData(name="short", data_dir=str(tmp_path / "short")),
      NamedData(name="long", data_dir=str(tmp_path / "long"), weight=weight),
    ]
    return windows(
      with_keys(config, mixture=data, windows_per_row=0, max_tokens=1_000),
      tokenizer,
    )

  assert chosen(0.01) < chosen(100.0)
