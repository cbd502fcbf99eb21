"""Answers of small models on meshes of several virtual devices, as JSON; run by mesh_test.py."""

import dataclasses
import json
import sys
from typing import Any

import jax
import numpy as np
from flax import nnx

from benchmarks.parity.generation import clips, draw_weights
from maxtext_ext import bridge
from maxtext_ext.config import load
from maxtext_ext.decode.engine import SlotEngine
from maxtext_ext.decode.request import Request
from maxtext_ext.models.make import make_model
from maxtext_ext.text.tokenizer import Tokenizer
from tests import tiny

KEYS = ("matmul_precision=highest", "logits_via_embedding=false", "scan_layers=true")
KEYS += ("decode_rows=2", "max_new_tokens=10", "audio_dtype=float32")
MIXTURE = ("decoder_block=qwen3_moe", "num_experts=4", "num_experts_per_tok=2", "megablox=false")
MIXTURE += ("base_moe_mlp_dim=24", "norm_topk_prob=true", "sparse_matmul=false")
MODELS = {"dense": (), "mixture": MIXTURE, "adapted": ("lora_rank=4", "lora_alpha=8")}
MESHES = {
  "one": (),
  "fsdp": ("ici_fsdp_parallelism=4",),
  "tensor": ("ici_fsdp_parallelism=2", "ici_tensor_parallelism=2"),
}
CONTROLS = ({}, {}, {"temperature": 1.0}, {"repetition_penalty": 2.0})
SECONDS = (0.2, 1.0, 3.3, 7.9, 9.5, 2.0, 5.2, 0.9, 6.1, 1.4, 2.7)
DRAFTED = "dense/tensor"  # the case that is decoded with drafts too


def answers(folder: str, case: str) -> dict[str, Any]:
  """Tokens, log-probabilities and accepted tokens of every clip, by case."""
  model, mesh_name = case.split("/")
  one = ("ici_fsdp_parallelism=1",) if mesh_name == "one" else MESHES[mesh_name]
  config = load(tiny.DEMO, [*tiny.SHAPE, *KEYS, *MODELS[model], *one])
  mesh = bridge.make_mesh(config, jax.devices()[:1] if mesh_name == "one" else None)
  with bridge.mesh_scope(config, mesh):
    params = draw_weights(nnx.state(make_model(config, mesh), nnx.Param))
    init = lambda: bridge.TrainState(make_model(config, mesh), None)  # noqa: E731
    shardings = bridge.abstract_train_state(config, mesh, init)[1]
  placed = nnx.split_state(shardings["model"], nnx.Param, ...)[0]
  params = jax.tree.map(jax.device_put, params, placed)
  tokenizer = Tokenizer.from_directory(folder)
  made = SlotEngine(config, mesh, tokenizer)
  weights = made.prepare(params, donate=True)
  requests = [
    Request(clip, **CONTROLS[number % len(CONTROLS)])
    for number, clip in enumerate(clips(tokenizer, SECONDS))
  ]
  found = {case: _decode(made, weights, requests)}
  if case == DRAFTED:
    texts = {id_: tuple(tokens) for id_, (tokens, *_) in found[case].items()}
    requests = [
      # Every other clip gets the text of the one before.
      dataclasses.replace(request, draft=texts[f"clip{number - number % 2}-0000"])
      for number, request in enumerate(requests)
    ]
    found[f"{case}/drafted"] = _decode(made, weights, requests)
  return found


def _decode(made: SlotEngine, weights: Any, requests: list[Request]) -> dict[str, Any]:
  found = {answer.clip.id: answer.written for answer in made.run(weights, requests)}
  return {
    id_: [written.tokens, written.log_probs, written.accepted] for id_, written in found.items()
  }


if __name__ == "__main__":
  result = {}
  for case in sys.argv[2:]:
    result |= answers(sys.argv[1], case)
  print(json.dumps(result, default=np.asarray))
