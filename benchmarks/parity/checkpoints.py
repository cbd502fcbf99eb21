"""Converted checkpoints: tensors there and back, and logits against stored references."""

import itertools
import pathlib
import tempfile

import numpy as np
from safetensors.numpy import load_file

from benchmarks.parity import models
from benchmarks.parity.compare import Tensors, differences
from benchmarks.parity.logits import REFERENCES
from benchmarks.parity.references import (
  hf_checkpoint,
  qwen3_asr_files,
  qwen3_asr_odd,
  qwen3_omni_files,
  reference,
)
from benchmarks.parity.references.reference import Reference
from maxtext_ext.checkpoint.check import check
from maxtext_ext.checkpoint.convert import to_maxtext
from maxtext_ext.checkpoint.export import to_hf

NAMINGS = ("original", "native")
# Without a head, with one that copies the embedding, and with one of its own.
HEADS = {"tied": (None, True), "tied, stored": ("stored", True), "untied": ("untied", False)}


def read(folder: pathlib.Path) -> Tensors:
  """Tensors of a Hugging Face checkpoint."""
  found: Tensors = {}
  for file in sorted(folder.glob("*.safetensors")):
    found |= load_file(file)
  return found


def round_trip_differences(naming: str, head: str) -> float:
  """Counts tensors of Qwen3-ASR that differ after conversion there and back."""
  stored, tied = HEADS[head]
  different = 0
  for scanned, dtype in itertools.product((True, False), ("float32", "bfloat16")):
    with tempfile.TemporaryDirectory() as folder:
      source, out, back = (pathlib.Path(folder, name) for name in ("hf", "ours", "back"))
      ref = qwen3_asr_odd.REFERENCE
      want = qwen3_asr_files.write(
        source, naming, ref, head=stored, tied=tied, dtype=dtype, shards=3
      )
      to_maxtext(str(source), str(out), scanned=scanned)
      to_hf(str(out), str(back))
      got = read(back)
    different += differences(got, want)
  return different


def omni_round_trip_differences(naming: str) -> float:
  """Counts the same for Qwen3-Omni, in the tensors that are kept."""
  want = qwen3_omni_files.weights(naming)
  different = 0
  for scanned in (True, False):
    with tempfile.TemporaryDirectory() as folder:
      source, out, back = (pathlib.Path(folder, name) for name in ("hf", "ours", "back"))
      qwen3_omni_files.write(source, naming, want)
      to_maxtext(str(source), str(out), scanned=scanned)
      to_hf(str(out), str(back))
      different += differences(read(back), want)
  return different


def checked_error(name: str, scanned: bool) -> float:
  """Error that `convert check` reports for a converted checkpoint of the published names."""
  ref, _ = REFERENCES[name]
  with tempfile.TemporaryDirectory() as folder:
    source, out = pathlib.Path(folder, "hf"), pathlib.Path(folder, "ours")
    if "num_experts" in ref.text:
      weights = qwen3_omni_files.weights("original", dtype=np.dtype(np.float32))
      qwen3_omni_files.write(source, "original", weights)
    else:
      qwen3_asr_files.write(source, "original", ref, head="stored")
    to_maxtext(str(source), str(out), scanned=scanned)
    stored = pathlib.Path(folder, "reference.npz")
    np.savez(stored, **reference_arrays(ref))
    return max(clip.error for clip in check(out, stored))


def reference_arrays(ref: Reference) -> dict[str, np.ndarray]:
  """A stored reference in the form that `convert check` reads."""
  arrays = {}
  for k, (samples, clip) in enumerate(zip(ref.clips(), models.utterances(ref), strict=True)):
    ids = np.concatenate([clip.prompt, clip.target])
    stored = reference.stored_positions(k, clip.audio_tokens)
    last = int((stored - np.arange(len(stored)) == stored[-1] - len(stored) + 1).sum())
    assert stored[-1] == len(ids) - 1
    arrays |= {f"samples_{k}": samples, f"input_ids_{k}": ids}
    arrays[f"logits_{k}"] = ref.outputs()[f"logits_{k}"][-last:]
  return arrays


def tool_error(scanned: bool) -> float:
  """Error that it reports against what `hf_reference.py` wrote of a checkpoint with a tokenizer."""
  with tempfile.TemporaryDirectory() as folder:
    source, out = pathlib.Path(folder, "hf"), pathlib.Path(folder, "ours")
    source.mkdir()
    hf_checkpoint.write(source)
    to_maxtext(str(source), str(out), scanned=scanned)
    return max(clip.error for clip in check(out, hf_checkpoint.REFERENCE.path))
