"""Time that drafts save, as an evaluation in training has them from its second time on.

    python -m benchmarks.drafts

One clip and many at once are decoded without drafts and with their own texts, which the same
weights write again, so all is accepted; then with one token of each text wrong, at a random place.
All times are from samples in memory to tokens, the best of some turns, after one that compiles.
Prompts alone, with one token each, are what drafts cannot save; how many times faster the rest is
stands beside. The model has random weights and
forced lengths, as in `decode.py`, whose shapes and clips these are; there is no peer.

A JSON line at the end: how many times faster, and the share of tokens that was accepted.
"""

import argparse
import dataclasses
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from rich.console import Console
from rich.table import Table

from benchmarks.decode import ForcedLengths, write_data
from benchmarks.speech_like import Clip
from maxtext_ext import bridge
from maxtext_ext.audio.limits import PCM16_SCALE
from maxtext_ext.checkpoint.model_file import BASE
from maxtext_ext.config import load
from maxtext_ext.decode.interface import Written
from maxtext_ext.decode.request import Request
from maxtext_ext.input.utterance import Utterance, build_utterance
from maxtext_ext.models.encoders import encoder_config
from maxtext_ext.models.make import make_model
from maxtext_ext.records.schema import Record
from maxtext_ext.text.tokenizer import Tokenizer

PROMPTS, NO_DRAFTS, RIGHT, ONE_WRONG = "prompts alone", "no drafts", "right", "one token wrong"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Turn:
  """One pass over the clips."""

  seconds: float
  written: Mapping[str, Written]

  @property
  def accepted(self) -> float:
    """Share of the tokens that drafts gave."""
    tokens = sum(len(each.tokens) for each in self.written.values())
    return sum(each.accepted for each in self.written.values()) / tokens


class Model:
  """A model with random weights, and clips."""

  def __init__(self, folder: Path, options: argparse.Namespace, clips: Sequence[Clip]) -> None:
    values = {
      "model_name": str(folder),
      "tokenizer_path": str(folder),
      "dtype": options.dtype,
      "weight_dtype": options.dtype,
      "scan_layers": False,
      "attention": "dot_product",
      "audio_dtype": "float32",
      "tokens_per_second": options.rate,
      "loop_repeats": 0,
    }
    self._config = load(BASE, values)
    self._mesh = bridge.make_mesh(self._config)
    with bridge.mesh_scope(self._config, self._mesh):
      self._params = nnx.state(make_model(self._config, self._mesh), nnx.Param)
    self._tokenizer = Tokenizer.from_directory(str(folder))
    self.utterances = [self._utterance(number, clip) for number, clip in enumerate(clips)]

  def _utterance(self, number: int, clip: Clip) -> Utterance:
    samples = clip.samples.astype(np.float32) / PCM16_SCALE
    record = Record(sample_id=str(number), audio=samples, text="", language=None)
    geometry = encoder_config(self._config).geometry
    return build_utterance(record, self._tokenizer, geometry=geometry, with_target=False)

  def measure(self, utterances: Sequence[Utterance], turns: int, seed: int) -> dict[str, Turn]:
    """Decodes clips together, in each way; returns the best turn of each."""
    config = bridge.replace(self._config, decode_rows=len(utterances))
    engine = ForcedLengths(config, self._mesh, self._tokenizer)
    weights = engine.prepare(self._params)

    def turn(requests: Sequence[Request]) -> Turn:
      start = time.perf_counter()
      written = {answer.clip.id: answer.written for answer in engine.run(weights, requests)}
      return Turn(seconds=time.perf_counter() - start, written=written)

    plain = [Request(utterance) for utterance in utterances]
    texts = {id_: written.tokens for id_, written in turn(plain).written.items()}
    rng = np.random.default_rng(seed)
    wrong = {id_: list(tokens) for id_, tokens in texts.items()}
    for tokens in wrong.values():
      place = int(rng.integers(len(tokens)))
      tokens[place] = (tokens[place] + 1) % self._tokenizer.vocab_size
    ways = {
      PROMPTS: [Request(utterance, max_new_tokens=1) for utterance in utterances],
      NO_DRAFTS: plain,
      RIGHT: [_drafted(utterance, texts) for utterance in utterances],
      ONE_WRONG: [_drafted(utterance, wrong) for utterance in utterances],
    }
    taken = [{way: turn(requests) for way, requests in ways.items()} for _ in range(turns + 1)]
    for each in taken:
      for way in (RIGHT, ONE_WRONG):
        same = {id_: written.tokens for id_, written in each[way].written.items()}
        assert same == texts, "drafts change no text"
    return {way: min((each[way] for each in taken[1:]), key=lambda t: t.seconds) for way in ways}


def _drafted(utterance: Utterance, texts: Mapping[str, Sequence[int]]) -> Request:
  return Request(utterance, draft=tuple(texts[utterance.sample_id]))


def main() -> None:
  """Measures, and prints the table and the JSON line."""
  options = parse_options()
  with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    model = Model(folder, options, write_data(folder, options))
  by_length = sorted(model.utterances, key=lambda utterance: utterance.seconds)
  groups = {1: [by_length[len(by_length) // 2]], len(by_length): model.utterances}
  table = Table(title=f"{options.shape}, {options.dtype}, {jax.default_backend()}")
  table.add_column("clips at once", justify="right")
  table.add_column("drafts")
  for column in ("seconds", "times faster", "beyond the prompts", "accepted"):
    table.add_column(column, justify="right")
  line: dict[str, object] = {
    "name": f"drafts_{options.shape}_{options.dtype}_{jax.default_backend()}"
  }
  for count, utterances in groups.items():
    turns = model.measure(utterances, options.turns, options.seed)
    before, prompts = turns[NO_DRAFTS].seconds, turns[PROMPTS].seconds
    for way, turn in turns.items():
      faster = f"{before / turn.seconds:.2f}"
      beyond = "" if way == PROMPTS else f"{(before - prompts) / (turn.seconds - prompts):.1f}"
      row = (f"{turn.seconds:.3f}", faster, beyond, f"{turn.accepted:.1%}")
      table.add_row(str(count), way, *row)
    right = turns[RIGHT].seconds
    line[f"clips_{count}"] = {
      "seconds": round(before, 3),
      "prompts_alone": round(prompts, 3),
      "right": round(right, 3),
      "times_faster": round(before / right, 2),
      "beyond_the_prompts": round((before - prompts) / (right - prompts), 1),
      "one_wrong_times_faster": round(before / turns[ONE_WRONG].seconds, 2),
      "accepted": round(turns[RIGHT].accepted, 3),
      "one_wrong_accepted": round(turns[ONE_WRONG].accepted, 3),
    }
  Console(width=100).print(table)
  print(json.dumps(line))


def parse_options() -> argparse.Namespace:
  """The command line."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--shape", default="61m", help="61m: the 60m with the published vocabulary")
  parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
  parser.add_argument("--clips", type=int, default=16, help="clips decoded together")
  parser.add_argument("--rate", type=float, default=4.0, help="tokens a second of audio")
  parser.add_argument("--turns", type=int, default=3)
  parser.add_argument("--seed", type=int, default=0, help="of the clips")
  return parser.parse_args()


if __name__ == "__main__":
  main()
