"""Length of a run: `steps`, or as many as `epochs` are."""

import jax

from maxtext_ext import bridge
from maxtext_ext.input.epochs import steps_of
from maxtext_ext.input.pipeline import InputConfig
from maxtext_ext.progress import say
from maxtext_ext.text.templates import TEMPLATES


def with_steps(config: bridge.Config) -> bridge.Config:
  """Sets `steps`, and those of the schedule, from `epochs` where these are given.

  Raises:
    ValueError: no data, or none that can be used.
  """
  if not config.epochs:
    return config
  rows = config.global_batch_size_to_load
  inputs = InputConfig.from_config(config, split=config.train_split, rows=rows)
  tokenizer = TEMPLATES[config.template].open(config.tokenizer_path)
  tokenizer.require_rows(config.vocab_size)
  steps = steps_of(config.epochs, inputs, tokenizer, rows=rows)
  if jax.process_index() == 0:
    say(f"epochs={config.epochs:g}: {steps} steps of {rows} rows")
  return bridge.replace(config, steps=steps, learning_rate_schedule_steps=steps)
