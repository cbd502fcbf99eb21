"""Whisper encoders of CTranslate2's format: read back as they were, and refused in one line."""

import io
import json
import pathlib
import struct

import numpy as np
import pytest
from safetensors.numpy import load_file

from benchmarks.parity.references.whisper import PREFIX, WhisperReference
from maxtext_ext.checkpoint import ctranslate2_whisper as ct2
from maxtext_ext.checkpoint.whisper import encoder_keys

REFERENCE = WhisperReference(name="small", d_model=8, heads=2, published_layers=2)
_TYPES = {"float32": 0, "int8": 1, "int16": 2, "float16": 4}
_NAMES = {
  "self_attn_layer_norm": "self_attention/layer_norm",
  "self_attn.out_proj": "self_attention/linear_1",
  "final_layer_norm": "ffn/layer_norm",
  "fc1": "ffn/linear_0",
  "fc2": "ffn/linear_1",
}


def tensors() -> dict[str, np.ndarray]:
  """The reference's weights in float16 as CTranslate2 has them, and one of the decoder."""
  weights = {k.removeprefix(f"{PREFIX}."): v for k, v in REFERENCE.weights().items()}
  out = {"num_heads": np.array(REFERENCE.heads, np.int16)}
  out["position_encodings/encodings"] = weights.pop("embed_positions.weight")
  for layer in range(REFERENCE.layers):
    attention = f"layers.{layer}.self_attn"
    bias = {f"{name}_proj": weights.pop(f"{attention}.{name}_proj.bias") for name in "qv"}
    bias["k_proj"] = np.zeros(REFERENCE.d_model, np.float32)
    fused = f"layer_{layer}/self_attention/linear_0"
    names = ("q_proj", "k_proj", "v_proj")
    matrices = [weights.pop(f"{attention}.{name}.weight") for name in names]
    out[f"{fused}/weight"] = np.concatenate(matrices)
    out[f"{fused}/bias"] = np.concatenate([bias[name] for name in names])
  for name, value in weights.items():
    *path, kind = name.split(".")
    inner = ".".join(path)
    if "layer_norm" in name:
      kind = {"weight": "gamma", "bias": "beta"}[kind]
    if path[0] == "layers":
      inner = f"layer_{path[1]}/{_NAMES['.'.join(path[2:])]}"
    out[f"{inner}/{kind}"] = value
  return {
    name: value if value.dtype == np.int16 else value.astype(np.float16)
    for name, value in out.items()
  }


def model_file(
  held: dict[str, np.ndarray], *, version: int = 6, spec: str = "WhisperSpec"
) -> bytes:
  """The bytes of model.bin, with a tensor of the decoder behind those of the encoder."""

  def text(value: str) -> bytes:
    return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

  file = io.BytesIO()
  named = {f"encoder/{name}": value for name, value in held.items()}
  named["decoder/embeddings/weight"] = np.ones((3, 2), np.float16)
  file.write(struct.pack("<I", version) + text(spec) + struct.pack("<II", 3, len(named)))
  for name, value in named.items():
    file.write(text(name) + struct.pack(f"<B{value.ndim}I", value.ndim, *value.shape))
    file.write(struct.pack("<BI", _TYPES[value.dtype.name], value.nbytes) + value.tobytes())
  file.write(struct.pack("<I", 0))
  return file.getvalue()


def test_a_model_becomes_the_checkpoint_that_it_was_made_of(tmp_path: pathlib.Path):
  (tmp_path / ct2.MODEL_FILE).write_bytes(model_file(tensors()))
  ct2.write_checkpoint(tmp_path, str(tmp_path / "out"))
  written = load_file(tmp_path / "out" / "model.safetensors")
  assert written.keys() == REFERENCE.shapes().keys()
  for name, value in REFERENCE.weights().items():
    np.testing.assert_array_equal(written[name], value.astype(np.float16), err_msg=name)
  config = json.loads((tmp_path / "out" / "config.json").read_text())
  assert encoder_keys(config) == encoder_keys(REFERENCE.config())
  with pytest.raises(ValueError, match="out is there already"):
    ct2.write_checkpoint(tmp_path, str(tmp_path / "out"))


def with_key_bias() -> dict[str, np.ndarray]:
  held = tensors()
  held["layer_1/self_attention/linear_0/bias"] += np.float16(1)
  return held


def without(name: str) -> dict[str, np.ndarray]:
  held = tensors()
  del held[name]
  return held


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (b"PK\x03\x04 something else", "format version .*, expected 6"),
    (b"", "no model of CTranslate2's, or cut short"),
    (model_file(tensors(), version=5), "format version 5, expected 6"),
    (model_file(tensors(), spec="TransformerSpec"), "'TransformerSpec', expected WhisperSpec"),
    (model_file(tensors())[:24_050], "encodings. is cut short"),
    (model_file({"conv1/weight": np.ones((2, 2), np.int8)}), "'encoder/conv1/weight' is quantised"),
    (model_file(with_key_bias()), "encoder/layer_1 has a bias of the keys"),
    (model_file(without("conv2/bias")), "no tensor encoder/conv2/bias"),
    (
      model_file(without("layer_0/ffn/linear_0/weight")),
      "no tensor encoder/layer_0/ffn/linear_0/weight",
    ),
    (model_file({**tensors(), "gate": np.ones(1, np.float16)}), "unknown tensor encoder/gate"),
  ],
)
def test_what_is_no_such_model_is_refused_in_one_line(tmp_path, content: bytes, message: str):
  (tmp_path / ct2.MODEL_FILE).write_bytes(content)
  with pytest.raises(ValueError, match=message) as refused:
    ct2.write_checkpoint(tmp_path, str(tmp_path / "out"))
  assert "\n" not in str(refused.value)
  assert str(tmp_path) in str(refused.value)
  assert not (tmp_path / "out").exists()


def test_a_folder_without_a_model_is_refused(tmp_path: pathlib.Path):
  with pytest.raises(ValueError, match=r"model.bin is not there; expected the folder of a model"):
    ct2.write_checkpoint(tmp_path, str(tmp_path / "out"))
