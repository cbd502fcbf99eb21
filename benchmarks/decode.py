"""Decoding speed in audio seconds per second (RTFx), compared with transformers' `generate`.

    python -m benchmarks.decode --peer-python PYTHON

PYTHON is one of an environment with torch and transformers (peer_torch_train.py says which). Both
sides decode the same clips with the same random weights, the same threads and the same clips in
flight: transformers in padded batches, in the order in which clips come and sorted by length; ours
from samples in memory in either order (from arrays), and from WAV files that threads read
meanwhile, as `decode` does. Random weights seldom end a text, so its length is forced: each clip
has its tokens a second, and a batch of the peer writes those of its longest clip. The sides take
turns; the best one counts. A run before that is not counted: ours compiles there.

`--beams 4` measures beam search on both sides, and greedy decoding beside ours.

A JSON line at the end: RTFx of each, ratios, and how well slots, cache and rows are used.
"""

import argparse
import dataclasses
import json
import math
import os
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Self

import jax
import numpy as np
import soundfile
from jax import monitoring
from rich.console import Console
from rich.table import Table

from benchmarks.speech_like import Clip, make_clips
from benchmarks.train_data import SHAPES, write_shape, write_tokenizer
from maxtext_ext import bridge
from maxtext_ext.audio.io import load_audio
from maxtext_ext.audio.limits import PCM16_SCALE, SAMPLE_RATE
from maxtext_ext.checkpoint.adapter import load_weights
from maxtext_ext.checkpoint.convert import to_maxtext
from maxtext_ext.checkpoint.model_file import pretrained_config
from maxtext_ext.decode.controls import Controls
from maxtext_ext.decode.engine import SlotEngine
from maxtext_ext.decode.read_ahead import read_ahead
from maxtext_ext.decode.request import Request
from maxtext_ext.decode.session import Counts
from maxtext_ext.decode.slots import Writing
from maxtext_ext.input.utterance import build_utterance
from maxtext_ext.models.encoders import encoder_config
from maxtext_ext.models.make import make_model
from maxtext_ext.records.schema import Record
from maxtext_ext.text.tokenizer import Tokenizer

PEER = "peer_torch_decode.py"
PUBLISHED_VOCABULARY = 151_936  # its head is a third of the work


class ForcedLengths(SlotEngine):
  """The engine, with as many tokens for a clip as `tokens_per_second` or its request says."""

  def __init__(self, *args: Any) -> None:
    super().__init__(*args)
    self._eos_ids = ()

  def _begin(self, request: Request) -> Writing:
    clip = super()._begin(request)
    most = math.ceil(self._config.tokens_per_second * request.utterance.seconds)
    most = min(most, request.max_new_tokens or most)
    return dataclasses.replace(
      clip,
      controls=Controls(most=most),
      limit=clip.prompt + clip.width * most,
      draft=clip.draft[: most - 1],
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Turn:
  """One pass over all clips: seconds of the clock and of all threads, and tokens by clip."""

  seconds: float
  cpu_seconds: float
  tokens: list[list[int]]


class Peer:
  """The peer's process."""

  def __init__(self, folder: Path, options: argparse.Namespace) -> None:
    self._process = subprocess.Popen(
      [
        *(options.peer_python, str(Path(__file__).parent / PEER), str(folder)),
        *("--batch", str(options.batch), "--rate", str(options.rate)),
        *("--threads", str(options.threads), "--dtype", options.dtype),
        *("--beams", str(options.beams)),
      ],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
      text=True,
    )
    self.versions = self._read()["versions"]

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *exc: object) -> None:
    self._process.communicate()

  def turn(self, order: Sequence[int]) -> Turn:
    """Decodes all clips."""
    self._process.stdin.write(json.dumps(list(order)) + "\n")
    self._process.stdin.flush()
    return Turn(**self._read())

  def _read(self) -> dict[str, Any]:
    line = self._process.stdout.readline()
    if not line:
      raise ValueError(f"{PEER} ended with status {self._process.wait()}; it says why above")
    return json.loads(line)


class Ours:
  """The engine with the peer's weights.

  Attributes:
    compilations: of JAX so far.
  """

  def __init__(self, folder: Path, options: argparse.Namespace, clips: Sequence[Clip]) -> None:
    weights = folder / "maxtext"
    to_maxtext(str(folder / "weights"), str(weights))
    values = {
      "dtype": options.dtype,
      "weight_dtype": options.dtype,
      "attention": "dot_product",
      "audio_dtype": "float32",
      "decode_rows": options.batch * options.beams,
      "beams": options.beams,
      "tokens_per_second": options.rate,
      "loop_repeats": 0,
      "tokenizer_path": str(folder),
    }
    with pretrained_config(weights, values) as config:
      self._tokenizer = Tokenizer.from_directory(config.tokenizer_path)
      self._tokenizer.vocab_size  # noqa: B018  reads the files
    mesh = bridge.make_mesh(config)
    config, params = load_weights(
      config, mesh, config.load_parameters_path, lambda config: make_model(config, mesh)
    )
    self._geometry = encoder_config(config).geometry
    self._folder, self._clips = folder, clips
    self._engine = ForcedLengths(config, mesh, self._tokenizer)
    plain = bridge.replace(config, beams=1, decode_rows=options.batch)
    self._greedy = ForcedLengths(plain, mesh, self._tokenizer)
    self._weights = self._engine.prepare(params)
    self.compilations = 0
    monitoring.register_event_duration_secs_listener(self._note)

  def _note(self, event: str, _: float, **__: Any) -> None:
    self.compilations += event == "/jax/core/compile/backend_compile_duration"

  def turn(
    self, order: Sequence[int], *, files: bool = False, greedy: bool = False
  ) -> tuple[Turn, Counts]:
    """Decodes all clips, from memory or from files, and counts the work."""
    engine = self._greedy if greedy else self._engine
    before = dataclasses.replace(engine.counts)
    start, cpu = time.perf_counter(), time.process_time()
    answers = engine.run(self._weights, self._read(order, files))
    tokens = {int(answer.clip.id): answer.written.tokens for answer in answers}
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    turn = Turn(seconds=seconds, cpu_seconds=cpu, tokens=[tokens[i] for i in sorted(tokens)])
    return turn, engine.counts.since(before)

  def _load(self, number: int) -> Iterator[np.ndarray]:
    yield load_audio(str(wav(self._folder, number)))

  def _read(self, order: Iterable[int], files: bool) -> Iterator[Request]:
    samples_of: Iterable[tuple[int, np.ndarray]] = (
      read_ahead(order, self._load, os.cpu_count() or 1, lambda read: len(read) / SAMPLE_RATE)
      if files
      else ((i, self._clips[i].samples.astype(np.float32) / PCM16_SCALE) for i in order)
    )
    for number, samples in samples_of:
      record = Record(sample_id=str(number), audio=samples, text="", language=None)
      utterance = build_utterance(
        record, self._tokenizer, geometry=self._geometry, with_target=False
      )
      yield Request(utterance)


def wav(folder: Path, number: int) -> Path:
  """The file of a clip."""
  return folder / f"{number}.wav"


def write_data(folder: Path, options: argparse.Namespace) -> list[Clip]:
  """Writes shape, tokenizer and clips for both sides; returns the clips."""
  published, changes = SHAPES["60m"]
  SHAPES["61m"] = (published, {**changes, "vocab_size": PUBLISHED_VOCABULARY})
  shape = write_shape(options.shape, folder)
  clips = make_clips(options.clips, options.seed)
  write_tokenizer(folder, [clip.text for clip in clips], shape["vocab_size"])
  for number, clip in enumerate(clips):
    soundfile.write(wav(folder, number), clip.samples, SAMPLE_RATE)
  arrays = {str(i): clip.samples.astype(np.float32) / PCM16_SCALE for i, clip in enumerate(clips)}
  np.savez(folder / "clips.npz", **arrays)
  return clips


def main() -> None:
  """Measures, and prints the table and the JSON line."""
  options = parse_options()
  options.threads = len(os.sched_getaffinity(0))
  with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    clips = write_data(folder, options)
    come = list(range(len(clips)))
    longest_first = sorted(come, key=lambda i: -len(clips[i].samples))
    with Peer(folder, options) as peer:
      ours = Ours(folder, options, clips)
      peer.turn(come[: options.batch])
      for order in (come, longest_first):
        ours.turn(order)
      if options.beams > 1:
        ours.turn(come, greedy=True)
      compilations = ours.compilations
      turns: dict[str, list[Turn]] = {}
      counts = {}
      for _ in range(options.turns):
        for side, order in (("come", come), ("sorted", longest_first)):
          turns.setdefault(f"peer, {side}", []).append(peer.turn(order))
          turn, counts[side] = ours.turn(order)
          turns.setdefault(f"ours, {side}", []).append(turn)
        turns.setdefault("ours, files", []).append(ours.turn(come, files=True)[0])
        if options.beams > 1:
          turns.setdefault("ours, greedy", []).append(ours.turn(come, greedy=True)[0])
      report(options, clips, peer.versions, turns, counts, ours.compilations - compilations)


def parse_options() -> argparse.Namespace:
  """The command line."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--peer-python", default=os.environ.get("PEER_PYTHON"))
  parser.add_argument("--shape", default="61m", help="61m: the 60m with the published vocabulary")
  parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
  parser.add_argument("--clips", type=int, default=48)
  parser.add_argument("--batch", type=int, default=16, help="clips decoded together")
  parser.add_argument("--rate", type=float, default=4.0, help="tokens a second of audio")
  parser.add_argument("--beams", type=int, default=1, help="hypotheses of a clip")
  parser.add_argument("--turns", type=int, default=2)
  parser.add_argument("--seed", type=int, default=0, help="of the clips")
  options = parser.parse_args()
  if not options.peer_python:
    parser.error(
      "no Python for the peer: make one with torch and transformers as"
      " benchmarks/peer_torch_train.py says, and give it as --peer-python or PEER_PYTHON"
    )
  return options


def report(
  options: argparse.Namespace,
  clips: Sequence[Clip],
  versions: str,
  turns: dict[str, list[Turn]],
  counts: dict[str, Counts],
  compilations: int,
) -> None:
  """Prints the table and the JSON line."""
  audio = sum(clip.seconds for clip in clips)
  table = Table(title=f"{options.shape}, {options.dtype}, {audio:.0f} s of audio; {versions}")
  table.add_column("turn")
  for column in ("RTFx", "of a core", "tokens/s"):
    table.add_column(column, justify="right")
  for name, taken in turns.items():
    for turn in taken:
      tokens = sum(map(len, turn.tokens)) / turn.seconds
      of_core = audio / turn.cpu_seconds
      table.add_row(name, f"{audio / turn.seconds:.1f}", f"{of_core:.1f}", f"{tokens:.0f}")
  Console(width=100).print(table)
  rtfx = {name: audio / min(turn.seconds for turn in taken) for name, taken in turns.items()}
  work = counts["come"]
  best = min(turns["ours, come"], key=lambda turn: turn.seconds)
  name = ["decode", options.shape, options.dtype, jax.default_backend()]
  if options.beams > 1:
    # The peer's best text of the longest clip's length need not begin with that of a shorter one.
    name.append(f"beams{options.beams}")
    of_tokens = {"greedy_over_beams": round(rtfx["ours, greedy"] / rtfx["ours, come"], 2)}
  else:
    mine, theirs = (list(chain(*turns[f"{side}, come"][0].tokens)) for side in ("ours", "peer"))
    same = sum(a == b for a, b in zip(mine, theirs, strict=True))
    of_tokens = {"same_tokens_as_peer": round(same / len(mine), 4)}
  line = {
    "name": "_".join(name),
    "ours": round(rtfx["ours, come"], 1),
    "peer": round(rtfx["peer, come"], 1),
    "ratio": round(rtfx["ours, come"] / rtfx["peer, come"], 2),
    "unit": "audio seconds a second",
    "ratio_of_sorted": round(rtfx["ours, sorted"] / rtfx["peer, sorted"], 2),
    "sorted": round(rtfx["ours, sorted"], 1),
    "peer_sorted": round(rtfx["peer, sorted"], 1),
    "from_files": round(rtfx["ours, files"], 1),
    "tokens_a_second": round(sum(map(len, best.tokens)) / best.seconds),
    **of_tokens,
    "occupancy": round(work.tokens / work.slot_steps, 3),
    "kv_read_over_used": round(work.places_read / work.places_used, 2),
    "prefill_padding": round(1 - work.prompt_tokens / work.row_tokens, 3),
    "syncs_a_step": round(work.windows / work.steps, 3),
    "compilations_after_warm_up": compilations,
  }
  print(json.dumps(line))


if __name__ == "__main__":
  main()
