"""Decoding of a split with a checkpoint into JSONL files of hypotheses."""

import contextlib
import os
from dataclasses import dataclass

import jax
from flax import nnx
from jax.sharding import Mesh

from maxtext_ext import bridge
from maxtext_ext.checkpoint import adapter
from maxtext_ext.checkpoint.fingerprint import check_model
from maxtext_ext.checkpoint.training import find_checkpoint, with_base_weights
from maxtext_ext.config import build, run_dir_of
from maxtext_ext.decode.engines import make_engine
from maxtext_ext.evaluate import decoded
from maxtext_ext.evaluate.hypotheses import HypothesisWriter, describe_cut, shard_path
from maxtext_ext.files.folder_lock import sole_writer
from maxtext_ext.hosts.join import joined
from maxtext_ext.input.pipeline import InputConfig, decode_iterator
from maxtext_ext.keys.settings import Overrides, Settings, read
from maxtext_ext.models.make import make_model
from maxtext_ext.pages.duration import format_duration
from maxtext_ext.progress import ProgressLine, say
from maxtext_ext.text.templates import TEMPLATES


@dataclass(frozen=True, kw_only=True)
class DecodeResult:
  """Result of decoding, and its folder.

  Attributes:
    output: the folder of the hypotheses.
    clips: of this host.
    audio_seconds: of these clips.
    cut: transcripts that were cut at max_new_tokens.
    source: run, checkpoint and settings.
  """

  output: str
  clips: int
  audio_seconds: float
  cut: int
  source: decoded.Decoded

  def __str__(self) -> str:
    said = (
      f"{self.output}: {self.clips} clips of {self.source.split},"
      f" {format_duration(self.audio_seconds)} of audio, by {self.source.weights}"
      f" of {self.source.run}"
    )
    if not self.cut or self.source.checkpoint == "untrained":  # which hardly ever ends by itself
      return said
    return f"{said}; {describe_cut(self.cut, self.clips, self.source.max_new_tokens)}"


def main(path: str, overrides: Overrides = ()) -> DecodeResult:
  """Decodes the split that a configuration names.

  Args:
    path, overrides: as `keys.settings.read` takes them.

  Raises:
    ValueError: for a configuration, data or a checkpoint that cannot be used.
    OSError: a process is missing, or was lost.
  """
  return run(read(path, overrides))


def run(settings: Settings) -> DecodeResult:
  """Decodes with settings that were read; raises as `main`."""
  with joined(settings):
    result = decode(build(settings))
    if jax.process_index() == 0:
      say(str(result))
    return result


def decode(config: bridge.Config) -> DecodeResult:
  """Decodes `config.split` with the checkpoint `config.decode_checkpoint`, greedily.

  Raises:
    ValueError: data or checkpoint cannot be used.
    LockedError: another process writes hypotheses into the same folder.
  """
  output = config.output or os.path.join(run_dir_of(config), "decoded", config.split)
  alone = sole_writer(output, "decode", "decoding", instead="another output")
  with alone if jax.process_index() == 0 else contextlib.nullcontext():
    return _decode(config, output)


def _decode(config: bridge.Config, output: str) -> DecodeResult:
  mesh = bridge.make_mesh(config)
  tokenizer = TEMPLATES[config.template].open(config.tokenizer_path)
  weights = find_weights(config)
  config, params = load_weights(config, mesh, weights)
  engine = make_engine(config, mesh, tokenizer, announce=jax.process_index() == 0)
  inputs = InputConfig.from_config(config, split=config.split)
  host, hosts = jax.process_index(), jax.process_count()
  clips = decode_iterator(inputs, tokenizer, config.split, host_index=host, host_count=hosts)
  source = decoded.Decoded.of(config, weights)
  if host == 0:
    say(f"weights: {weights or 'random, untrained'}")
    decoded.remove(output)
  done, cut, seconds = 0, 0, 0.0
  prepared = engine.prepare(params)
  del params  # scanned layers were copied
  with (
    HypothesisWriter(shard_path(output, host, hosts)) as writer,
    ProgressLine("decode", len(clips), visible=host == 0) as progress,
  ):
    for answer in engine.run(prepared, clips):
      writer.write(answer.hypothesis())
      done, seconds = done + 1, seconds + answer.clip.seconds
      cut += not answer.complete
      note = f"{seconds:.0f} s of audio"
      progress.update(done, f"{note}, {cut} cut" if cut else note)
  if host == 0:
    source.write(output)
  return DecodeResult(output=output, clips=done, audio_seconds=seconds, cut=cut, source=source)


def find_weights(config: bridge.Config) -> str:
  """Returns the path of the weights of `decode_checkpoint`; "" for untrained weights.

  Raises:
    ValueError: there are no such weights.
  """
  if config.decode_checkpoint == "untrained":
    return ""
  if config.decode_checkpoint != "base":
    return find_checkpoint(config.checkpoint_dir, config.decode_checkpoint)
  if not config.load_parameters_path:
    raise ValueError("decode_checkpoint=base needs load_parameters_path, which is not given")
  return with_base_weights(config).load_parameters_path


def load_weights(
  config: bridge.Config, mesh: Mesh, path: str | None = None
) -> tuple[bridge.Config, nnx.State]:
  """Loads weights from a path of `find_weights`; None: those of `decode_checkpoint`.

  Returns:
    the configuration of that model, and its parameters.

  Raises:
    ValueError: there are no such weights.
  """
  config = with_base_weights(config)
  path = find_weights(config) if path is None else path
  if not path:
    with bridge.mesh_scope(config, mesh):
      return config, jax.jit(lambda: nnx.state(make_model(config, mesh), nnx.Param))()
  check_model(config, path)
  return adapter.load_weights(
    config,
    mesh,
    path,
    lambda config: make_model(config, mesh),
    base=config.load_parameters_path,
  )
