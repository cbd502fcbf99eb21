import base64
import io

import numpy as np
import soundfile

from maxtext_ext.audio.player import Players


def test_a_player_holds_the_samples():
  samples = np.sin(np.arange(1600) / 7).astype(np.float32) * 1.5  # clipped at full scale
  head, data = Players(1 << 20).embed(samples).split(",")
  assert head == "data:audio/flac;base64"
  sound, rate = soundfile.read(io.BytesIO(base64.b64decode(data)), dtype="int16")
  assert rate == 16_000
  expected = np.clip(np.rint(samples * 32768), -32768, 32767)
  assert np.array_equal(sound, expected)


def test_what_has_no_room_is_left_out_and_takes_none():
  long, short = np.random.default_rng(0).uniform(-1, 1, 16_000), np.zeros(1600)
  players = Players(10_000)
  assert players.embed(long) == ""
  assert players.embed(short)
