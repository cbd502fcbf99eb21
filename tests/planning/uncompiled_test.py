import pytest

from maxtext_ext.planning import uncompiled
from maxtext_ext.planning.compile_step import load_for
from maxtext_ext.planning.model_flops import model_flops
from maxtext_ext.planning.topology import parse_topology

GPU = parse_topology("gpu:80GB")
TINY = ["model_name=qwen3-asr-tiny", "windows_per_row=1", "max_target_length=256"]


def config_of(*overrides: str):
  return load_for("configs/speech.yml", [*TINY, *overrides], GPU)


def memory_of(*overrides: str):
  return uncompiled.memory_of(config_of(*overrides), GPU.chip.hbm_bytes)


def test_adamw_keeps_three_numbers_a_weight():
  weights = 0.7e6
  full = memory_of()
  assert full.arguments == pytest.approx(3 * 4 * weights, rel=0.1)
  adapted = memory_of("lora_rank=4", "weight_dtype=bfloat16")
  assert adapted.arguments < full.arguments / 3
  assert adapted.temporaries < full.temporaries


def test_micro_batches_have_a_sum_of_gradients_beside_their_own():
  whole, pieces = memory_of(), memory_of("gradient_accumulation_steps=2")
  gradients = whole.arguments / 3
  assert pieces.temporaries - whole.temporaries == pytest.approx(gradients, rel=0.01)


def test_memory_grows_with_rows_on_a_line():
  one, two, four = (memory_of(f"per_device_batch_size={rows}") for rows in (1, 2, 4))
  assert one.arguments == two.arguments
  assert four.temporaries - two.temporaries == pytest.approx(
    2 * (two.temporaries - one.temporaries)
  )
  assert two.temporaries > one.temporaries


def test_recomputation_takes_time_and_saves_memory():
  kept, recomputed = config_of("remat_policy=none"), config_of()
  assert uncompiled.cost_of(kept).flops >= model_flops(kept)
  assert uncompiled.cost_of(recomputed).flops == pytest.approx(
    4 / 3 * uncompiled.cost_of(kept).flops
  )
  assert memory_of("remat_policy=none").temporaries > memory_of().temporaries
