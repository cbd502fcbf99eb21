"""Whisper's encoder, projector and language model, from parts to a transcript, and back."""

import json
import pathlib

import numpy as np
import pytest
import soundfile
from safetensors.numpy import load_file

from benchmarks.parity.references.whisper_lm import REFERENCES
from maxtext_ext.checkpoint.convert import to_maxtext
from maxtext_ext.checkpoint.export import to_hf
from maxtext_ext.checkpoint.orbax_io import ParamsReader
from maxtext_ext.decode import decode
from maxtext_ext.evaluate.evaluate import evaluate
from maxtext_ext.train.loop import main
from maxtext_ext.transcriber import Transcriber
from tests import tiny

CONFIG = "configs/experiments/whisper_demo.yml"
REF = REFERENCES[0]


def stored(items: pathlib.Path) -> dict[str, np.ndarray]:
  """The parameters of a checkpoint by path."""
  reader = ParamsReader(str(items))
  return {
    path: reader.open(path).read((slice(None),) * len(shape))
    for path, shape in reader.shapes.items()
  }


@pytest.mark.slow
@pytest.mark.integration_test
def test_two_checkpoints_become_a_model_that_trains_decodes_and_goes_back(tmp_path):
  REF.write(tmp_path / "hf")
  tokens = tiny.make_run(tmp_path, train=24)
  keys = [key for key in tokens if key.startswith(("data_dir", "tokenizer_path", "base_output"))]
  given = {name: str(tmp_path / "hf" / name) for name in ("encoder", "lm")}
  base = tmp_path / "base"
  to_maxtext(given, str(base), scanned=False)
  (tmp_path / "noise").mkdir()
  noise = np.random.default_rng(0).normal(0, 0.1, 32_000)
  soundfile.write(tmp_path / "noise" / "hiss.wav", noise, 16_000)
  keys += [
    *(f"model_name={base}", f"load_parameters_path={base}", "scan_layers=false"),
    *("lora_rank=2", "lora_targets=[attention]", "train_parts={projector: 0.01, adapters: 0.001}"),
    *("frame_dropout=0.1", "noise_only_rate=0.05", "noise_only_seconds=[0.5, 1.0]"),
    f"noise_dir={tmp_path / 'noise'}",
    *("max_target_length=96", "windows_per_row=3", "max_seconds=4", "per_device_batch_size=1"),
    *("curriculum=[]", "steps=4", "checkpoint_period=2", "eval_interval=2", "eval_clips=2"),
    *("max_new_tokens=4", f"jax_cache_dir={tmp_path / 'programs'}", "spec_augment_mels=0"),
    *("spec_augment_frames=0", "run_name=run"),
  ]
  run = pathlib.Path(main(CONFIG, keys).run_dir)
  lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
  assert {line["step"] for line in lines if "eval_wer" in line} == {2, 4}
  assert list((run / "tensorboard").iterdir())

  trained = stored(run / "checkpoints" / "4" / "items")
  assert {path.split("/")[0] for path in trained} == {"projector", "decoder"}
  assert {path.split("_")[-1] for path in trained if path.startswith("decoder")} == {"a", "b"}
  before = stored(base / "0" / "items")
  moved = [not np.array_equal(trained[path], before[path]) for path in before if path in trained]
  assert len(moved) == 4 and all(moved), "two kernels and two norms"

  decoded = decode.main(CONFIG, keys)
  assert evaluate(decoded.output).overall.utterances == 6
  other = [*keys, f"decode_checkpoint={run / 'checkpoints' / '2'}", f"output={tmp_path / 'two'}"]
  assert decode.main(CONFIG, other).clips == 6

  to_hf(str(run), str(tmp_path / "back"))
  assert sorted(path.name for path in (tmp_path / "back").iterdir()) == [
    *("adapter", "encoder", "lm", "projector")
  ]
  for name in given:
    files = (tmp_path / side / name / "model.safetensors" for side in ("back", "hf"))
    assert len({file.read_bytes()[-1000:] for file in files}) == 1
  projector = load_file(tmp_path / "back" / "projector" / "model.safetensors")
  np.testing.assert_array_equal(
    projector["linear_1.weight"].T, trained["projector/linear_1/kernel"]
  )
  transcriber = Transcriber.from_pretrained(run, max_new_tokens=4)
  texts = transcriber.transcribe([clip.audio for clip in tiny.records(3, seed=2)])
  assert all(isinstance(each.text, str) for each in texts)
