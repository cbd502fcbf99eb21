"""Decoding of a split, a JSONL file or a folder of sound into a folder of hypotheses.

Any number of jobs and hosts may work on one folder, and a job that was killed is continued by the
same command, see `decode.folder`.
"""

import dataclasses
import json
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jax
from flax import nnx
from jax.sharding import Mesh

from maxtext_ext import bridge
from maxtext_ext.checkpoint import adapter
from maxtext_ext.checkpoint.fingerprint import check_model
from maxtext_ext.checkpoint.training import find_checkpoint, with_base_weights
from maxtext_ext.checkpoint.training import find_weights as weights_at
from maxtext_ext.config import build, run_dir_of
from maxtext_ext.decode.clips import Clips, SplitClips, UtteranceReader
from maxtext_ext.decode.division import Division, share_of_host
from maxtext_ext.decode.driver import Tally, decode_shards
from maxtext_ext.decode.engines import check_controls, make_engine
from maxtext_ext.decode.folder import Manifest, OutputFolder
from maxtext_ext.decode.interface import Engine
from maxtext_ext.decode.request import Request
from maxtext_ext.decode.sound_files import open_files
from maxtext_ext.errors import AllFailedError
from maxtext_ext.evaluate import decoded
from maxtext_ext.evaluate.hypotheses import describe_cut
from maxtext_ext.evaluate.hypothesis import Hypothesis
from maxtext_ext.files import storage
from maxtext_ext.files.outputs import is_inside
from maxtext_ext.hosts.join import joined
from maxtext_ext.input.config import InputConfig
from maxtext_ext.input.drops import DropCounter
from maxtext_ext.input.reading import open_data
from maxtext_ext.input.utterance import Utterance
from maxtext_ext.keys.decoding import is_path
from maxtext_ext.keys.settings import Overrides, Settings, read
from maxtext_ext.models.make import make_model
from maxtext_ext.pages.duration import format_duration
from maxtext_ext.parallel import gather_texts
from maxtext_ext.progress import ProgressLine, say
from maxtext_ext.text.templates import TEMPLATES


@dataclass(frozen=True, kw_only=True)
class DecodeResult:
  """Result of decoding, and its folder.

  Attributes:
    output: the folder of the hypotheses.
    total: clips of the folder.
    tally: what this job has decoded, on all its hosts.
    source: run, checkpoint and settings.
  """

  output: str
  total: int
  tally: Tally
  source: decoded.Decoded

  @property
  def clips(self) -> int:
    """Clips that this job has decoded."""
    return self.tally.clips

  @property
  def cut(self) -> int:
    """Transcripts of this job that a limit cut."""
    return self.tally.cut

  def require_transcripts(self) -> None:
    """Raises AllFailedError where this job could read none of its clips."""
    tally = self.tally
    if tally.clips and tally.failed == tally.clips:
      raise AllFailedError(
        f"{self.output}: none of the {tally.clips} clips of this job can be read, first"
        f" {tally.first_failure}; check the paths and files of the input, remove this folder, and"
        " decode again"
      )

  def __str__(self) -> str:
    return (
      f"{self.output}: {self.total} clips of {self.source.input or self.source.split}, by"
      f" {self.source.weights} of {self.source.run};"
      f" {'; '.join(self._parts())}"
    )

  def _parts(self) -> list[str]:
    tally = self.tally
    if not tally.clips:
      return ["nothing was left to decode"]
    parts = [f"{tally.clips} of them now, {format_duration(tally.seconds)} of audio"]
    if tally.cut and self.source.checkpoint != "untrained":  # which hardly ever ends by itself
      parts.append(describe_cut(tally.cut, tally.clips, self.source.limit))
    if tally.failed:
      parts.append(f"{tally.failed} cannot be read, first {tally.first_failure}")
    return parts


def main(path: str, overrides: Overrides = ()) -> DecodeResult:
  """Decodes what a configuration names.

  Args:
    path, overrides: as `keys.settings.read` takes them.

  Raises:
    AllFailedError: no clip of this job can be read; the folder has their lines.
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
  result.require_transcripts()
  return result


def decode(config: bridge.Config) -> DecodeResult:
  """Decodes `decode_input` or `split` with the checkpoint `decode_checkpoint`, greedily.

  What the output folder has already is left as it is.

  Raises:
    ValueError: data or checkpoint cannot be used, or the folder has transcripts of other settings.
    OSError: data, checkpoint or folder cannot be reached.
  """
  first = jax.process_index() == 0
  check_controls(config)
  tokenizer = TEMPLATES[config.template].open(config.tokenizer_path)
  weights = find_weights(config)
  config = with_rank_of(config, weights)
  source = decoded.Decoded.of(config, weights)
  inputs = InputConfig.from_config(config, split=config.split)
  clips = open_clips(config, inputs, visible=first)
  division = Division.of(clips.ids, config.clips_per_shard)
  output = config.output or os.path.join(run_dir_of(config), "decoded", source.name)
  _require_outside_output(config.decode_input, output)
  folder = OutputFolder(output, Manifest.of(division, source.settings))
  shards = _share(folder, source, replace=config.replace_output)
  result = DecodeResult(output=output, total=len(division), tally=Tally(), source=source)
  if shards is None:
    return result
  if first:
    say(f"weights: {weights or 'random, untrained'}")
  mesh = bridge.make_mesh(config)
  config, params = load_weights(config, mesh, weights)
  engine = make_engine(config, mesh, tokenizer, announce=first)
  read_clip = UtteranceReader(
    clips,
    inputs,
    tokenizer,
    piece_seconds=config.piece_seconds,
    longest_prompt=engine.longest_prompt,
  )
  transcribe = make_transcriber(engine, params)
  del params  # which the engine may have freed
  mine = sum(len(division.places(shard)) for shard in shards)
  with ProgressLine("decode", mine, visible=first) as progress:
    tally = decode_shards(
      folder,
      division,
      shards,
      read_clip,
      transcribe,
      failures=DropCounter(inputs.filters.max_bad_fraction),
      has_reference=clips.has_reference,
      threads=max(inputs.read_threads, os.cpu_count() or 1),
      report=lambda tally: progress.update(tally.clips + tally.taken, tally.note()),
    )
  if first:
    source.write(output)  # again, as a job that began at the same time may have removed it
  total = Tally()
  for text in gather_texts(json.dumps(dataclasses.asdict(tally))):
    total.merge(Tally(**json.loads(text)))
  return dataclasses.replace(result, tally=total)


def _require_outside_output(source: str, output: str) -> None:
  """Raises ValueError for a JSONL file among the transcripts, which may be replaced."""
  folder = os.path.dirname(source)
  if source and storage.is_file(source) and is_inside(folder, output):
    raise ValueError(
      f"decode_input={source} is in {output}, the folder of the transcripts; give another output="
    )


def _share(folder: OutputFolder, source: decoded.Decoded, *, replace: bool) -> list[int] | None:
  """Joins the folder; returns the shards of this host, None where none is left for any.

  The order is another one in each job, so that jobs which begin together seldom do the same.

  Raises:
    ValueError: the folder is of other settings, or another host has other clips.
  """
  told = ""
  if jax.process_index() == 0:
    folder.join(replace=replace)
    source.write(folder.path)
    left = folder.unfinished()
    random.SystemRandom().shuffle(left)
    told = json.dumps([folder.manifest.ids, left])
  ids, left = json.loads(gather_texts(told)[0])
  if ids != folder.manifest.ids:
    raise ValueError(
      f"{folder.path}: host {jax.process_index()} finds other clips than the first host; give all"
      " hosts the same data"
    )
  return share_of_host(left, jax.process_index(), jax.process_count()) if left else None


def open_clips(config: bridge.Config, inputs: InputConfig, *, visible: bool = True) -> Clips:
  """Opens the clips of `decode_input`, or else those of the split.

  Raises:
    ValueError: there are none, or none that can be read.
  """
  if config.decode_input:
    return open_files(config.decode_input)
  return SplitClips(open_data(inputs), visible=visible)


def make_transcriber(
  engine: Engine, params: nnx.State
) -> Callable[[Iterator[Utterance]], Iterator[Hypothesis]]:
  """Returns what makes lines of clips; all processes of a run call it, each with its own clips.

  Args:
    params: which may not be used again.
  """
  prepared = engine.prepare(params, donate=True)
  return lambda clips: (answer.hypothesis() for answer in engine.run(prepared, map(Request, clips)))


def with_rank_of(config: bridge.Config, weights: str) -> bridge.Config:
  """Returns the configuration with the LoRA rank of weights of `find_weights`."""
  if not weights:
    return config
  record = adapter.read_record(weights)
  return bridge.replace(config, lora_rank=record.lora.rank if record else 0)


def find_weights(config: bridge.Config) -> str:
  """Returns the path of the weights of `decode_checkpoint`; "" for untrained weights.

  Raises:
    ValueError: there are no such weights.
  """
  if config.decode_checkpoint == "untrained":
    return ""
  if is_path(config.decode_checkpoint):
    return weights_at(bridge.absolute(config.decode_checkpoint))
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
