"""Plans for decoding, by a compiler whose answers are made up: slots, divisions, speed."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from maxtext_ext.cli import app
from maxtext_ext.planning.cost import Cost
from maxtext_ext.planning.decode_estimate import BANDWIDTH_SHARE, OCCUPANCY
from maxtext_ext.planning.decode_plan import UNIT, compare_divisions, divisions, make_plan
from maxtext_ext.planning.decode_report import as_dict
from maxtext_ext.planning.decode_shape import DecodeCosts, DecodeMemory, DecodeShape
from maxtext_ext.planning.memory import GIB, DoesNotFit, Memory
from maxtext_ext.planning.topology import parse_topology

ROOM = 30 * GIB
SHAPE = DecodeShape(
  model="made-up",
  weight_dtype="bfloat16",
  sharding={},
  lanes=16,
  slots=100,
  row_tokens=2048,
  windows_together=4,
  steps=32,
  block_places=256,
  longest_places=768,
  weights_bytes=4 * GIB,
  place_bytes=2.0**16,
  slot_bytes=2.0**16 * (768 + 256),
  kv_heads=4,
  experts=1,
  decoder_layers=10,
  encoder_layers=5,
  encoder_overrides=[["encoder_layers=1"], ["encoder_layers=2"]],
  tokens_per_chunk=13,
  chunk_seconds=1.0,
  chunks_per_window=8,
  available=ROOM,
)


class MadeUp:
  """Compiler for 16 chips of a model of given size; memory is that of weights and slots."""

  def __init__(self, weights: float = 4 * GIB, topology: str = "v4-32", **shape: object) -> None:
    self.target = parse_topology(topology)
    self._shape = replace(SHAPE, weights_bytes=weights, **shape)
    self.asked: list[int] = []

  def __enter__(self):
    return self

  def __exit__(self, *_):
    pass

  def describe_decode(self, path, overrides):
    keys = dict(key.split("=") for key in overrides)
    chips = {
      axis: int(keys.get(f"ici_{axis}_parallelism", 1)) for axis in ("fsdp", "expert", "tensor")
    }
    parts = max(chips.values())
    return replace(
      self._shape,
      sharding={axis: count for axis, count in chips.items() if count > 1},
      weights_bytes=self._shape.weights_bytes / parts,
      place_bytes=self._shape.place_bytes / chips["tensor"],
      slot_bytes=self._shape.slot_bytes / chips["tensor"],
      lanes=16 // chips["tensor"],
    )

  def decode_memory(self, path, overrides, *, slots, places, effort="O0"):
    shape = self.describe_decode(path, overrides)
    self.asked.append(slots)
    cache = slots * places * shape.place_bytes
    return DecodeMemory(
      weights=shape.weights_bytes,
      cache=cache,
      ready=0.0,
      total=Memory(arguments=shape.weights_bytes + cache, temporaries=GIB, available=ROOM),
      compiling_seconds=1.0,
    )

  def decode_costs(self, path, overrides, *, slots):
    shape = self.describe_decode(path, overrides)
    keys = dict(key.split("=") for key in overrides)
    layers, encoder = int(keys["base_num_decoder_layers"]), int(keys["encoder_layers"])
    sent = 1e10 * ("fsdp" in shape.sharding)  # weights that are gathered
    read = shape.weights_bytes / 10 * layers + slots * 256 * shape.place_bytes / 10 * layers
    encode = Cost(flops=1e10 * encoder, hbm_bytes=0.0, sent_bytes=0.0)
    row = Cost(flops=1e12 * layers, hbm_bytes=0.0, sent_bytes=sent * layers)
    return DecodeCosts(
      prefill=row + encode,
      encode=encode,
      step=Cost(flops=1e9 * layers, hbm_bytes=read, sent_bytes=sent * layers),
      close=Cost(flops=0.0, hbm_bytes=1e9 * layers, sent_bytes=0.0),
    )


def plan(compiler, *keys, fit_slots=True):
  return make_plan(compiler, "some.yml", keys, seconds=6.0, fit_slots=fit_slots)


def test_the_most_slots_that_fit_are_found():
  compiler = MadeUp()
  found = plan(compiler)
  slots, used = found.shape.slots, found.memory.total.used
  assert slots % UNIT == 0
  assert used <= ROOM < used + UNIT * 768 * SHAPE.place_bytes
  assert len(compiler.asked) < 8


def test_given_slots_are_kept_and_too_many_do_not_fit():
  found = plan(MadeUp(), fit_slots=False)
  assert found.shape.slots == 100
  assert not plan(MadeUp(slots=5000), fit_slots=False).memory.total.fits
  with pytest.raises(ValueError, match="not even 16 slots"):
    plan(MadeUp(weights=29.5 * GIB))


def test_a_step_takes_what_its_reads_take():
  found = plan(MadeUp(), fit_slots=False)
  read = SHAPE.weights_bytes + 100 * SHAPE.place_bytes * found.mix.places_read(256)
  bandwidth = BANDWIDTH_SHARE * found.target.chip.hbm_bandwidth
  assert found.step.seconds == pytest.approx(read / bandwidth)
  assert found.step.bound == "memory"
  assert found.prefill.bound == "computing"
  # Of the 10 decoder layers alone: the windows' encoding is counted on its own.
  assert found.prefill.computing == pytest.approx(100 * found.encode.computing * 10 / 5)


def test_speed_and_price_follow_from_the_time_of_a_clip():
  found = plan(MadeUp(), fit_slots=False)
  mean = found.mix.seconds.mean()
  assert found.rtfx == pytest.approx(16 * mean / found.clip.seconds)
  assert found.clip.seconds > found.mix.steps.mean() / (OCCUPANCY * 100) * found.step.seconds
  hours = 1000 / found.rtfx
  assert found.dollars(1000) == pytest.approx(hours * 16 * 3.22)
  assert as_dict(found, 1000.0)["dollars"] == pytest.approx(found.dollars(1000), abs=1e-4)


def test_weights_that_fit_a_chip_stay_whole():
  (keys,) = divisions(MadeUp(), "some.yml", [])
  assert keys[0] == "ici_data_parallelism=16"
  assert all(key.endswith("=1") for key in keys[1:])


def test_larger_weights_are_divided_among_the_fewest_chips():
  compiler = MadeUp(weights=61 * GIB, experts=128)
  ways = [" ".join(keys) for keys in divisions(compiler, "some.yml", [])]
  assert len(ways) == 3
  assert all("ici_data_parallelism=4" in way for way in ways)
  for axis in ("fsdp", "expert", "tensor"):
    assert sum(f"ici_{axis}_parallelism=4" in way for way in ways) == 1
  best, *others = compare_divisions(compiler, "some.yml", [], seconds=6.0)
  assert "ici_fsdp_parallelism=1" in best.keys, "gathering weights in every step is slow"
  assert all(best.plan.rtfx >= other.plan.rtfx for other in others)
  with pytest.raises(ValueError, match="the weights do not fit v4-32"):
    divisions(MadeUp(weights=1000 * GIB), "some.yml", [])


def run(monkeypatch, compiler, *args):
  """Runs the command with this compiler; returns its exit status, text and JSON."""
  monkeypatch.setattr("maxtext_ext.planning.compiler.Compiler", lambda target: compiler)
  result = CliRunner().invoke(
    app, ["plan", "configs/speech.yml", "--decode", "--topology", "v4-32", "--json", *args]
  )
  return result.exit_code, result.stdout, json.loads(result.stdout.splitlines()[-1])


def test_the_command_finds_the_fastest_division(monkeypatch):
  compiler = MadeUp(weights=61 * GIB, experts=128)
  status, text, figures = run(monkeypatch, compiler, "--search", "ici_fsdp_parallelism=16")
  assert status == 0
  assert "fsdp" not in figures["sharding"]
  assert "The fastest: ici_data_parallelism=4 ici_fsdp_parallelism=1" in text
  assert "Estimated, not measured" in text
  assert f"decode_rows={figures['decode_rows']}" in text
  assert figures["rtfx"] > 0


def test_the_command_reports_what_does_not_fit(monkeypatch):
  compiler = MadeUp(slots=5000)
  monkeypatch.setattr(compiler, "decode_costs", lambda *_, **__: pytest.fail("nothing to count"))
  status, text, figures = run(monkeypatch, compiler, "decode_rows=5000", "--hours", "10")
  assert status == 1
  assert "It does not fit: lower decode_rows, or divide the weights among more chips" in text
  assert (figures["fits"], figures["decode_rows"], figures["hours"]) == (False, 5000, 10)
  assert figures["rtfx"] is figures["dollars"] is figures["seconds_step"] is None
  assert "missing" in text
  assert not any(words in text for words in ("times real time", "$", "Estimated", "free", " -"))


def test_the_command_reports_a_step_that_cannot_be_counted(monkeypatch):
  def refuse(*_, **__):
    raise DoesNotFit("they need 128.0 of 30.75 GiB")

  compiler = MadeUp()
  monkeypatch.setattr(compiler, "decode_costs", refuse)
  monkeypatch.setattr("maxtext_ext.planning.compiler.Compiler", lambda target: compiler)
  command = ["plan", "configs/speech.yml", "--decode", "--topology", "v4-32"]
  result = CliRunner().invoke(app, command)
  assert result.exit_code == 1
  assert result.stderr.endswith("It does not fit: they need 128.0 of 30.75 GiB\n")


@pytest.mark.parametrize(
  ("weight_dtype", "advice"),
  [
    ("float32", "give weight_dtype=bfloat16, or take a GPU with more memory"),
    ("bfloat16", "gpu:80GB: take a GPU with more memory"),
  ],
)
def test_advice_for_a_gpu_is_not_to_divide(weight_dtype, advice):
  compiler = MadeUp(weights=29.5 * GIB, topology="gpu:80GB", weight_dtype=weight_dtype)
  with pytest.raises(DoesNotFit, match=advice):
    plan(compiler)
  with pytest.raises(DoesNotFit, match=advice):
    divisions(compiler, "some.yml", [])


def test_temporaries_are_what_a_refused_program_leaves():
  def refused(weights: float) -> DecodeMemory:
    total = Memory(arguments=0.0, temporaries=31 * GIB, available=ROOM)
    return DecodeMemory(
      weights=weights, cache=16 * GIB, ready=8 * GIB, total=total, compiling_seconds=1.0
    )

  assert refused(4 * GIB).temporaries == 3 * GIB
  assert refused(8 * GIB).temporaries is None, "less was counted than the arrays take"
  fits = MadeUp().decode_memory("some.yml", [], slots=16, places=768)
  assert fits.temporaries == GIB


@pytest.mark.parametrize(
  ("args", "problem"),
  [
    (["--decode", "--exact", "--topology", "gpu:80GB"], "--exact asks for a compiler"),
    (["--clip-seconds", "6"], "expected with --decode"),
  ],
)
def test_options_without_effect_are_refused(args, problem):
  with pytest.raises(ValueError, match=problem):
    CliRunner().invoke(app, ["plan", "configs/speech.yml", *args], catch_exceptions=False)
