"""The tiny Qwen3-Omni as a checkpoint on disk: config.json and tensors, in every naming.

config.json has the sections of the published checkpoint that the thinker needs, with the shape of
`qwen3_omni`; beside the thinker's tensors lie some of the parts that conversion leaves out.
"""

import json
import pathlib
import re

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from benchmarks.parity.references import reference
from benchmarks.parity.references.qwen3_omni import REFERENCE

Tensors = dict[str, np.ndarray]
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
OTHER_FILES = {
  "generation_config.json": '{"eos_token_id": [500, 502]}\n',
  "preprocessor_config.json": '{"feature_size": 128}\n',
  "chat_template.json": '{"chat_template": "{{ messages }}"}\n',
}
SKIPPED = {
  "original": (
    "code2wav.decoder.0.conv.weight",
    "talker.model.layers.0.mlp.experts.0.gate_proj.weight",
    "talker.thinker_to_talker_proj.weight",
    "thinker.visual.blocks.0.attn.qkv.weight",
    "thinker.visual.merger.ln_q.bias",
  ),
  "native": ("visual.blocks.0.attn.qkv.weight", "visual.merger.ln_q.bias"),
}


def config(naming: str) -> dict:
  """config.json of the whole model (original) or of its thinker alone (native)."""
  thinker = {
    "model_type": "qwen3_omni_moe_thinker",
    "audio_config": {
      **REFERENCE.audio,
      "activation_function": "gelu",
      "conv_chunksize": 500,
      "max_source_positions": 1500,
      "model_type": "qwen3_omni_moe_audio_encoder",
      "n_window": 50,
      "n_window_infer": 800,
      "scale_embedding": False,
    },
    "audio_token_id": reference.AUDIO_PAD,
    "audio_start_token_id": reference.AUDIO_START,
    "text_config": {
      **REFERENCE.text,
      "decoder_sparse_step": 1,
      "hidden_act": "silu",
      "intermediate_size": REFERENCE.text["moe_intermediate_size"],
      "max_position_embeddings": 65_536,
      "mlp_only_layers": [],
      "model_type": "qwen3_omni_moe_text",
      "norm_topk_prob": True,
      "rms_norm_eps": reference.RMS_NORM_EPS,
      "rope_scaling": {
        "interleaved": True,
        "mrope_section": [4, 2, 2],
        "rope_type": "default",
        "type": "default",
      },
      "rope_theta": int(reference.ROPE_THETA),
      "router_aux_loss_coef": 0.001,
      "vocab_size": reference.VOCABULARY,
    },
  }
  if naming == "native":
    return {**thinker, "architectures": ["Qwen3OmniMoeThinkerForConditionalGeneration"]}
  return {
    "architectures": ["Qwen3OmniMoeForConditionalGeneration"],
    "enable_audio_output": True,
    "model_type": "qwen3_omni_moe",
    "talker_config": {"model_type": "qwen3_omni_moe_talker"},
    "thinker_config": thinker,
    "transformers_version": "4.57.0.dev0",
  }


def weights(naming: str, *, dtype: np.dtype = BFLOAT16) -> Tensors:
  """The golden weights under the names of a naming, `-fused` with all experts in one tensor."""
  found = {name: value.astype(dtype) for name, value in REFERENCE.weights().items()}
  if naming.endswith("-fused"):
    found = _fuse(found)
  if naming.startswith("native"):
    found = {name.removeprefix("thinker."): value for name, value in found.items()}
  return found


def _fuse(tensors: Tensors) -> Tensors:
  """Fuses the experts as `Qwen3OmniMoeThinkerTextExperts` of transformers stores them."""
  apart = re.compile(r"(.*\.experts)\.\d+\.(?:gate|up|down)_proj\.weight")
  kept = {name: value for name, value in tensors.items() if not apart.fullmatch(name)}
  for block in {match[1] for name in tensors if (match := apart.fullmatch(name))}:
    gates, ups, downs = (
      np.stack(
        [tensors[f"{block}.{e}.{name}_proj.weight"] for e in range(REFERENCE.text["num_experts"])]
      )
      for name in ("gate", "up", "down")
    )
    kept |= {f"{block}.gate_up_proj": np.concatenate([gates, ups], axis=1)}
    kept |= {f"{block}.down_proj": downs}
  return kept


def write(folder: pathlib.Path, naming: str, tensors: Tensors) -> None:
  """Writes a checkpoint of these tensors and the skipped parts."""
  kind = naming.removesuffix("-fused")
  folder.mkdir(parents=True)
  (folder / "config.json").write_text(json.dumps(config(kind)))
  for name, text in OTHER_FILES.items():
    (folder / name).write_text(text)
  others = {name: np.ones((2, 3), BFLOAT16) for name in SKIPPED[kind]}
  save_file(tensors | others, folder / "model.safetensors")
