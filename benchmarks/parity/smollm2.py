"""The trained SmolLM2-135M-Instruct in our model against stored logits of transformers."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks.parity.references import smollm2 as golden
from maxtext_ext import bridge
from maxtext_ext.checkpoint import dense_lm, sources, staging
from maxtext_ext.checkpoint.hf_io import HfReader
from maxtext_ext.checkpoint.keymap import check_names, our_shapes, places_by_name
from maxtext_ext.config import load
from maxtext_ext.models.make import make_model


def logits(folder: str) -> list[np.ndarray]:
  """Logits [T, V] of every text, from a checkpoint in the layout of Hugging Face."""
  keys = dense_lm.lm_keys(staging.read_json(folder, "config.json"))
  # Behind a tiny audio tower, which is not used.
  shape = {**keys, "output_dim_for_audio": keys["base_emb_dim"], "matmul_precision": "highest"}
  shape |= {"model_name": "qwen3-asr-tiny", "scan_layers": True, "attention": "dot_product"}
  config = load("configs/experiments/demo.yml", [f"{k}={v}" for k, v in shape.items()])
  mesh = bridge.make_mesh(config)
  with bridge.mesh_scope(config, mesh):
    abstract = nnx.eval_shape(lambda: make_model(config, mesh))
    graphdef, params, rest = nnx.split(abstract, nnx.Param, ...)
    weights, rest = (jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), t) for t in (params, rest))
    nnx.replace_by_pure_dict(weights, nnx.traversals.unflatten_mapping(_arrays(folder, keys)))
    run = jax.jit(lambda weights, batch: nnx.merge(graphdef, weights, rest, copy=True)(batch))
    logits_BLV = np.asarray(run(weights, _batch()))
  return [row[: len(ids)] for row, ids in zip(logits_BLV, _texts(), strict=True)]


def error(found: list[np.ndarray]) -> float:
  """The largest difference to the reference, as a part of the largest logit of its position."""
  stored = golden.outputs()
  return max(
    float((np.abs(x[:, golden.COLUMNS] - stored[f"logits_{i}"]).max(-1) / largest).max())
    for i, x in enumerate(found)
    for largest in [stored[f"largest_{i}"]]
  )


def max_error() -> float:
  """The same of the installed package."""
  return error(logits(sources.find_folder(f"pypi:{golden.PACKAGE}")))


def _texts() -> list[np.ndarray]:
  stored = golden.outputs()
  return [stored[f"ids_{i}"] for i in range(len(golden.TEXTS))]


def _batch() -> dict[str, np.ndarray]:
  """All texts, each in a row."""
  texts = _texts()
  inputs, segments = np.zeros((2, len(texts), max(map(len, texts))), np.int32)
  for i, ids in enumerate(texts):
    inputs[i, : len(ids)], segments[i, : len(ids)] = ids, 1
  positions = np.broadcast_to(np.arange(inputs.shape[1], dtype=np.int32), inputs.shape)
  return {"inputs": inputs, "inputs_position": positions, "inputs_segmentation": segments}


def _arrays(folder: str, keys: dict) -> dict[tuple[str, ...], np.ndarray]:
  """Our parameters of the language model by path."""
  rules, sizes = dense_lm.lm_rules(keys, tied=True), dense_lm.sizes(keys)
  places = places_by_name(rules, sizes)
  arrays = {path: np.empty(shape, np.float32) for path, shape in our_shapes(rules, sizes).items()}
  with HfReader(folder) as reader:
    expected = {name: found[0].rule.hf_shape(sizes) for name, found in places.items()}
    check_names(expected, {name: info.shape for name, info in reader.tensors.items()}, folder)
    for name, (place,) in places.items():
      value = place.rule.view(reader.read(name), sizes)
      arrays[place.path][place.slot()] = value * place.rule.factor(sizes)
  return {tuple(path.split("/")): value for path, value in arrays.items()}
