"""Layouts: a batch holds what its layout's batch_spec says."""

from inputs import with_keys

from maxtext_ext.input.layouts import LAYOUTS
from maxtext_ext.input.pipeline import eval_iterator, train_iterator


def shapes(arrays):
  return {name: (array.shape, array.dtype.name) for name, array in arrays.items()}


def test_packed_batches_are_as_specified(config, tokenizer):
  config = with_keys(config, audio_dtype="int16")
  spec = LAYOUTS["packed"].batch_spec(config, config.rows)
  specified = {name: (array.shape, array.dtype) for name, array in spec.items()}
  assert shapes(next(train_iterator(config, tokenizer, steps=1))) == specified
  assert shapes(next(eval_iterator(config, tokenizer))) == specified
