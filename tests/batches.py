"""Contents of a batch: transcripts of the clips, which end with the clip's number."""

import numpy as np

from maxtext_ext.text.templates.qwen3_asr import parse_output


def texts(batch, tokenizer):
  """Transcripts in a batch, row by row."""
  found = []
  for targets, counted in zip(batch["targets"], batch["targets_segmentation"], strict=True):
    for segment in range(1, counted.max() + 1):
      answer = tokenizer.decode(targets[counted == segment].tolist())
      found.append(parse_output(answer)[1])
  return found


def numbers(batch, tokenizer):
  """Numbers of the clips in a batch."""
  return [text.split()[-1] for text in texts(batch, tokenizer)]


def take(iterator, count, tokenizer):
  """Numbers of at least `count` clips."""
  found = []
  while len(found) < count:
    found += numbers(next(iterator), tokenizer)
  return found


def assert_equal(batch, other):
  """The same arrays, bit for bit."""
  assert batch.keys() == other.keys()
  for key, value in batch.items():
    assert value.dtype == other[key].dtype
    np.testing.assert_array_equal(value, other[key], err_msg=key)
