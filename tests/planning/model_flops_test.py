import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from maxtext_ext.config import load
from maxtext_ext.models.encoders.qwen3_audio import Qwen3AudioConfig, Qwen3AudioEncoder
from maxtext_ext.planning import model_flops
from maxtext_ext.planning.model_flops import Passes


def config_of(*overrides: str):
  return load("configs/speech.yml", ["run_name=x", "model_name=qwen3-asr-1.7b", *overrides])


def test_a_decoder_token_costs_two_flops_a_weight():
  # 1.41e9 weights in 28 layers, embeddings and norms aside.
  assert model_flops.decoder_flops_per_token(config_of()) == pytest.approx(2 * 1.409e9, rel=1e-3)


def test_of_experts_the_chosen_count():
  active = model_flops.decoder_flops_per_token(config_of("model_name=qwen3-omni-30b-a3b")) / 2
  # 3.3e9 of 30.5e9 weights are active, of which embedding and head are 0.62e9.
  assert active == pytest.approx(2.7e9, rel=0.03)


@pytest.mark.parametrize(
  ("overrides", "passes"),
  [
    ([], Passes(encoder=3, decoder=3, head=3)),
    (["lora_rank=16"], Passes(encoder=1, decoder=2, head=2)),
    (
      ["lora_rank=16", "lora_targets=[attention,audio_tower]"],
      Passes(encoder=2, decoder=2, head=2),
    ),
  ],
)
def test_what_is_frozen_has_no_gradient_of_weights(overrides, passes):
  assert model_flops.passes(config_of(*overrides)) == passes


def test_the_encoders_matrix_products_are_what_the_compiler_counts():
  config = config_of(
    "num_mel_bins_for_audio=80",
    "d_model_for_audio=256",
    "encoder_layers_for_audio=2",
    "encoder_attention_heads_for_audio=4",
    "encoder_ffn_dim_for_audio=1024",
    "downsample_hidden_size_for_audio=128",
  )
  shape = Qwen3AudioConfig(
    num_mel_bins=80, d_model=256, layers=2, heads=4, ffn_dim=1024, downsample_channels=128,
    unroll=True,
  )  # fmt: skip
  graph, state = nnx.split(nnx.eval_shape(lambda: Qwen3AudioEncoder(shape, rngs=nnx.Rngs(0))))

  def encode(state, mel, frames):
    return nnx.merge(graph, state)(mel, frames, frames)

  mel = jax.ShapeDtypeStruct((1, 1, 8, 100, 80), jnp.float32)
  frames = jax.ShapeDtypeStruct((1, 1, 8), jnp.int32)
  counted = jax.jit(encode).lower(state, mel, frames).compile().cost_analysis()["flops"]
  projector = 2 * 104 * 256 * (256 + config.emb_dim)
  ours = model_flops.encoder_flops_per_window(config) - projector
  assert ours < counted < 1.1 * ours  # which counts GELU, softmax and norms too
