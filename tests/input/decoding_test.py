import numpy as np
import pytest
from inputs import with_keys

from maxtext_ext.input.filters import Filters
from maxtext_ext.input.pipeline import PromptKeys, decode_split
from maxtext_ext.text.alphabet import Alphabet

CLIPS = 48  # of conftest.py


@pytest.mark.parametrize("hosts", [1, 2])
def test_decoding_gives_every_clip_once(config, tokenizer, hosts):
  config = with_keys(config, audio_dtype="int16", filters=Filters(max_seconds=1.0))
  seen, counts = {}, []
  for host in range(hosts):
    clips = iter(decode_split(config, tokenizer, "train", host_index=host, host_count=hosts))
    counts.append(len(clips))
    for clip in clips:
      assert clip.samples.dtype == np.int16
      assert clip.prompt[-1] != tokenizer.im_end_id and not len(clip.target)  # no answer is there
      seen[clip.sample_id] = (clip.text.split()[-1], clip.dataset_name, clip.language)
  assert seen == {f"clip{n}": (str(n), "noise", ("English", "Hebrew")[n % 2]) for n in range(CLIPS)}
  assert sum(counts) == CLIPS and max(counts) - min(counts) <= 1


def test_long_clips_come_first(config, tokenizer, tmp_path, make_record, write_split):
  clips = [make_record(n, seconds=s) for n, s in enumerate((3.0, 9.0, 1.0, 20.0, 10.0))]
  write_split(tmp_path, "train", clips)
  read = iter(decode_split(with_keys(config, data_dir=str(tmp_path)), tokenizer))
  seconds = [round(clip.seconds) for clip in read]
  assert seconds[0] == 20 and set(seconds[1:3]) == {9, 10}  # 4, 2, 2, 1 and 1 windows


def test_decoding_counts_what_it_cannot_read(config, tokenizer, faulty_dir):
  config = with_keys(config, data_dir=faulty_dir, filters=Filters(min_seconds=0.3, max_seconds=5.0))
  clips = iter(decode_split(config, tokenizer))
  assert len(list(clips)) == 9  # of any length
  assert clips.dropped == {"unreadable": 2, "unusable": 1}


def test_a_clip_without_prompt_is_decoded_whatever_its_reference_says(config, tmp_path):
  alphabet = Alphabet("ab").write(tmp_path)  # the references hold numbers too
  config = with_keys(config, prompt=PromptKeys(template="letters"))
  clips = list(decode_split(config, alphabet))
  assert len(clips) == CLIPS
  assert not any(len(clip.prompt) or len(clip.target) for clip in clips)


def test_too_much_that_cannot_be_read_is_an_error(config, tokenizer, faulty_dir):
  config = with_keys(config, data_dir=faulty_dir, max_bad_fraction=0.0)
  with pytest.raises(ValueError, match="1 of 1 records read cannot be used"):
    decode_split(config, tokenizer)


def test_a_few_clips_are_drawn_from_the_whole_split_and_always_the_same(config, tokenizer):
  def drawn(most: int, seed: int = 0) -> set[str]:
    made = decode_split(with_keys(config, seed=seed), tokenizer, most=most)
    clips = list(made)
    assert len(clips) == len(made)
    return {clip.sample_id for clip in clips}

  few = drawn(8)
  assert len(few) == 8 and few == drawn(8, seed=7)
  numbers = sorted(int(name.removeprefix("clip")) for name in few)
  assert numbers[0] < CLIPS // 2 <= numbers[-1]
  assert len(drawn(CLIPS + 1)) == CLIPS


def test_clips_can_be_read_again(config, tokenizer):
  split = decode_split(config, tokenizer)
  assert [clip.sample_id for clip in split] == [clip.sample_id for clip in split]


def test_filters_leave_nothing_out_of_decoding(config, tokenizer):
  filters = Filters(max_seconds=5.0, min_characters=1_000)
  assert len(list(decode_split(with_keys(config, filters=filters), tokenizer))) == CLIPS
  with pytest.raises(ValueError, match=f"none of {CLIPS} records can be decoded"):
    decode_split(with_keys(config, filters=filters), tokenizer, filtered=True)
