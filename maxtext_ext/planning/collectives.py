"""Bytes that a compiled program sends between chips, read from its HLO text."""

import re
from collections import Counter
from collections.abc import Mapping

_BYTES = {
  "pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "f16": 2, "bf16": 2,
  "s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8,
}  # fmt: skip
_SHAPE = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\]")
_INSTRUCTION = re.compile(
  r"^\s*(?:ROOT )?%?(?P<name>[\w.-]+) = (?P<result>.*?) "
  r"(?P<kind>all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute|ragged-all-to-all)"
  r"(?P<start>-start)?\("
)
_COMPUTATION = re.compile(r"^%?([\w.-]+) .*\{$")
_LISTED = re.compile(r"replica_groups=\{\{([\d,]*)\}")
_IOTA = re.compile(r"replica_groups=\[(\d+),(\d+)\]")

# What a chip sends for one byte of an operation's whole array, n chips being in a group: rings.
_SENT = {
  "all-gather": lambda n: (n - 1) / n,
  "reduce-scatter": lambda n: (n - 1) / n,
  "all-reduce": lambda n: 2 * (n - 1) / n,
  "all-to-all": lambda n: (n - 1) / n,
  "ragged-all-to-all": lambda n: (n - 1) / n,
  "collective-permute": lambda n: 1.0,
}


def _sizes(text: str) -> list[float]:
  """Returns the bytes of every array in the text of a result."""
  sizes = []
  for dtype, dims in _SHAPE.findall(text):
    if dtype in _BYTES:
      count = 1
      for dim in dims.split(","):
        count *= int(dim or 1)
      sizes.append(float(count * _BYTES[dtype]))
  return sizes


def _group_size(line: str, chips: int) -> int:
  if match := _IOTA.search(line):
    return int(match[2])
  if match := _LISTED.search(line):
    return match[1].count(",") + 1
  return chips


def sent_bytes(hlo: str, chips: int) -> Mapping[str, float]:
  """Counts the bytes that one chip sends in each kind of collective, each instruction once.

  What stands in the body of a loop is counted as if it ran once, as the compiler's own cost
  analysis does.

  Args:
    hlo: `compiled.as_text()`, the program of one chip.
    chips: a group's size, for collectives of all chips.
  """
  total: Counter[str] = Counter()
  computation = ""
  for line in hlo.splitlines():
    if not line.startswith(" "):
      match = _COMPUTATION.match(line)
      computation = match[1] if match else computation
      continue
    match = _INSTRUCTION.match(line)
    if match is None:
      continue
    kind = match["kind"]
    sizes = _sizes(match["result"])
    n = _group_size(line, chips)
    if n < 2 or not sizes:
      continue
    # A started operation's result holds its operands too; the whole array is the largest.
    nbytes = max(sizes) if match["start"] else sum(sizes)
    if kind == "reduce-scatter":
      nbytes *= n
    # The TPU's reduce-scatter is a fusion: an all-reduce of which each chip keeps a part.
    if kind == "all-reduce" and computation.startswith("all-reduce-scatter"):
      kind = "reduce-scatter"
    total[kind] += nbytes * _SENT[kind](n)
  return dict(total)
