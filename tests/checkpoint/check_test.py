"""`convert check` on logits of benchmarks/parity/hf_reference.py: passes, and fails when wrong."""

import pathlib
import re
import shutil

import numpy as np
import pytest
from flax import nnx
from orbax.checkpoint import v1 as ocp

from benchmarks.parity import models
from benchmarks.parity.references import hf_checkpoint
from maxtext_ext import bridge
from maxtext_ext.checkpoint.check import ReferenceClip, check, compare, read_reference
from maxtext_ext.checkpoint.model_file import write_model
from maxtext_ext.cli import main
from maxtext_ext.models.encoders.qwen3_audio import GEOMETRY
from maxtext_ext.text.tokenizer import Tokenizer

REFERENCE = hf_checkpoint.REFERENCE.path


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
  """The Hugging Face checkpoint, with its tokenizer."""
  folder = tmp_path_factory.mktemp("hf")
  hf_checkpoint.write(folder)
  return folder


@pytest.fixture(scope="module")
def converted(folder, tmp_path_factory) -> pathlib.Path:
  """The same weights as a checkpoint of ours."""
  out = tmp_path_factory.mktemp("converted")
  loaded = models.load_model(hf_checkpoint.REFERENCE, tokenizer_path=folder)
  write_model(loaded.config, str(out))
  with bridge.mesh_scope(loaded.config, loaded.mesh):
    state = nnx.state(bridge.TrainState(loaded.merge(), None), nnx.Param)
  ocp.save_checkpointables(out / "0", {"items": bridge.to_checkpoint(state)})
  return out


def edited(path: pathlib.Path, **changes: np.ndarray | None) -> pathlib.Path:
  """A copy of the reference with arrays replaced, or left out where None is given."""
  arrays = {**np.load(REFERENCE), **changes}
  np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
  return path


def status(*args: str) -> int:
  with pytest.raises(SystemExit) as exited:
    main(["convert", "check", *map(str, args)])
  return exited.value.code or 0


def test_the_stored_reference_is_of_this_checkpoint(folder):
  tokenizer = Tokenizer.from_directory(folder)
  for clip, samples in zip(read_reference(REFERENCE), hf_checkpoint.REFERENCE.clips(), strict=True):
    np.testing.assert_array_equal(clip.samples, samples)
    utterance = clip.utterance(GEOMETRY)
    pads = clip.input_ids == tokenizer.audio_pad_id
    assert np.flatnonzero(pads)[0] == utterance.audio_start
    assert pads.sum() == utterance.audio_tokens


def test_a_right_checkpoint_passes(converted, capsys):
  assert status(converted, REFERENCE) == 0
  printed = capsys.readouterr().out
  assert re.search("relative error +worst position +top-1 agreement", printed)
  assert "within the tolerance of 0.0001" in printed
  for number, seconds in enumerate(hf_checkpoint.REFERENCE.seconds):
    assert re.search(rf"{number} +{seconds:.2f} +12 +\d\.\d\de-0[5-9] +\d+ +100.0%", printed)


def test_an_error_past_the_tolerance_ends_with_1(converted, tmp_path, capsys):
  logits = np.load(REFERENCE)["logits_1"]
  logits[-2, 7] += 1e-3 * np.abs(logits).max()
  wrong = edited(tmp_path / "wrong.npz", logits_1=logits)
  assert status(converted, wrong) == 1
  ids = np.load(REFERENCE)["input_ids_1"]
  printed = capsys.readouterr().out
  assert "past the tolerance" in printed
  assert f" {len(ids) - 2} " in printed, "the worst position is an index into the ids"


def test_wrong_input_shows(converted, tmp_path):
  swapped = np.load(REFERENCE)["input_ids_0"]
  swapped[1:4] = swapped[3:0:-1]
  errors = check(converted, edited(tmp_path / "swapped.npz", input_ids_0=swapped, samples_2=None))
  assert errors[0].error > 1e-3 > 1e-4 > errors[1].error
  assert not errors[0].within(1e-3) and errors[0].within(10.0)


def test_logits_that_are_not_finite_never_pass():
  rng = np.random.default_rng(0)
  logits = rng.normal(size=(4, 8)).astype(np.float32)
  clip = ReferenceClip(
    number=0, samples=np.ones(8), input_ids=np.arange(9, dtype=np.int32), logits=logits
  )
  assert compare(clip, logits).within(0.0)
  broken = logits.copy()
  broken[2, 3] = np.nan
  error = compare(clip, broken)
  assert not error.within(np.inf)
  assert error.worst_position == 7


@pytest.mark.parametrize(
  ("changes", "said"),
  [
    ({"logits_2": None}, "logits_2 missing"),
    ({f"samples_{k}": None for k in range(3)}, "no samples_0"),
    ({"logits_0": np.zeros(5, np.float32)}, r"expected \[T\], \[P\]"),
    ({"input_ids_0": np.arange(30, dtype=np.int32)}, "must expand the pads"),
    ({"logits_0": np.zeros((3, 99), np.float32)}, "another model's reference"),
  ],
)
def test_a_reference_that_cannot_be_used(converted, tmp_path, changes, said):
  with pytest.raises(ValueError, match=said):
    check(converted, edited(tmp_path / "bad.npz", **changes))


def test_a_file_that_is_none(converted, tmp_path):
  (tmp_path / "text.npz").write_text("no archive")
  with pytest.raises(
    ValueError, match=r"text\.npz: not a complete \.npz file; make it again with .*hf_ref"
  ):
    check(converted, tmp_path / "text.npz")


def test_a_folder_without_a_checkpoint(converted, tmp_path):
  shutil.copy(converted / "model.yml", tmp_path)
  with pytest.raises(ValueError, match="no checkpoint"):
    check(tmp_path, REFERENCE)
