"""Estimates of memory and cost, for chips whose compiler needs the chip itself."""

from typing import Any

import jax
import numpy as np
from flax import nnx

from maxtext_ext import bridge
from maxtext_ext.models.encoders import encoder_config
from maxtext_ext.models.make import make_model
from maxtext_ext.models.parameter_groups import trainable
from maxtext_ext.planning.cost import Cost
from maxtext_ext.planning.memory import Memory
from maxtext_ext.planning.model_flops import SLOTS_FILLED, model_flops
from maxtext_ext.train.optimizer import make_optimizer
from maxtext_ext.train.step import make_init_fn

# Bytes within a layer for each token and unit of width, in bfloat16, attention scores not kept:
# 34 of Korthikanti et al. 2022 (arXiv 2205.05198), table 2.
_LAYER_BYTES = 34
# Times the widest array before the encoder's layers that exists while it is differentiated; the TPU
# compiler needs 4.3 for that of Qwen3-ASR's convolutions.
WIDEST_COPIES = 4.3
# Of the memory as sold, what a program gets: 0.96 on TPUs; CUDA's context takes about as much.
USABLE = 0.96


def _recomputes(config: bridge.Config) -> bool:
  return config.remat_policy != "none"


def _nbytes(tree: Any) -> float:
  return float(sum(np.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree)))


def _state_bytes(config: bridge.Config) -> tuple[float, float]:
  """Returns the bytes of the train state and of the gradients."""
  mesh = bridge.make_mesh(config, jax.devices()[:1])
  _, tx = make_optimizer(config, mesh)
  init_fn = make_init_fn(config, lambda: make_model(config, mesh), tx)
  with bridge.mesh_scope(config, mesh):
    state = nnx.eval_shape(init_fn)
  return _nbytes(nnx.state(state)), _nbytes(nnx.state(state.model, trainable(config)))


def memory_of(config: bridge.Config, hbm_bytes: int) -> Memory:
  """Counts state and gradients exactly, activations by formula.

  With recomputation a layer's input is kept, and one layer's inside exists at a time, or the widest
  array before the encoder's layers, of one window of every row; without, all of it is kept.
  `benchmarks/gpu_memory.py` compares it with the compiler's memory.
  """
  state, gradients = _state_bytes(config)
  rows = config.per_device_batch_size
  tokens = rows * config.max_target_length
  windows = rows * config.windows_per_row
  encoder = encoder_config(config)
  decoder_layer = 2 * tokens * config.emb_dim
  encoder_layer = 2 * windows * encoder.geometry.tokens_per_window * encoder.out_dim
  widest = (rows if _recomputes(config) else windows) * encoder.widest_values_per_window
  widest *= 2 * WIDEST_COPIES
  logits = 4 * 3 * tokens / config.num_vocab_tiling * config.vocab_size
  inside = _LAYER_BYTES / 2
  kept = 1 if _recomputes(config) else inside
  saved = kept * (config.num_decoder_layers * decoder_layer + encoder.layers * encoder_layer)
  working = max(inside * decoder_layer, inside * encoder_layer, widest, logits)
  if config.gradient_accumulation_steps > 1:
    gradients *= 2  # the sum so far, and those of a micro-batch
  return Memory(
    arguments=state, temporaries=gradients + saved + working, available=USABLE * hbm_bytes
  )


def cost_of(config: bridge.Config) -> Cost:
  """Estimates FLOPs with recomputation, and the bytes of the state's update and of activations."""
  recomputed = 4 / 3 if _recomputes(config) else 1.0
  tokens = config.per_device_batch_size * config.max_target_length
  encoder = encoder_config(config)
  windows = config.per_device_batch_size * config.windows_per_row
  audio = windows * encoder.geometry.tokens_per_window
  activations = config.num_decoder_layers * tokens * config.emb_dim
  activations += encoder.layers * audio * encoder.out_dim
  state, gradients = _state_bytes(config)
  return Cost(
    flops=model_flops(config) / config.gradient_accumulation_steps / SLOTS_FILLED * recomputed,
    hbm_bytes=4 * state + 2 * gradients + 4 * _LAYER_BYTES * activations,
    sent_bytes=0.0,
  )
