"""Whisper's encoder, projector and language model as one: parity, there and back, PEFT."""

import dataclasses
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file

from benchmarks.parity.references import reference, whisper_lm
from benchmarks.parity.references.whisper_lm import ADAPTER, ANSWER, INSTRUCTION, WhisperLM
from maxtext_ext import bridge
from maxtext_ext.checkpoint import adapter
from maxtext_ext.checkpoint.convert import to_maxtext
from maxtext_ext.checkpoint.export import to_hf
from maxtext_ext.checkpoint.families import FAMILIES
from maxtext_ext.checkpoint.merge import import_adapter, merge_adapter
from maxtext_ext.checkpoint.model_file import pretrained_config
from maxtext_ext.checkpoint.orbax_io import ParamsReader
from maxtext_ext.checkpoint.peft import Adapters, write_peft
from maxtext_ext.input.collate import pack_batch
from maxtext_ext.input.packing import pack
from maxtext_ext.input.utterance import Utterance
from maxtext_ext.models.encoders import encoder_config
from maxtext_ext.models.make import make_model

TOLERANCE = 1e-4  # of the largest logit
EXACT = {"attention": "dot_product", "matmul_precision": "highest", "dtype": "float32"}
NORMED, SLAM = whisper_lm.REFERENCES
PARTS = FAMILIES["whisper_lm"].parts


@pytest.fixture(scope="module", params=[NORMED, SLAM], ids=lambda ref: ref.name)
def ref(request) -> WhisperLM:
  return request.param


@pytest.fixture(scope="module")
def hf(ref, tmp_path_factory) -> pathlib.Path:
  """The folders of the parts."""
  folder = tmp_path_factory.mktemp(ref.name) / "hf"
  ref.write(folder)
  return folder


@pytest.fixture(scope="module")
def converted(hf) -> pathlib.Path:
  """The model that they make."""
  out = hf.parent / "converted"
  to_maxtext(str(hf), str(out))
  return out


def utterances(config: bridge.Config) -> list[Utterance]:
  """The clips, each in front of instruction and answer."""
  geometry = encoder_config(config).geometry
  return [
    Utterance(
      sample_id=str(i),
      dataset_name="golden",
      language="English",
      text="",
      samples=samples,
      prompt=np.array([0] * geometry.num_tokens(len(samples)) + INSTRUCTION, np.int32),
      target=np.array([*ANSWER, reference.IM_END], np.int32),
      audio_start=0,
      geometry=geometry,
    )
    for i, samples in enumerate(whisper_lm.clips())
  ]


def logits(folder: pathlib.Path) -> list[np.ndarray]:
  """Logits of instruction and answer of every clip, packed into one row."""
  with pretrained_config(str(folder), EXACT) as config:
    pass
  mesh = bridge.make_mesh(config)
  path = config.load_parameters_path
  config, params = adapter.load_weights(config, mesh, path, lambda c: make_model(c, mesh))
  clips = utterances(config)
  geometry = clips[0].geometry
  shape = {"max_tokens": 128, "windows": len(clips)}
  lengths = [(clip.tokens, clip.chunks) for clip in clips]
  (row,) = pack(lengths, geometry=geometry, **shape)
  options = {"batch_rows": 1, "pad_id": 0, "audio_dtype": "float32", "geometry": geometry}
  batch = pack_batch([row], dict(enumerate(clips)), **shape, **options)
  with bridge.mesh_scope(config, mesh):
    graphdef, _, rest = nnx.split(make_model(config, mesh), nnx.Param, ...)
    run = jax.jit(lambda params, batch: nnx.merge(graphdef, params, rest, copy=True)(batch))
    found = np.asarray(run(params, jax.tree.map(jnp.asarray, batch)))[0]
  text = len(INSTRUCTION) + len(ANSWER)
  ends = {
    key: int(np.flatnonzero(batch["inputs_segmentation"][0] == segment)[-1]) + 1
    for segment, key in enumerate(row.keys, 1)
  }
  return [found[ends[i] - text : ends[i]] for i in range(len(clips))]


def worst(found: list[np.ndarray], name: str) -> float:
  """The largest difference to the stored logits, as a part of the largest of a clip."""
  stored = [whisper_lm.outputs()[f"{name}_{i}"] for i in range(len(found))]
  return max(
    float(np.abs(x - want).max() / np.abs(want).max())
    for x, want in zip(found, stored, strict=True)
  )


def test_logits_are_those_of_transformers(ref, converted):
  error = worst(logits(converted), ref.name)
  print(f"{ref.name}: {error:.1e} of the largest logit")
  assert error < TOLERANCE
  stored = whisper_lm.outputs()
  heard = np.abs(stored[f"{ref.name}_0"] - stored[f"{ref.name}_1"]).max()
  assert heard > 100 * TOLERANCE * np.abs(stored[f"{ref.name}_0"]).max(), "the audio matters"


def test_it_goes_back_byte_by_byte(ref, hf, converted, tmp_path):
  to_hf(str(converted), str(tmp_path / "back"))
  for name, expected in ref.weights().items():
    back = tmp_path / "back" / name
    found = load_file(back / "model.safetensors")
    assert found.keys() == expected.keys()
    for key, value in expected.items():
      assert found[key].tobytes() == value.tobytes(), key
    assert json.loads((back / "config.json").read_text()) == ref.configs()[name]


@pytest.mark.parametrize(("kind", "stack"), [("", 4), ("slam", 5), ("normed_mlp", 4)])
def test_a_new_projector_fits_between_the_two(hf, tmp_path, kind, stack):
  given = {"encoder": str(hf / "encoder"), "lm": str(hf / "lm")}
  if kind:
    given["projector"] = kind
  report = to_maxtext(given, str(tmp_path / "out"))
  assert report.origins["projector"].startswith("initialised randomly")
  with pretrained_config(str(tmp_path / "out"), {}) as config:
    assert (config.projector, config.encoder["stack"]) == (kind or "normed_mlp", stack)
    assert (config.template, config.checkpoint_family) == ("instruct", "whisper_lm")
  shapes = ParamsReader(str(tmp_path / "out" / "0" / "items")).shapes
  width = config.emb_dim
  assert shapes["projector/linear_2/kernel"] == (2048 if kind == "slam" else width, width)
  assert shapes["projector/linear_1/kernel"][0] == stack * config.encoder["d_model"]
  to_hf(str(tmp_path / "out"), str(tmp_path / "back"))
  written = json.loads((tmp_path / "back" / "projector" / "config.json").read_text())
  assert (written["stack"], written["output_size"]) == (stack, width)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> pathlib.Path:
  """A LoRA run made of PEFT's adapter."""
  folder = tmp_path_factory.mktemp("lora")
  NORMED.write(folder / "hf")
  to_maxtext(str(folder / "hf"), str(folder / "base"))
  import_adapter(str(ADAPTER), str(folder / "base"), str(folder / "run"))
  return folder / "run"


def test_an_adapter_of_peft_gives_peft_s_logits_merged_or_not(run, tmp_path):
  assert worst(logits(run), "adapted") < TOLERANCE
  merge_adapter(str(run), str(tmp_path / "merged"))
  assert worst(logits(tmp_path / "merged"), "adapted") < TOLERANCE
  to_hf(str(tmp_path / "merged"), str(tmp_path / "back"))
  base = NORMED.weights()["lm"]
  merged = load_file(tmp_path / "back" / "lm" / "model.safetensors")
  changed = {key for key, value in base.items() if not np.array_equal(merged[key], value)}
  assert changed == {key for key in base if "_proj" in key}


def test_adapters_go_to_peft_under_its_names(run, tmp_path):
  to_hf(str(run), str(tmp_path / "back"))
  for file in ADAPTER.iterdir():
    assert (tmp_path / "back" / "adapter" / file.name).read_bytes() == file.read_bytes()

  items = run / "checkpoints" / "0" / "items"
  record, reader = adapter.read_record(str(items)), ParamsReader(str(items))
  arrays = {
    path: reader.open(path).read((slice(None),) * len(shape))
    for path, shape in reader.shapes.items()
  }
  with pretrained_config(str(run), {}) as config:
    write_peft(str(tmp_path), Adapters(lora=record.lora, arrays=arrays), config)
  expected = load_file(ADAPTER / "adapter_model.safetensors")
  found = load_file(tmp_path / "adapter_model.safetensors")
  assert found.keys() == expected.keys()
  for key, value in expected.items():
    np.testing.assert_array_equal(found[key], value, err_msg=key)


def refused(ref: WhisperLM, folder: pathlib.Path, part: str, **changes: object) -> str:
  """The message of a conversion whose parts have another config.json of one."""
  ref.write(folder)
  config = {**ref.configs()[part], **changes}
  (folder / part / "config.json").write_text(json.dumps(config))
  with pytest.raises(ValueError, match=r"^[^\n]*$") as error:
    to_maxtext(str(folder), str(folder / "out"))
  return str(error.value)


@pytest.mark.parametrize(
  ("part", "changes", "said"),
  [
    ("lm", {"model_type": "smollm3"}, "SmolLM3 has layers without rotary embedding"),
    ("projector", {"output_size": 99}, "output_size=99, but 72 is what this encoder, stack"),
    ("projector", {"stack": 5}, "input_size=128, but 160 is what"),
    ("projector", {"projector": "mlp"}, "projector: got 'mlp', expected"),
    ("encoder", {"encoder_layers": 0}, "encoder_layers"),
  ],
)
def test_parts_that_fit_no_model_are_refused_in_one_line(tmp_path, part, changes, said):
  assert said in refused(NORMED, tmp_path / "hf", part, **changes)


def test_the_projector_of_another_width_is_missing_tensors(tmp_path):
  other = dataclasses.replace(NORMED, projector="slam")
  other.write(tmp_path / "hf")
  config = {**other.configs()["projector"], "projector": "normed_mlp"}
  (tmp_path / "hf" / "projector" / "config.json").write_text(json.dumps(config))
  with pytest.raises(ValueError, match=r"missing: norm_1\.weight") as error:
    to_maxtext(str(tmp_path / "hf"), str(tmp_path / "out"))
  assert "unknown: linear_1.bias" in str(error.value)
