"""The whole model against transformers' Qwen3-ASR: logits of ragged clips, whatever the packing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from maxtext_ext import bridge
from maxtext_ext.audio.frames import audio_tokens, num_frames
from maxtext_ext.config import load
from maxtext_ext.input.batch import pack_batch
from maxtext_ext.input.packing import pack
from maxtext_ext.input.utterance import Utterance
from maxtext_ext.models.speech_lm import make_model
from tests.golden import qwen3_asr

TOLERANCE = 1e-4  # of the largest logit of the clip
SHAPE = {
  "base_emb_dim": qwen3_asr.TEXT["hidden_size"],
  "base_mlp_dim": qwen3_asr.TEXT["intermediate_size"],
  "base_num_decoder_layers": qwen3_asr.TEXT["num_hidden_layers"],
  "base_num_query_heads": qwen3_asr.TEXT["num_attention_heads"],
  "base_num_kv_heads": qwen3_asr.TEXT["num_key_value_heads"],
  "head_dim": qwen3_asr.TEXT["head_dim"],
  "vocab_size": qwen3_asr.TEXT["vocab_size"],
  "num_mel_bins_for_audio": qwen3_asr.AUDIO["num_mel_bins"],
  "d_model_for_audio": qwen3_asr.AUDIO["d_model"],
  "encoder_layers_for_audio": qwen3_asr.AUDIO["encoder_layers"],
  "encoder_attention_heads_for_audio": qwen3_asr.AUDIO["encoder_attention_heads"],
  "encoder_ffn_dim_for_audio": qwen3_asr.AUDIO["encoder_ffn_dim"],
  "downsample_hidden_size_for_audio": qwen3_asr.AUDIO["downsample_hidden_size"],
  "output_dim_for_audio": qwen3_asr.AUDIO["output_dim"],
}


def decoder_params(weights: dict[str, np.ndarray], *, scanned: bool) -> dict:
  """The language model's weights under MaxText's names."""
  heads, kv_heads = qwen3_asr.TEXT["num_attention_heads"], qwen3_asr.TEXT["num_key_value_heads"]
  hidden, head = qwen3_asr.TEXT["hidden_size"], qwen3_asr.TEXT["head_dim"]

  def layer(i: int) -> dict:
    w = {
      name.removeprefix(f"model.language_model.layers.{i}.").removesuffix(".weight"): value
      for name, value in weights.items()
      if name.startswith(f"model.language_model.layers.{i}.")
    }
    attention = {
      "query": {"kernel": w["self_attn.q_proj"].T.reshape(hidden, heads, head)},
      "key": {"kernel": w["self_attn.k_proj"].T.reshape(hidden, kv_heads, head)},
      "value": {"kernel": w["self_attn.v_proj"].T.reshape(hidden, kv_heads, head)},
      "out": {"kernel": w["self_attn.o_proj"].T.reshape(heads, head, hidden)},
      "query_norm": {"scale": w["self_attn.q_norm"]},
      "key_norm": {"scale": w["self_attn.k_norm"]},
    }
    return {
      "self_attention": attention,
      "mlp": {
        "wi_0": {"kernel": w["mlp.gate_proj"].T},
        "wi_1": {"kernel": w["mlp.up_proj"].T},
        "wo": {"kernel": w["mlp.down_proj"].T},
      },
      "pre_self_attention_layer_norm": {"scale": w["input_layernorm"]},
      "post_self_attention_layer_norm": {"scale": w["post_attention_layernorm"]},
    }

  layers = [layer(i) for i in range(qwen3_asr.TEXT["num_hidden_layers"])]
  decoder = {"decoder_norm": {"scale": weights["model.language_model.norm.weight"]}}
  if scanned:  # MaxText stacks its layers along axis 1
    decoder["layers"] = jax.tree.map(lambda *leaves: np.stack(leaves, axis=1), *layers)
  else:
    decoder |= {f"layers_{i}": layer for i, layer in enumerate(layers)}
  embedding = weights["model.language_model.embed_tokens.weight"]
  return {"decoder": decoder, "token_embedder": {"embedding": embedding}}


@functools.cache
def reference_model(scanned: bool, attention: str = "dot_product"):
  """The configuration, its mesh, and a model with the reference's weights, as (graphdef, state)."""
  keys = {**SHAPE, "scan_layers": scanned, "attention": attention, "matmul_precision": "highest"}
  config = load("configs/experiments/demo.yml", [f"{k}={v}" for k, v in keys.items()])
  mesh = bridge.make_mesh(config)
  with bridge.mesh_scope(config, mesh):
    model = make_model(config, mesh)
  params = nnx.state(model, nnx.Param)
  weights = qwen3_asr.weights()
  new = {**qwen3_asr.speech_params(weights), **decoder_params(weights, scanned=scanned)}
  shapes = jax.tree.map(lambda x: x.shape, new)
  assert shapes == jax.tree.map(lambda x: x.shape, params.to_pure_dict()), "every weight is set"
  nnx.replace_by_pure_dict(params, jax.tree.map(jnp.asarray, new))
  nnx.update(model, params)
  return config, mesh, nnx.split(model)


def utterances() -> list[Utterance]:
  made = []
  for i, samples in enumerate(qwen3_asr.clips()):
    tokens = audio_tokens(num_frames(len(samples)))
    prompt, target = qwen3_asr.prompt_ids(i, tokens)
    made.append(
      Utterance(
        sample_id=str(i),
        dataset_name="golden",
        language="English",
        text="",
        samples=samples,
        prompt=np.asarray(prompt, np.int32),
        target=np.asarray(target, np.int32),
        audio_start=prompt.index(qwen3_asr.AUDIO_PAD),
        audio_tokens=tokens,
      )
    )
  return made


def logits_of_all(
  scanned: bool, clips: list[Utterance], *, max_tokens: int, windows: int, rows: int
):
  """Packs clips into rows and runs them; returns each clip's logits [positions, V] by id."""
  config, mesh, (graphdef, state) = reference_model(scanned)
  packed = list(pack([(u.tokens, u.chunks) for u in clips], max_tokens=max_tokens, windows=windows))
  assert len(packed) <= rows
  arrays = pack_batch(
    packed,
    dict(enumerate(clips)),
    batch_rows=rows,
    max_tokens=max_tokens,
    windows=windows,
    pad_id=qwen3_asr.PAD,
    audio_dtype="float32",
  )
  with bridge.mesh_scope(config, mesh):
    run = jax.jit(lambda batch: nnx.merge(graphdef, state, copy=True)(batch))
    logits = np.asarray(run(jax.tree.map(jnp.asarray, arrays)))
  found = {}
  for number, row in enumerate(packed):
    for segment, key in enumerate(row.keys, 1):
      found[clips[key].sample_id] = logits[number][arrays["inputs_segmentation"][number] == segment]
  return found


def error(logits: np.ndarray, clip: Utterance) -> float:
  """The largest difference to the reference, as a part of its largest logit."""
  number = int(clip.sample_id)
  want = qwen3_asr.outputs()[f"logits_{number}"]
  positions = qwen3_asr.stored_positions(number, clip.audio_tokens)
  inside = positions < len(logits)  # the last token predicts nothing and is in no row
  return float(np.abs(logits[positions[inside]] - want[inside]).max() / np.abs(want).max())


PACKINGS = {
  "all in one row": {"max_tokens": 2304, "windows": 20, "rows": 1},
  "rows of 1024 tokens": {"max_tokens": 1024, "windows": 9, "rows": 4},
  "an empty row beside": {"max_tokens": 2304, "windows": 22, "rows": 2},
}


@pytest.mark.parametrize("scanned", [True, False], ids=["scanned", "unscanned"])
@pytest.mark.parametrize("packing", PACKINGS)
def test_logits_equal_the_reference(packing, scanned):
  clips = utterances()
  found = logits_of_all(scanned, clips, **PACKINGS[packing])
  errors = {clip.sample_id: error(found[clip.sample_id], clip) for clip in clips}
  assert max(errors.values()) < TOLERANCE, errors


@pytest.mark.parametrize("order", [0, 1])
def test_a_clips_logits_do_not_depend_on_its_mates(order):
  clips = utterances()[:7]
  shuffled = [clips[i] for i in np.random.default_rng(order).permutation(len(clips))]
  together = logits_of_all(False, shuffled, max_tokens=1024, windows=9, rows=1)
  for clip in clips[::3]:
    alone = logits_of_all(False, [clip], max_tokens=1024, windows=9, rows=1)[clip.sample_id]
    scale = np.abs(alone).max()
    assert np.abs(together[clip.sample_id] - alone).max() / scale < 1e-5


def test_a_wrong_placement_shows():
  """The tolerance is tight enough to see one audio token in the wrong place."""
  clips = utterances()
  clip = clips[4]
  config, mesh, (graphdef, state) = reference_model(False)
  row = next(iter(pack([(clip.tokens, clip.chunks)], max_tokens=256, windows=1)))
  arrays = pack_batch(
    [row], {0: clip}, batch_rows=1, max_tokens=256, windows=1, pad_id=0, audio_dtype="float32"
  )
  first = clip.audio_start
  arrays["audio_index"][0, [first, first + 1]] = arrays["audio_index"][0, [first + 1, first]]
  with bridge.mesh_scope(config, mesh):
    logits = np.asarray(nnx.merge(graphdef, state)(jax.tree.map(jnp.asarray, arrays)))
  assert error(logits[0, : clip.tokens], clip) > 10 * TOLERANCE
