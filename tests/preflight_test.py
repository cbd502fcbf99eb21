"""Files that a run reads are looked for before JAX and MaxText start."""

import pytest

from maxtext_ext import preflight
from maxtext_ext.keys.settings import read
from tests import tiny


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
  return tiny.make_run(tmp_path_factory.mktemp("run"), train=4, test=2)


def settings(keys, *more):
  return read(tiny.DEMO, [*keys, *more])


def test_what_is_there_passes(keys):
  preflight.check_training(settings(keys))
  preflight.check_training(settings(keys, "eval_interval=1"))
  preflight.check_decoding(settings(keys, "decode_checkpoint=untrained"))
  data = settings(keys).data_dir
  mixture = (
    f"mixture=[{{name: a, data_dir: '{data}'}}, {{name: b, data_dir: '{data}', split: test}}]"
  )
  preflight.check_training(settings(keys, mixture, "data_dir=", "eval_interval=1"))
  preflight.check_input(settings(keys), "train")


MISSING = {
  "data_dir=": "data_dir is not given: name a folder",
  "data_dir=/no/such": "/no/such: no shards of split 'train'",
  "train_split=more": "no shards of split 'more'",
  "mixture=[{name: a, data_dir: /no/such}]": "/no/such: no shards of split 'train'",
  "tokenizer_path=": "tokenizer_path is not given, and model_name=qwen3-asr-tiny has none",
  "tokenizer_path=/no/such": "/no/such: no tokenizer there",
  "load_parameters_path=/no/such": "load_parameters_path: /no/such: no such folder",
}


@pytest.mark.parametrize("override", MISSING)
def test_what_training_misses_is_named(keys, override):
  with pytest.raises(ValueError, match=MISSING[override]):
    preflight.check_training(settings(keys, override))


def test_the_split_of_evaluation_is_looked_for_too(keys):
  with pytest.raises(ValueError, match="no shards of split 'dev'"):
    preflight.check_training(settings(keys, "eval_interval=1", "eval_split=dev"))


def test_a_published_shape_without_a_tokenizer_says_where_one_is(keys):
  with pytest.raises(ValueError, match=r"convert to-maxtext Qwen/Qwen3-ASR-0.6B OUT`, then model_"):
    preflight.check_training(settings(keys, "model_name=qwen3-asr-0.6b", "tokenizer_path="))


def test_what_decoding_misses_is_named(keys, tmp_path):
  run = (f"base_output_directory={tmp_path}", "run_name=mine")
  with pytest.raises(ValueError, match=r"no checkpoint best in .*mine/checkpoints \(there: none\)"):
    preflight.check_decoding(settings(keys, *run))
  (tmp_path / "mine" / "checkpoints" / "12").mkdir(parents=True)
  preflight.check_decoding(settings(keys, *run))
  preflight.check_decoding(settings(keys, *run, "decode_checkpoint=12"))
  with pytest.raises(ValueError, match=r"no checkpoint 13 in .* \(there: 12\)"):
    preflight.check_decoding(settings(keys, *run, "decode_checkpoint=13"))
  preflight.check_decoding(settings(keys, *run, "decode_checkpoint=./"))
  with pytest.raises(ValueError, match="no/where: no such folder"):
    preflight.check_decoding(settings(keys, *run, "decode_checkpoint=no/where"))
  with pytest.raises(ValueError, match="decode_checkpoint=base needs load_parameters_path"):
    preflight.check_decoding(settings(keys, *run, "decode_checkpoint=base"))
  with pytest.raises(ValueError, match="no shards of split 'none'"):
    preflight.check_decoding(settings(keys, *run, "split=none"))
  (tmp_path / "file").touch()
  with pytest.raises(ValueError, match="/file: expected a folder to write to, got a file"):
    preflight.check_decoding(settings(keys, *run, f"output={tmp_path / 'file'}"))


def test_keys_that_do_not_fit_together_name_keys(keys):
  for override, said in {
    "max_seconds=100": "raise max_target_length or lower max_seconds",
    "speed_range=[2, 3]": "speed_range=.2, 3.",
    "spec_augment_mels=500": "spec_augment_mels=500",
  }.items():
    with pytest.raises(ValueError, match=said):
      preflight.check_input(settings(keys, override), "train")


def test_a_process_among_others_fails_where_they_hear_of_it(keys, monkeypatch):
  monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "host:1234")
  preflight.check_training(settings(keys, "data_dir=/no/such"))
  preflight.check_decoding(settings(keys, "data_dir=/no/such"))


def test_a_source_that_is_converted_already_is_told_from_one_of_hugging_face(tmp_path):
  (tmp_path / "config.json").write_text("{}")
  preflight.require_source(str(tmp_path))
  preflight.require_source("Qwen/Qwen3-ASR-0.6B")
  (tmp_path / "model.yml").touch()
  with pytest.raises(ValueError, match="in MaxText's layout already"):
    preflight.require_source(str(tmp_path))
  with pytest.raises(ValueError, match="no such folder, and no id"):
    preflight.require_source(str(tmp_path / "none"))
