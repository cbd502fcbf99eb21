"""Decoding a split: checkpoint in, JSONL of hypotheses out."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import jax
from flax import nnx
from jax.sharding import Mesh

from maxtext_ext import bridge
from maxtext_ext.checkpoint import adapter
from maxtext_ext.checkpoint.training import find_checkpoint
from maxtext_ext.config import load
from maxtext_ext.decode.generate import Generator
from maxtext_ext.decode.transcribe import transcribe
from maxtext_ext.decode.writer import HypothesisWriter, shard_path
from maxtext_ext.hosts.join import joined
from maxtext_ext.input.pipeline import InputConfig, decode_iterator
from maxtext_ext.models.speech_lm import make_model
from maxtext_ext.text.tokenizer import Tokenizer
from maxtext_ext.train.metrics import ProgressLine


@dataclass(frozen=True, kw_only=True)
class DecodeResult:
  """What was decoded, and where it lies."""

  output: str
  clips: int
  audio_seconds: float


def main(path: str, overrides: Sequence[str] = ()) -> DecodeResult:
  """Decodes the split that a configuration names.

  Raises:
    ValueError: for a configuration, data or a checkpoint that cannot be used.
    OSError: a process is missing, or was lost.
  """
  with joined(path, overrides):
    return decode(load(path, overrides))


def decode(config: bridge.Config) -> DecodeResult:
  """Decodes `config.split` with the checkpoint `config.decode_checkpoint`, greedily."""
  mesh = bridge.make_mesh(config)
  tokenizer = Tokenizer.from_directory(config.tokenizer_path)
  config, params = load_weights(config, mesh)
  generator = Generator.of(config, mesh, tokenizer)
  run_dir = os.path.dirname(config.checkpoint_dir.rstrip("/"))
  output = config.output or os.path.join(run_dir, "decoded", config.split)
  rows = config.decode_rows * jax.local_device_count()
  inputs = InputConfig.from_config(config, split=config.split, rows=rows)
  host, hosts = jax.process_index(), jax.process_count()
  batches = decode_iterator(inputs, tokenizer, config.split, host_index=host, host_count=hosts)
  clips, seconds = 0, 0.0
  with (
    HypothesisWriter(shard_path(output, host, hosts)) as writer,
    ProgressLine("decode", len(batches), visible=host == 0) as progress,
  ):
    for number, batch in enumerate(batches, 1):
      for hypothesis in transcribe(generator, params, batch, tokenizer):
        writer.write(hypothesis)
        clips, seconds = clips + 1, seconds + hypothesis.duration
      progress.update(number, f"{clips} clips, {seconds:.0f} s of audio")
  return DecodeResult(output=output, clips=clips, audio_seconds=seconds)


def load_weights(config: bridge.Config, mesh: Mesh) -> tuple[bridge.Config, nnx.State]:
  """What `decode_checkpoint` names: weights of the run, those it began with, or weights as drawn.

  Returns:
    the configuration of that model, and its parameters.

  Raises:
    ValueError: there are no such weights.
  """
  if config.decode_checkpoint == "untrained":
    with bridge.mesh_scope(config, mesh):
      return config, jax.jit(lambda: nnx.state(make_model(config, mesh), nnx.Param))()
  if config.decode_checkpoint == "base":
    path = config.load_parameters_path
    if not path:
      raise ValueError("decode_checkpoint=base needs load_parameters_path, which is not given")
  else:
    path = find_checkpoint(config.checkpoint_dir, config.decode_checkpoint)
  return adapter.load_weights(config, mesh, path, lambda config: make_model(config, mesh))
