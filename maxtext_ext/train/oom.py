"""Recovery from out of memory on the device: the same batches in smaller pieces."""

import logging

import jax

from maxtext_ext import bridge

_log = logging.getLogger(__name__)


def is_out_of_memory(error: jax.errors.JaxRuntimeError) -> bool:
  """Returns whether a program ran out of device memory, when compiled or when run."""
  return "RESOURCE_EXHAUSTED" in str(error)


def with_fewer_rows(config: bridge.Config, error: jax.errors.JaxRuntimeError) -> bridge.Config:
  """Returns a configuration with the same batches and half the rows a pass (1 of 3, 1 of 5).

  With `per_device_batch_seconds` a pass has half the seconds, and batches are about the same.

  Rows of a batch, their order and the update stay: only `gradient_accumulation_steps` grows by as
  much as the rows shrink.

  Raises:
    JaxRuntimeError: the error is another.
    ValueError: `on_oom` is fail, or there is one row only.
  """
  if not is_out_of_memory(error):
    raise error
  if config.per_device_batch_seconds:
    return _with_fewer_seconds(config, error)
  rows = int(config.per_device_batch_size)
  pieces = config.gradient_accumulation_steps
  now = f"out of memory at per_device_batch_size={rows} gradient_accumulation_steps={pieces}"
  if config.on_oom == "fail":
    raise ValueError(f"{now}, and on_oom=fail; give on_oom=shrink, or fewer rows: {error}")
  if rows < 2:
    raise ValueError(
      f"{now}, which is one row a pass: lower max_target_length, give remat_policy=full, train less"
      f" (lora_rank, train_parts), or divide the model among more devices: {error}"
    )
  fewer = next(n for n in range(rows // 2, 0, -1) if rows % n == 0)
  factor = rows // fewer
  _log.warning("%s; continuing with %d and %d: the same batches", now, fewer, pieces * factor)
  return bridge.replace(
    config,
    per_device_batch_size=fewer,
    micro_batch_size_to_train_on=config.micro_batch_size_to_train_on // factor,
    gradient_accumulation_steps=pieces * factor,
  )


def _with_fewer_seconds(config: bridge.Config, error: jax.errors.JaxRuntimeError) -> bridge.Config:
  seconds, pieces = config.per_device_batch_seconds, config.gradient_accumulation_steps
  now = (
    f"out of memory at per_device_batch_seconds={seconds:g} gradient_accumulation_steps={pieces}"
  )
  if config.on_oom == "fail":
    raise ValueError(f"{now}, and on_oom=fail; give on_oom=shrink, or fewer seconds: {error}")
  if seconds < 2 * config.max_seconds:
    raise ValueError(
      f"{now}, which may be one clip of max_seconds={config.max_seconds:g} a pass: lower"
      f" max_seconds, give remat_policy=full, or train less (train_parts): {error}"
    )
  _log.warning("%s; continuing with %g and %d", now, seconds / 2, pieces * 2)
  return bridge.replace(
    config,
    per_device_batch_seconds=seconds / 2,
    global_batch_size_to_load=config.global_batch_size_to_load * 2,
    gradient_accumulation_steps=pieces * 2,
  )
