"""The forced lengths of the benchmark of decoding; its peer needs torch."""

import math

import pytest

from benchmarks.decode import ForcedLengths, parse_options
from benchmarks.parity.generation import clips, setup
from maxtext_ext import bridge
from maxtext_ext.decode.request import Request
from maxtext_ext.text.tokenizer import train_char_tokenizer
from tests import tiny


def test_every_clip_writes_its_tokens_a_second(tmp_path):
  train_char_tokenizer(tiny.WORDS, tmp_path, ["English", "Hebrew"])
  config, mesh, params, tokenizer = setup(str(tmp_path), False)
  keys = {"decode_rows": 4, "tokens_per_second": 2.5, "audio_dtype": "float32", "loop_repeats": 0}
  engine = ForcedLengths(bridge.replace(config, **keys), mesh, tokenizer)
  utterances = clips(tokenizer)
  answers = engine.run(engine.prepare(params), map(Request, utterances))
  written = {answer.clip.id: len(answer.written.tokens) for answer in answers}
  assert written == {clip.sample_id: math.ceil(2.5 * clip.seconds) for clip in utterances}
  assert engine.counts.tokens == sum(written.values())
  assert engine.counts.places_used <= engine.counts.places_read
  begun = engine._begin(Request(utterances[-1], max_new_tokens=3, draft=(5,) * 9))
  assert (begun.controls.most, begun.draft, begun.limit) == (3, (5, 5), begun.prompt + 3)


def test_without_a_peer_it_says_how_to_make_one(monkeypatch, capsys):
  monkeypatch.delenv("PEER_PYTHON", raising=False)
  monkeypatch.setattr("sys.argv", ["decode"])
  with pytest.raises(SystemExit):
    parse_options()
  assert "no Python for the peer" in capsys.readouterr().err
