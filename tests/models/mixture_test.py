"""A mixture of experts beyond one forward pass: it trains, and it generates with a cache."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks.parity import models
from benchmarks.parity.references import reference
from benchmarks.parity.references.qwen3_omni import REFERENCE
from maxtext_ext import bridge
from maxtext_ext.decode.engine import SlotEngine
from maxtext_ext.decode.request import Request
from maxtext_ext.input.collate import make_decode_batch
from maxtext_ext.text.tokenizer import Tokenizer
from maxtext_ext.train.loop import main
from tests import tiny

NEW_TOKENS = 8
MIXTURE = (
  "model_name=qwen3-omni-30b-a3b",
  "base_num_decoder_layers=2",
  "base_num_query_heads=4",
  "base_num_kv_heads=2",
  "vocab_size=512",
  "encoder_layers_for_audio=2",
  "encoder_attention_heads_for_audio=4",
  "base_moe_mlp_dim=64",
  "num_experts=8",
  "num_experts_per_tok=2",
)


class Numbers(Tokenizer):
  """Vocabulary of the reference, whose tokens have no text."""

  eos_ids = frozenset({reference.IM_END})
  pad_id = reference.PAD
  vocab_size = reference.VOCABULARY

  def __init__(self) -> None:
    pass

  def decode(self, ids):
    return " ".join(map(str, ids))

  def pieces(self, ids):
    return [""] * len(ids)


def test_a_mixture_learns(tmp_path):
  keys = [*tiny.make_run(tmp_path, train=16), *MIXTURE, "scan_layers=true", "remat_policy=full"]
  result = main(tiny.DEMO, [*keys, "run_name=learns", "steps=8", "learning_rate=0.01"])
  lines = pathlib.Path(result.run_dir, "metrics.jsonl").read_text("utf-8").splitlines()
  curve = [line["loss"] for line in map(json.loads, lines) if "loss" in line]
  assert len(curve) == 8
  assert curve[-1] < 0.6 * curve[0]


def test_tokens_with_a_cache_are_those_without():
  """Every token written is the likeliest after those before it, in one pass over all of them."""
  model = models.load_model(REFERENCE, model="qwen3-omni-30b-a3b", scan_layers=True)
  clips = models.utterances(REFERENCE)[1:6]
  config = bridge.replace(
    model.config, decode_rows=4, max_new_tokens=NEW_TOKENS, audio_dtype="float32"
  )
  made = SlotEngine(config, model.mesh, Numbers())
  params = nnx.state(model.merge(), nnx.Param)
  answers = made.run(made.prepare(params), map(Request, clips))
  by_id = {answer.clip.id: answer.written.tokens for answer in answers}
  written = [by_id[clip.sample_id] for clip in clips]
  assert len({tuple(tokens) for tokens in written}) > 1, "the clips differ in what they say"
  batch = make_decode_batch(clips, pad_id=reference.PAD, shape=(2, 256)).arrays
  for row, (clip, tokens) in enumerate(zip(clips, written, strict=True)):
    end = len(clip.prompt) + len(tokens)
    batch["inputs"][row, len(clip.prompt) : end] = tokens
    batch["inputs_position"][row, :end] = np.arange(end)
    batch["inputs_segmentation"][row, :end] = 1
  with bridge.mesh_scope(model.config, model.mesh):
    likeliest = np.argmax(model.run(jax.tree.map(jnp.asarray, batch)), axis=-1)
  for row, (clip, tokens) in enumerate(zip(clips, written, strict=True)):
    first = len(clip.prompt) - 1
    want = likeliest[row, first : first + len(tokens) + 1].tolist()
    ended = len(tokens) < NEW_TOKENS
    assert [*tokens, reference.IM_END][: len(tokens) + ended] == want[: len(tokens) + ended]
