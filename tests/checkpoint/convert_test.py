"""There and back: every byte of every tensor, the same logits, and nothing half done."""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file
from transformers import Qwen3ASRConfig

from benchmarks.parity import models
from benchmarks.parity.checkpoints import HEADS, NAMINGS, read
from benchmarks.parity.references import ours
from benchmarks.parity.references import qwen3_asr as golden
from benchmarks.parity.references import qwen3_asr_files as files
from benchmarks.parity.references import qwen3_asr_odd as odd
from maxtext_ext import bridge
from maxtext_ext.checkpoint.best import Best
from maxtext_ext.checkpoint.convert import to_maxtext
from maxtext_ext.checkpoint.export import to_hf
from maxtext_ext.checkpoint.keymap import KeyTableError
from maxtext_ext.checkpoint.orbax_io import ParamsReader
from maxtext_ext.checkpoint.training import TrainingCheckpoints, with_base_weights
from maxtext_ext.config import load
from maxtext_ext.models.make import make_model

ROOT = pathlib.Path(__file__).parents[2]


def assert_same(found, expected):
  assert found.keys() == expected.keys()
  for name, value in expected.items():
    assert found[name].dtype == value.dtype, name
    assert found[name].shape == value.shape, name
    assert found[name].tobytes() == value.tobytes(), name


def load_converted(folder, *overrides):
  """The configuration and the parameters of a converted checkpoint, as training loads them."""
  keys = ["attention=dot_product", "matmul_precision=highest", "dtype=float32", *overrides]
  keys = [f"model_name={folder}", f"load_parameters_path={folder}", *keys]
  config = with_base_weights(load("configs/speech.yml", keys))
  mesh = bridge.make_mesh(config)
  path = config.load_parameters_path
  return config, mesh, bridge.load_params(config, mesh, path, lambda: make_model(config, mesh))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("source", NAMINGS)
@pytest.mark.parametrize("scanned", [True, False], ids=["scanned", "unscanned"])
def test_there_and_back_is_byte_equal(tmp_path, source, head, scanned):
  stored, tied = HEADS[head]
  options = {"head": stored, "tied": tied, "dtype": "bfloat16"}
  files.write(tmp_path / "hf", source, odd.REFERENCE, shards=3, **options)
  for dtype in ("stored", "float32"):
    out = str(tmp_path / dtype)
    report = to_maxtext(str(tmp_path / "hf"), out, dtype=dtype, scanned=scanned)
    assert (report.naming, report.head, report.skipped) == (source, head, ())
    for naming in NAMINGS:
      back = tmp_path / f"{dtype}-{naming}"
      assert to_hf(out, str(back), naming=naming).head == head
      expected = files.weights(naming, odd.REFERENCE, head=stored, dtype="bfloat16")
      assert_same(read(back), expected)
    stored_dtypes = {ParamsReader(f"{out}/0/items").open(path).dtype for path in _PATHS}
    assert stored_dtypes == {np.dtype("bfloat16" if dtype == "stored" else dtype)}


_PATHS = ("token_embedder/embedding", "speech_encoder/layers/fc1/kernel", "projector/linear_1/bias")


def test_types_are_kept_tensor_by_tensor(tmp_path):
  tensors = files.write(tmp_path / "hf", "original")
  for i, name in enumerate(sorted(tensors)):
    kind = (np.float32, "bfloat16", np.float16)[i % 3]
    tensors[name] = tensors[name].astype(kind)
  save_file(tensors, tmp_path / "hf" / "model.safetensors")
  to_maxtext(str(tmp_path / "hf"), str(tmp_path / "out"))
  to_hf(str(tmp_path / "out"), str(tmp_path / "back"))
  assert_same(read(tmp_path / "back"), tensors)
  to_hf(str(tmp_path / "out"), str(tmp_path / "native"), naming="native")
  kinds = {files.native_name(name): value.dtype for name, value in tensors.items()}
  assert {name: value.dtype for name, value in read(tmp_path / "native").items()} == kinds


@pytest.mark.parametrize("scanned", [True, False], ids=["scanned", "unscanned"])
@pytest.mark.parametrize(
  ("ref", "naming"), [(golden.REFERENCE, "original"), (odd.REFERENCE, "native")]
)
def test_parameters_load_as_those_placed_by_hand(tmp_path, ref, naming, scanned):
  """`tests/models/speech_lm_test.py` holds the logits of these to transformers'."""
  files.write(tmp_path / "hf", naming, ref, head="stored")
  to_maxtext(str(tmp_path / "hf"), str(tmp_path / "out"), scanned=scanned)
  config, _, params = load_converted(tmp_path / "out")
  assert (config.scan_layers, config.logits_via_embedding) == (scanned, True)
  expected = ours.params(ref, scanned=scanned)
  jax.tree.map(np.testing.assert_array_equal, params.to_pure_dict(), expected)


def test_logits_of_a_converted_checkpoint_are_the_references(tmp_path):
  ref = golden.REFERENCE
  files.write(tmp_path / "hf", "original", head="stored")
  to_maxtext(str(tmp_path / "hf"), str(tmp_path / "out"))
  config, mesh, params = load_converted(tmp_path / "out")
  with bridge.mesh_scope(config, mesh):
    graphdef, _, rest = nnx.split(make_model(config, mesh), nnx.Param, ...)
  model = models.Loaded(
    ref=ref,
    config=config,
    mesh=mesh,
    graphdef=graphdef,
    state=nnx.merge_state(params, rest),
    experts=[],
  )
  clips = models.utterances(ref)[:5]
  found = models.run_all(model, clips, max_tokens=320, windows=2, rows=1)
  errors = {clip.sample_id: models.error(ref, found[clip.sample_id].logits, clip) for clip in clips}
  assert max(errors.values()) < models.TOLERANCE, errors


def test_a_head_that_differs_is_a_head_of_its_own(tmp_path):
  """config.json says tied, the tensors say otherwise: what is stored counts."""
  tensors = files.write(tmp_path / "hf", "native", head="untied", tied=True)
  report = to_maxtext(str(tmp_path / "hf"), str(tmp_path / "out"))
  assert report.head == "untied"
  config, _, params = load_converted(str(tmp_path / "out"))
  assert not config.logits_via_embedding
  head = params.to_pure_dict()["decoder"]["logits_dense"]["kernel"]
  np.testing.assert_array_equal(head, tensors["lm_head.weight"].T)
  to_hf(str(tmp_path / "out"), str(tmp_path / "back"))
  assert_same(read(tmp_path / "back"), tensors)
  written = json.loads((tmp_path / "back" / "config.json").read_text())
  assert Qwen3ASRConfig.from_dict(written).tie_word_embeddings is False


def test_what_training_saved_goes_back(tmp_path):
  """A checkpoint that Orbax wrote, in whole arrays, with the base that it started from."""
  tensors = files.write(tmp_path / "hf", "original", head="stored", dtype="bfloat16")
  base = str(tmp_path / "base")
  to_maxtext(str(tmp_path / "hf"), base)
  run = tmp_path / "run" / "checkpoints"
  config, mesh, params = load_converted(base, "weight_dtype=float32")
  config = bridge.replace(config, checkpoint_dir=str(run))
  moved = jax.tree.map(lambda x: x + jnp.asarray(1, x.dtype), params)
  with bridge.mesh_scope(config, mesh):
    model = make_model(config, mesh)
    nnx.update(model, moved)
  state = bridge.TrainState(model, None)
  manager = bridge.checkpoint_manager(config, Best(patience=0))
  checkpoints = TrainingCheckpoints(manager, background=False)
  checkpoints.save(7, nnx.state(state), {})
  checkpoints.close()

  with pytest.raises(ValueError, match="--base"):
    to_hf(str(tmp_path / "run"), str(tmp_path / "back"))
  to_hf(str(tmp_path / "run"), str(tmp_path / "back"), base=base)
  expected = {
    name: (value.astype(np.float32) + 1).astype(value.dtype) for name, value in tensors.items()
  }
  assert_same(read(tmp_path / "back"), expected)


def test_every_difference_is_told_and_nothing_written(tmp_path):
  tensors = files.write(tmp_path / "hf", "original")
  tensors["thinker.talker.weight"] = np.zeros(3, np.float32)
  del tensors["thinker.model.norm.weight"], tensors["thinker.audio_tower.proj1.bias"]
  tensors["thinker.audio_tower.conv2d1.bias"] = np.zeros(9, np.float32)
  tensors["thinker.model.layers.2.mlp.up_proj.weight"] = np.zeros((96, 48), np.float32)
  save_file(tensors, tmp_path / "hf" / "model.safetensors")
  with pytest.raises(KeyTableError) as caught:
    to_maxtext(str(tmp_path / "hf"), str(tmp_path / "out"))
  assert str(caught.value).splitlines()[1:] == [
    "unknown: thinker.model.layers.2.mlp.up_proj.weight [96, 48]",
    "unknown: thinker.talker.weight [3]",
    "missing: thinker.audio_tower.proj1.bias [64]",
    "missing: thinker.model.norm.weight [48]",
    "shape of thinker.audio_tower.conv2d1.bias: got [9], expected [8]",
  ]
  assert [child.name for child in tmp_path.iterdir()] == ["hf"]


def test_an_untied_model_needs_its_head(tmp_path):
  files.write(tmp_path / "hf", "native", tied=False)
  with pytest.raises(KeyTableError, match=r"missing: lm_head.weight \[512, 48\]"):
    to_maxtext(str(tmp_path / "hf"), str(tmp_path / "out"))


@pytest.mark.parametrize("family", ["qwen3_asr"])
def test_skipped_tensors_are_listed(tmp_path, monkeypatch, family):
  from maxtext_ext.checkpoint import families

  skipping = dataclasses.replace(families.FAMILIES[family], skip=(r"thinker\.talker\..*",))
  monkeypatch.setitem(families.FAMILIES, family, skipping)
  tensors = files.write(tmp_path / "hf", "original")
  extra = {"thinker.talker.a": np.zeros(3, np.int64), "thinker.talker.b": np.zeros(2, bool)}
  save_file(tensors | extra, tmp_path / "hf" / "model.safetensors")
  report = to_maxtext(str(tmp_path / "hf"), str(tmp_path / "out"))
  assert report.skipped == tuple(extra)
  assert report.tensors == len(tensors)
  to_hf(str(tmp_path / "out"), str(tmp_path / "back"))
  assert_same(read(tmp_path / "back"), tensors)


def test_the_files_beside_the_tensors_go_along(tmp_path):
  files.write(tmp_path / "hf", "original", shards=2)
  to_maxtext(str(tmp_path / "hf"), str(tmp_path / "out"))
  changed = {"original": {}, "native": {"preprocessor_config.json": "processor_config.json"}}
  for naming in NAMINGS:
    to_hf(str(tmp_path / "out"), str(tmp_path / naming), naming=naming)
    names = {file.name for file in (tmp_path / naming).iterdir()}
    expected = {changed[naming].get(name, name) for name in files.OTHER_FILES}
    assert names == {*expected, "config.json", "model.safetensors"}
    for name in names & files.OTHER_FILES.keys():
      assert (tmp_path / naming / name).read_text() == files.OTHER_FILES[name]
    config = json.loads((tmp_path / naming / "config.json").read_text())
    assert ("thinker_config" in config) == (naming == "original")
  assert json.loads((tmp_path / "original" / "config.json").read_text()) == files.original_config()


def test_what_is_there_stays(tmp_path):
  files.write(tmp_path / "hf", "original")
  (tmp_path / "out").mkdir()
  (tmp_path / "out" / "mine").write_text("mine")
  with pytest.raises(ValueError, match="is there already"):
    to_maxtext(str(tmp_path / "hf"), str(tmp_path / "out"))
  assert [child.name for child in (tmp_path / "out").iterdir()] == ["mine"]
  with pytest.raises(ValueError, match="no such folder, and no id of the hub"):
    to_maxtext(str(tmp_path / "gone"), str(tmp_path / "new"))
  with pytest.raises(ValueError, match="names 'theirs': qwen3_asr has original, native"):
    to_maxtext(str(tmp_path / "hf"), str(tmp_path / "new"))
    to_hf(str(tmp_path / "new"), str(tmp_path / "back"), naming="theirs")


KILLED = """
import sys, time
from maxtext_ext.checkpoint import orbax_io
from maxtext_ext.checkpoint.convert import to_maxtext
from maxtext_ext.checkpoint.export import to_hf
orbax_io.BATCH_BYTES = 1

def wait(done, total):
  if done > total // 2:
    print("half", flush=True)
    time.sleep(600)

globals()[sys.argv[1]](sys.argv[2], sys.argv[3], progress=wait)
"""


@pytest.mark.integration_test
def test_a_killed_conversion_leaves_nothing_that_looks_whole(tmp_path):
  tensors = files.write(tmp_path / "hf", "original", shards=2)
  to_maxtext(str(tmp_path / "hf"), str(tmp_path / "ready"))
  calls = {to_maxtext: ("hf", "out"), to_hf: ("ready", "back")}
  calls = {f: [str(tmp_path / name) for name in names] for f, names in calls.items()}
  processes = [
    subprocess.Popen(
      [sys.executable, "-c", KILLED, function.__name__, *arguments],
      cwd=ROOT,
      env={**os.environ, "PYTHONPATH": str(ROOT)},
      stdout=subprocess.PIPE,
      text=True,
    )
    for function, arguments in calls.items()
  ]
  for process in processes:
    with process:
      assert process.stdout.readline() == "half\n"
      process.send_signal(signal.SIGKILL)
  for function, (source, out) in calls.items():
    assert not os.path.exists(out)
    partial = pathlib.Path(f"{out}.partial")
    assert any(file.is_file() for file in partial.rglob("*")), "it had begun"
    with pytest.raises(ValueError):
      to_hf(str(partial), str(tmp_path / "never"))
    function(source, out)
    assert not partial.exists()
  assert_same(read(tmp_path / "back"), tensors)
  to_hf(str(tmp_path / "out"), str(tmp_path / "again"))
  assert_same(read(tmp_path / "again"), tensors)


def test_an_interrupted_conversion_leaves_nothing(tmp_path):
  files.write(tmp_path / "hf", "original")

  def interrupt(done, total):
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    to_maxtext(str(tmp_path / "hf"), str(tmp_path / "out"), progress=interrupt)
  assert [child.name for child in tmp_path.iterdir()] == ["hf"]


def test_pieces_of_any_size_make_the_same(tmp_path, monkeypatch):
  from maxtext_ext.checkpoint import tensor_plan

  tensors = files.write(tmp_path / "hf", "original", odd.REFERENCE, head="untied", tied=False)
  for i, (size, scanned) in enumerate([(900, True), (20_000, True), (20_000, False)]):
    monkeypatch.setattr(tensor_plan, "PIECE_VALUES", size)
    out, back = str(tmp_path / f"out{i}"), tmp_path / f"back{i}"
    to_maxtext(str(tmp_path / "hf"), out, scanned=scanned)
    monkeypatch.setattr(tensor_plan, "PIECE_VALUES", 3000)
    to_hf(out, str(back))
    assert_same(read(back), tensors)
