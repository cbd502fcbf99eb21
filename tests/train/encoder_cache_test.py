"""Stored outputs of a frozen encoder: the same losses, shard by shard, of no other encoder."""

import dataclasses
import os
import pathlib

import numpy as np
import pytest
from flax import nnx

from maxtext_ext.config import load
from maxtext_ext.input.pipeline import InputConfig
from maxtext_ext.models.encoders import encoder_config
from maxtext_ext.models.encoders.whisper import WhisperEncoder
from maxtext_ext.records.encoded import EncodedSource, encoded_path, is_encoded, write_encoded
from maxtext_ext.records.reader import RecordSource
from maxtext_ext.train import encoder_cache
from maxtext_ext.train.encoder_cache import FrozenEncoder, store_outputs
from maxtext_ext.train.loop import main
from tests import tiny
from tests.train.loop_test import losses

KEYS = (
  "speech_encoder=whisper",
  "encoder={num_mel_bins: 80, d_model: 16, layers: 1, heads: 2, ffn_dim: 16, stack: 5}",
  "train_parts={projector: 0.01}",
  *("per_device_batch_size=2", "base_num_decoder_layers=1"),
  *("spec_augment_mels=0", "spec_augment_frames=0"),
)


@pytest.fixture
def keys(tmp_path: pathlib.Path) -> list[str]:
  return tiny.last_wins([*tiny.make_run(tmp_path, train=12), *KEYS])


@dataclasses.dataclass
class Stage:
  """Arguments of `store_outputs`, and the shards."""

  config: object
  inputs: InputConfig
  shards: list[str]

  def state(self, seed: int = 0):
    """A train state as far as the encoder goes."""
    encoder = WhisperEncoder(encoder_config(self.config), rngs=nnx.Rngs(params=seed))
    return {"model": {"speech_encoder": nnx.state(encoder)}}

  def store(self, seed: int = 0):
    return store_outputs(self.config, self.inputs, self.state(seed)).encoding


@pytest.fixture
def stage(keys: list[str], tmp_path: pathlib.Path) -> Stage:
  config = load(tiny.DEMO, [*keys, "encoder_cache=true"])
  shards = sorted(str(path) for path in (tmp_path / "data").glob("train-*.array_record"))
  return Stage(config, InputConfig.from_config(config, split="train", rows=2), shards)


@pytest.mark.integration_test
@pytest.mark.slow
def test_losses_have_every_bit_of_those_without_it(keys: list[str]):
  keys = [*keys, "steps=2", "enable_checkpointing=false"]
  sound = main(tiny.DEMO, [*keys, "run_name=sound"])
  stored = main(tiny.DEMO, [*keys, "run_name=stored", "encoder_cache=true"])
  assert losses(stored.run_dir) == losses(sound.run_dir)


def test_shards_are_finished_one_by_one_and_those_of_another_encoder_are_not_read(
  stage: Stage, monkeypatch: pytest.MonkeyPatch
):
  written = []

  def killed_at_the_second(shard, *args):
    if written:
      raise KeyboardInterrupt
    written.append(shard)
    write_encoded(shard, *args)

  def counted(shard, *args):
    written.append(shard)
    write_encoded(shard, *args)

  monkeypatch.setattr(encoder_cache, "write_encoded", killed_at_the_second)
  with pytest.raises(KeyboardInterrupt):
    stage.store()
  monkeypatch.setattr(encoder_cache, "write_encoded", counted)
  first = stage.store()
  assert written == stage.shards
  assert stage.store() == first
  assert written == stage.shards, "what is stored is not computed again"

  other = stage.store(seed=1)
  assert written == stage.shards * 2
  assert other.fingerprint != first.fingerprint
  tokens = [EncodedSource(stage.shards, encoding)[0] for encoding in (first, other)]
  assert tokens[0].shape == tokens[1].shape
  assert np.abs(tokens[0] - tokens[1]).max() > 0.1

  # Sound of other clips under the old outputs: the size of the shard is all that a run compares.
  write_encoded(
    stage.shards[1], first, [np.zeros_like(tokens[0])] * len(RecordSource(stage.shards[1:]))
  )
  with pytest.raises(ValueError, match=r"encoded: record \d+ .*; remove it$"):
    stage.store()
  os.remove(encoded_path(stage.shards[1], first))
  assert not is_encoded(stage.shards[1], first)
  stage.store()
  assert is_encoded(stage.shards[1], first)


def test_outputs_are_those_of_each_clip_alone(stage: Stage):
  """Clips of one window and of several in one call, a record that cannot be read among them."""
  encoder = FrozenEncoder(stage.config, stage.inputs, stage.state()["model"]["speech_encoder"])
  records = [tiny.encode_example(record, audio="pcm16") for record in tiny.records(2)]
  records[1:1] = [tiny.encode_example(tiny.records(1, seconds=(35, 35.1))[0]), b"no record"]
  together = list(encoder.encode(records))
  geometry = stage.inputs.geometry
  assert [len(tokens) > 0 for tokens in together] == [True, True, False, True]
  assert len(together[1]) == pytest.approx(350, abs=2)
  assert geometry.tokens_per_window == 300
  for number in (0, 1, 3):
    (alone,) = encoder.encode([records[number]])
    np.testing.assert_array_equal(together[number], alone)
  assert encoder.encoding.width == 80
