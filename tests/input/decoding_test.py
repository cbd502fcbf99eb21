import numpy as np
import pytest
from inputs import with_keys

from maxtext_ext.input.filters import Filters
from maxtext_ext.input.pipeline import PromptKeys, decode_iterator, decode_split
from maxtext_ext.text.alphabet import Alphabet

CLIPS = 48  # of conftest.py


@pytest.mark.parametrize("hosts", [1, 2])
def test_decoding_gives_every_clip_once(config, tokenizer, hosts):
  config = with_keys(config, rows=5, audio_dtype="int16", filters=Filters(max_seconds=1.0))
  seen, shapes = {}, []
  for host in range(hosts):
    batches = decode_iterator(config, tokenizer, "train", host_index=host, host_count=hosts)
    all_batches = list(batches)
    assert len(all_batches) == len(batches)
    shapes.append([batch.arrays["samples"].shape for batch in all_batches])
    for batch in all_batches:
      assert batch.arrays["samples"].dtype == np.int16
      real = batch.arrays["inputs_segmentation"].any(axis=1)
      assert real.tolist() == [row < len(batch.utterances) for row in range(5)]
      for row, info in enumerate(batch.utterances):
        length = batch.arrays["inputs_segmentation"][row].sum()
        prompt = batch.arrays["inputs"][row, :length]
        assert prompt[-1] != tokenizer.im_end_id  # the answer is not there
        seen[info.id] = (info.reference.split()[-1], info.dataset, info.language)
  assert seen == {f"clip{n}": (str(n), "noise", ("English", "Hebrew")[n % 2]) for n in range(CLIPS)}
  assert all(shape == shapes[0] for shape in shapes)


def test_decoding_counts_what_it_cannot_read(config, tokenizer, faulty_dir):
  config = with_keys(config, data_dir=faulty_dir, filters=Filters(min_seconds=0.3, max_seconds=5.0))
  batches = decode_iterator(config, tokenizer)
  assert sum(len(batch.utterances) for batch in batches) == 9  # of any length
  assert batches.dropped == {"unreadable": 2, "unusable": 1}


def test_a_clip_without_prompt_is_decoded_whatever_its_reference_says(config, tmp_path):
  alphabet = Alphabet("ab").write(tmp_path)  # the references hold numbers too
  config = with_keys(config, prompt=PromptKeys(template="letters"))
  batches = list(decode_iterator(config, alphabet))
  assert sum(len(batch.utterances) for batch in batches) == CLIPS
  sound = {"samples", "chunk_frames", "chunk_segment"}
  assert all(batch.arrays.keys() == sound for batch in batches)
  assert all(batch.arrays["chunk_frames"].any() for batch in batches)


def test_too_much_that_cannot_be_read_is_an_error(config, tokenizer, faulty_dir):
  config = with_keys(config, data_dir=faulty_dir, max_bad_fraction=0.0)
  with pytest.raises(ValueError, match="1 of 1 records read cannot be used"):
    decode_iterator(config, tokenizer)


def test_a_few_clips_are_drawn_from_the_whole_split_and_always_the_same(config, tokenizer):
  def drawn(rows: int, most: int) -> set[str]:
    made = decode_split(with_keys(config, rows=rows), tokenizer, most=most)
    batches = list(made)
    assert len(batches) == len(made)
    return {clip.id for batch in batches for clip in batch.utterances}

  few = drawn(3, 8)
  assert len(few) == 8 and few == drawn(5, 8)
  numbers = sorted(int(name.removeprefix("clip")) for name in few)
  assert numbers[0] < CLIPS // 2 <= numbers[-1]
  assert len(drawn(5, CLIPS + 1)) == CLIPS


def test_batches_can_be_read_again_in_other_sizes(config, tokenizer):
  split = decode_split(with_keys(config, rows=4), tokenizer)
  for made in (split, split, split.with_rows(2)):
    rows = [len(batch.arrays["inputs"]) for batch in made]
    assert len(rows) == len(made)
    assert set(rows) == {made.config.rows}
    assert sum(len(batch.utterances) for batch in made) == CLIPS


def test_filters_leave_nothing_out_of_decoding(config, tokenizer):
  filters = Filters(max_seconds=5.0, min_characters=1_000)
  batches = decode_iterator(with_keys(config, filters=filters), tokenizer)
  assert sum(len(batch.utterances) for batch in batches) == CLIPS
  with pytest.raises(ValueError, match=f"none of {CLIPS} records can be decoded"):
    decode_split(with_keys(config, filters=filters), tokenizer, filtered=True)
