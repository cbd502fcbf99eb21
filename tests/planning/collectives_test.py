import pytest

from maxtext_ext.planning.collectives import sent_bytes

# Lines of a program that libtpu compiled for a v4-8, shortened.
PROGRAM = """\
HloModule jit_train_step, is_scheduled=true

%all-reduce-scatter (input: f32[512,128]) -> f32[512,32] {
  %input = f32[512,128]{0,1:T(8,128)} parameter(0)
  %all-reduce.136 = f32[512,128]{0,1:T(8,128)} all-reduce(%input), channel_id=34, \
replica_groups={{0,1,2,3}}, use_global_device_ids=true, to_apply=%add.8.clone
  ROOT %slice = f32[512,32]{0,1:T(8,128)} dynamic-slice(%all-reduce.136, %a, %b)
}

%body (p: (f32[4])) -> (f32[4]) {
  %all-gather.17 = bf16[512,128]{0,1:T(8,128)(2,1)S(3)} all-gather(%get-tuple-element.1967), \
channel_id=29, replica_groups=mesh['axis_0'=4] {'axis_0'}, dimensions={1}
  %all-reduce.11 = f32[]{:T(128)} all-reduce(%fusion.36), channel_id=30, replica_groups={{0,1,2,3}}
}

ENTRY %main () -> f32[4] {
  %fusion.1 = f32[512,32]{0,1} fusion(%x), kind=kCustom, calls=%all-reduce-scatter
  %all-gather-start.1 = (bf16[8,16]{1,0}, bf16[32,16]{1,0}) all-gather-start(%y), \
replica_groups=[2,2]<=[4], dimensions={0}
  %all-gather-done.1 = bf16[32,16]{1,0} all-gather-done(%all-gather-start.1)
  %permute = bf16[10]{0} collective-permute(%z), source_target_pairs={{0,1},{1,0}}
}
"""


def test_bytes_of_every_kind_once():
  assert sent_bytes(PROGRAM, 4) == {
    "reduce-scatter": 512 * 128 * 4 * 3 / 4,
    "all-gather": 512 * 128 * 2 * 3 / 4 + 32 * 16 * 2 * 1 / 2,
    "all-reduce": 4 * 2 * 3 / 4,
    "collective-permute": 20.0,
  }


@pytest.mark.parametrize("chips", [2, 4, 64])
def test_reduce_scatter_and_all_gather_make_an_all_reduce(chips):
  def line(kind: str, rows: int) -> str:
    return f"  %x = f32[{rows},8]{{1,0}} {kind}(%y), channel_id=1\n"

  def sent(kind: str, rows: int) -> float:
    return sent_bytes("ENTRY %main () -> f32[] {\n" + line(kind, rows), chips)[kind]

  parts = sent("reduce-scatter", 1) + sent("all-gather", chips)
  assert sent("all-reduce", chips) == pytest.approx(parts)


def test_one_chip_sends_nothing():
  assert sent_bytes("ENTRY %m () -> f32[] {\n  %x = f32[8]{0} all-reduce(%y)\n", 1) == {}
