"""Compiling process: reads questions as JSON lines on stdin, answers on stdout.

`compiler.Compiler` starts it, with an environment in which libtpu believes in the chips of one
slice. What libtpu and MaxText print goes to stderr.
"""

import functools
import json
import os
import sys
from dataclasses import asdict
from typing import Any

import jax

from maxtext_ext import bridge
from maxtext_ext.keys.yml import read_chain
from maxtext_ext.models.encoders import encoder_config
from maxtext_ext.planning import compile_decode, compile_step, uncompiled, uncompiled_decode
from maxtext_ext.planning.compiler import Compiled
from maxtext_ext.planning.memory import DoesNotFit
from maxtext_ext.planning.model_flops import TARGET_TILES, model_flops
from maxtext_ext.planning.topology import Slice, parse_topology


class _Answers:
  """Compiles for one slice."""

  def __init__(self, target: Slice) -> None:
    self._target = target
    self._files = functools.cache(read_chain)  # many questions are about one configuration
    if target.compiled:
      self._devices = compile_step.devices_of(target)
      self._available = compile_step.available_bytes(self._devices[0])

  def describe(self, path: str, overrides: list[str]) -> dict[str, Any]:
    config = compile_step.load_for(self._files(path), overrides, self._target)
    encoder = encoder_config(config)
    return {
      "rows": config.global_batch_size_to_load,
      "micro_rows_per_chip": float(config.per_device_batch_size),
      "accumulation": config.gradient_accumulation_steps,
      "tokens_per_row": config.max_target_length,
      "windows_per_row": config.windows_per_row,
      "remat": config.remat_policy,
      "vocab_tiles": 1 if config.num_vocab_tiling == 1 else TARGET_TILES,
      "decoder_layers": config.num_decoder_layers,
      "encoder_layers": encoder.layers,
      "encoder_overrides": [encoder.layer_overrides(n) for n in (1, 2) if encoder.layers],
      "window_seconds": encoder.geometry.window_seconds,
      "model": config.model_name,
      "model_flops": model_flops(config),
      "sharding": self._sharding(config),
    }

  def _sharding(self, config: bridge.Config) -> dict[str, int]:
    if not self._target.compiled:
      return {}
    mesh = bridge.make_mesh(config, self._devices)
    return {axis: size for axis, size in mesh.shape.items() if size > 1}

  def compile(
    self, path: str, overrides: list[str], with_cost: bool, effort: str
  ) -> dict[str, Any]:
    config = compile_step.load_for(self._files(path), overrides, self._target)
    if not self._target.compiled:
      memory = uncompiled.memory_of(config, self._target.chip.hbm_bytes)
      cost = uncompiled.cost_of(config) if with_cost else None
      return asdict(Compiled(memory=memory, cost=cost, seconds=0.0))
    compiled = compile_step.compile_step(
      config, self._devices, self._available, with_cost=with_cost, effort=effort
    )
    return asdict(compiled)

  def describe_decode(self, path: str, overrides: list[str]) -> dict[str, Any]:
    return asdict(self._decoding(path, overrides).describe())

  def decode_memory(
    self, path: str, overrides: list[str], slots: int, places: int, effort: str
  ) -> dict[str, Any]:
    return asdict(self._decoding(path, overrides).memory(slots, places, effort))

  def decode_costs(self, path: str, overrides: list[str], slots: int) -> dict[str, Any]:
    return asdict(self._decoding(path, overrides).costs(slots))

  def _decoding(self, path: str, overrides: list[str]) -> compile_decode.DecodeCompiler:
    config = compile_step.load_for(self._files(path), overrides, self._target)
    if not compile_step.has_decoder(config):
      raise ValueError(
        f"speech_model={config.speech_model} writes no text token by token, whose slots a plan of"
        " decoding counts: leave out --decode"
      )
    if self._target.compiled:
      return compile_decode.DecodeCompiler(config, self._devices, "tpu", self._available)
    hbm_bytes = self._target.chip.hbm_bytes
    return uncompiled_decode.DecodeEstimator(config, jax.devices()[:1], "gpu", hbm_bytes)


def main() -> None:
  """Answers until stdin ends."""
  # Whatever else is printed must not look like an answer.
  answers_out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
  os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
  answers = _Answers(parse_topology(sys.argv[1]))
  for line in sys.stdin:
    question = json.loads(line)
    method = getattr(answers, question.pop("what"))
    try:
      answer = {"answer": method(**question)}
    except DoesNotFit as error:
      answer = {"does_not_fit": str(error)}
    except ValueError as error:
      answer = {"error": str(error)}
    print(json.dumps(answer), file=answers_out, flush=True)


if __name__ == "__main__":
  main()
