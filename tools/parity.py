"""Measures every comparison with another program and writes docs/parity.md: `make parity`."""

import argparse
import functools
import itertools
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from maxtext_ext import bridge
from maxtext_ext.audio.frames import num_frames
from maxtext_ext.audio.mel import log_mel
from maxtext_ext.checkpoint.check import check
from maxtext_ext.checkpoint.convert import to_hf, to_maxtext
from maxtext_ext.decode.generate import Generator
from maxtext_ext.input.batch import make_decode_batch
from maxtext_ext.text.languages import LANGUAGES
from maxtext_ext.text.prompt import build_prompt
from maxtext_ext.text.tokenizer import Tokenizer, train_char_tokenizer
from tests.audio import mel_test
from tests.checkpoint import convert_test
from tests.decode import generate_test
from tests.golden import (
  hf_checkpoint,
  qwen3_asr,
  qwen3_asr_files,
  qwen3_asr_odd,
  qwen3_omni,
  reference,
)
from tests.models import lora_test, parity
from tests.text import prompt_test

OUT = pathlib.Path("docs/parity.md")
REFERENCES = {
  "Qwen3-ASR": (qwen3_asr.REFERENCE, "qwen3-asr-0.6b"),
  "Qwen3-ASR of an odd shape": (qwen3_asr_odd.REFERENCE, "qwen3-asr-0.6b"),
  "Qwen3-Omni thinker": (qwen3_omni.REFERENCE, "qwen3-omni-30b-a3b"),
}
TRANSFORMERS = "transformers 5.23, torch 2.13"  # of the stored references
INTRODUCTION = """# Parity

What this project computes, held to what other programs compute from the same numbers. `make parity`
measures every line and writes this page; the tests hold the same comparisons to these tolerances.
The models are tiny and their weights random and large (standard deviation 0.3), so that an error
anywhere shows: at the usual 0.02 a wrong attention window is an error of 1.5 %, here of 20 %. Their
clips last {clips} seconds.

An error is the largest difference as a part of the reference's largest value, in float32;
`differ` counts what is not exactly equal.

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


def relative(got: np.ndarray, want: np.ndarray) -> float:
  """The largest difference as a part of the largest value."""
  return float(np.abs(got - want).max() / np.abs(want).max())


def mel_error(num_mel_bins: int) -> float:
  """Of all test signals, each alone."""
  errors = []
  for signal, seconds in itertools.product(mel_test.SIGNALS, (0.02, 0.5, 1.0, 8.01)):
    clip = mel_test.draw(signal, seconds)
    arrays, places = mel_test.one_row([clip])
    mel = np.asarray(log_mel(*arrays, num_mel_bins=num_mel_bins)).reshape(-1, 100, num_mel_bins)
    frames = mel[places[0]].reshape(-1, num_mel_bins)[: num_frames(clip.size)]
    errors.append(relative(frames, mel_test.reference(clip, num_mel_bins)))
  return max(errors)


def prompt_differences() -> float:
  """Prompts whose ids differ, over all languages and contexts."""
  theirs = prompt_test.published_tokenizer()
  ours = Tokenizer.from_directory(prompt_test.qwen3_directory())
  contexts = ("", "Dana Cohen, Tel-Aviv", "שמות: דנה", "two\nlines\n")
  different = 0
  for language, context in itertools.product((*LANGUAGES, "Hebrew", None), contexts):
    prompt = build_prompt(ours, language=language, context=context)
    text = prompt_test.published_prompt(language, context)
    different += [*prompt.before, ours.audio_pad_id, *prompt.after] != theirs(text).input_ids
  return different


@functools.cache
def loaded(name: str, scanned: bool) -> parity.Loaded:
  """Our model with a reference's weights."""
  ref, model = REFERENCES[name]
  return parity.load_model(ref, model=model, scan_layers=scanned)


@functools.cache
def found(name: str, scanned: bool, layout: str) -> dict[str, parity.Found]:
  """What it made of the reference's clips."""
  ref, _ = REFERENCES[name]
  return parity.run_all(loaded(name, scanned), parity.utterances(ref), **parity.LAYOUTS[layout])


def audio_error(name: str) -> float:
  """Of the audio tokens behind the projector, all clips packed into one row."""
  ref, _ = REFERENCES[name]
  model = loaded(name, True)
  layout = {k: v for k, v in parity.LAYOUTS["packed"].items() if k != "batches"}
  arrays, places = parity.batch_of(parity.utterances(ref), **layout)
  with bridge.mesh_scope(model.config, model.mesh):
    tokens_BWAD = jax.jit(lambda batch: model.merge().encode(batch))(
      jax.tree.map(jnp.asarray, arrays)
    )
  tokens_BTD = np.asarray(tokens_BWAD).reshape(len(tokens_BWAD), -1, tokens_BWAD.shape[-1])
  errors = []
  for clip, row, positions in places:
    index = arrays["audio_index"][row, positions]
    tokens = tokens_BTD[row, index[index >= 0]]
    stored = reference.stored_tokens(int(clip), len(tokens))
    errors.append(relative(tokens[stored], ref.outputs()[f"tokens_{clip}"]))
  return max(errors)


def logits_error(name: str, scanned: bool, layout: str) -> float:
  """Of the logits of the worst clip."""
  ref, _ = REFERENCES[name]
  results = found(name, scanned, layout)
  return max(
    parity.error(ref, results[clip.sample_id].logits, clip) for clip in parity.utterances(ref)
  )


def router_differences(name: str, scanned: bool) -> float:
  """Choices of experts, over layers and tokens of all clips, that differ."""
  ref, _ = REFERENCES[name]
  results = found(name, scanned, "packed")
  different = 0
  for clip in parity.utterances(ref):
    experts = results[clip.sample_id].experts
    want = ref.outputs()[f"experts_{clip.sample_id}"][:, : experts.shape[1]]
    different += int((experts != want).any(axis=-1).sum())
  return different


def cached_differences(scanned: bool) -> float:
  """Clips for which generation with a cache, batched, writes other tokens than without."""
  with tempfile.TemporaryDirectory() as folder:
    train_char_tokenizer(generate_test.tiny.WORDS, folder, ["English", "Hebrew"])
    tokenizer = generate_test.setup(folder, scanned)[3]
    clips = generate_test.clips(tokenizer)
    run: Generator = generate_test.generator(folder, scanned, tokenizer.eos_ids)
    got = run(make_decode_batch(clips, pad_id=tokenizer.pad_id).arrays)
    return sum(
      tokens != generate_test.uncached(folder, scanned, clip, tokenizer.eos_ids)
      for tokens, clip in zip(got, clips, strict=True)
    )


# How the tests' layouts read in the table.
PLACES = {
  "alone": "each clip alone",
  "ragged batch": "a ragged batch",
  "packed": "clips packed into a row",
}


def round_trip_differences(naming: str, head: str) -> float:
  """Tensors that differ in name, type, shape or a byte after the way there and back."""
  stored, tied = convert_test.HEADS[head]
  different = 0
  for scanned, dtype in itertools.product((True, False), ("float32", "bfloat16")):
    with tempfile.TemporaryDirectory() as folder:
      source, out, back = (pathlib.Path(folder, name) for name in ("hf", "ours", "back"))
      ref = qwen3_asr_odd.REFERENCE
      want = qwen3_asr_files.write(
        source, naming, ref, head=stored, tied=tied, dtype=dtype, shards=3
      )
      to_maxtext(str(source), str(out), scanned=scanned)
      to_hf(str(out), str(back))
      got = convert_test.read(back)
    different += sum(
      name not in got
      or name not in want
      or (got[name].dtype, got[name].shape) != (want[name].dtype, want[name].shape)
      or got[name].tobytes() != want[name].tobytes()
      for name in got.keys() | want.keys()
    )
  return different


def checked_error(scanned: bool) -> float:
  """What `convert check` finds for a converted checkpoint of published names."""
  with tempfile.TemporaryDirectory() as folder:
    source, out = pathlib.Path(folder, "hf"), pathlib.Path(folder, "ours")
    source.mkdir()
    hf_checkpoint.write(source)
    to_maxtext(str(source), str(out), scanned=scanned)
    return max(clip.error for clip in check(out, hf_checkpoint.REFERENCE.path))


def merged_error(moe: bool, target: str) -> float:
  """Of the logits with merged weights against those with live adapters, both forms of layers."""
  errors = []
  for scanned in (True, False):
    case = lora_test.case(scanned, moe)
    live, merged = (case.logits(params) for params in case.live_and_merged(target))
    errors.append(relative(merged, live))
  return max(errors)


def _form(scanned: bool) -> str:
  return "stacked" if scanned else "single"


COMPARISONS = [
  *(
    Comparison(
      name=f"log-mel, {bins} bins, 7 kinds of signals of 0.02 to 8 s",
      reference="`WhisperFeatureExtractor` of transformers",
      measure=functools.partial(mel_error, bins),
      tolerance=1e-4,
    )
    for bins in (80, 128)
  ),
  Comparison(
    name="prompts of 30 languages, Hebrew and none, four contexts, token ids",
    reference="`AutoTokenizer` of transformers",
    measure=prompt_differences,
    tolerance=0,
  ),
  *(
    Comparison(
      name=f"{name}: audio tokens behind the projector",
      reference=TRANSFORMERS,
      measure=functools.partial(audio_error, name),
      tolerance=1e-4,
    )
    for name in REFERENCES
  ),
  *(
    Comparison(
      name=f"{name}: logits, {PLACES[layout]}, {_form(scanned)} layers",
      reference=TRANSFORMERS,
      measure=functools.partial(logits_error, name, scanned, layout),
      tolerance=1e-4,
    )
    for name, scanned, layout in itertools.product(REFERENCES, (True, False), parity.LAYOUTS)
  ),
  *(
    Comparison(
      name=f"Qwen3-Omni thinker: experts of every token, {_form(scanned)} layers",
      reference=TRANSFORMERS,
      measure=functools.partial(router_differences, "Qwen3-Omni thinker", scanned),
      tolerance=0,
    )
    for scanned in (True, False)
  ),
  *(
    Comparison(
      name=f"greedy transcripts of a batch, with a cache, {_form(scanned)} layers",
      reference="this project, the whole sequence anew for every token",
      measure=functools.partial(cached_differences, scanned),
      tolerance=0,
    )
    for scanned in (True, False)
  ),
  *(
    Comparison(
      name=f"`convert to-maxtext`, then `convert check`, {_form(scanned)} layers",
      reference=f"`tools/hf_reference.py`, {TRANSFORMERS}",
      measure=functools.partial(checked_error, scanned),
      tolerance=1e-4,
    )
    for scanned in (True, False)
  ),
  *(
    Comparison(
      name=f"tensors of {naming} names there and back, all types and forms; head: {head}",
      reference="the checkpoint itself",
      measure=functools.partial(round_trip_differences, naming, head),
      tolerance=0,
    )
    for naming, head in itertools.product(convert_test.NAMINGS, convert_test.HEADS)
  ),
  *(
    Comparison(
      name=f"LoRA of {target.replace('_', ' ')}{' of a mixture' if moe else ''}: merged logits",
      reference="live adapters",
      measure=functools.partial(merged_error, moe, target),
      tolerance=1e-5,
    )
    for moe, targets in ((False, lora_test.DENSE), (True, lora_test.MOE))
    for target in targets
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
