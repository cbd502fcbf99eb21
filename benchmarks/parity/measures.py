"""What the lines of docs/parity.md measure: each function gives an error, or counts differences."""

import functools
import itertools
import pathlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.parity import models
from benchmarks.parity.references import (
  hf_checkpoint,
  lora,
  qwen3_asr,
  qwen3_asr_files,
  qwen3_asr_odd,
  qwen3_omni,
  qwen3_omni_files,
  reference,
)
from benchmarks.parity.references.reference import Reference
from maxtext_ext import bridge
from maxtext_ext.audio.geometry import num_frames
from maxtext_ext.audio.mel import log_mel
from maxtext_ext.checkpoint.check import check
from maxtext_ext.checkpoint.convert import to_hf, to_maxtext
from maxtext_ext.checkpoint.merge import export_adapter, import_adapter
from maxtext_ext.decode.generate import Generator
from maxtext_ext.input.collate import make_decode_batch
from maxtext_ext.text.languages import LANGUAGES
from maxtext_ext.text.templates.qwen3_asr import build_prompt
from maxtext_ext.text.tokenizer import Tokenizer, train_char_tokenizer
from tests.audio import mel_test
from tests.checkpoint import convert_test, merge_test
from tests.decode import generate_test
from tests.models import lora_test
from tests.text.templates import qwen3_asr_test

REFERENCES = {
  "Qwen3-ASR": (qwen3_asr.REFERENCE, "qwen3-asr-0.6b"),
  "Qwen3-ASR of an odd shape": (qwen3_asr_odd.REFERENCE, "qwen3-asr-0.6b"),
  "Qwen3-Omni thinker": (qwen3_omni.REFERENCE, "qwen3-omni-30b-a3b"),
}
Tensors = dict[str, np.ndarray]


def relative(got: np.ndarray, want: np.ndarray) -> float:
  """The largest difference as a part of the largest value."""
  return float(np.abs(got - want).max() / np.abs(want).max())


def differences(got: Tensors, want: Tensors) -> int:
  """Tensors that differ in name, type, shape or a byte."""
  return sum(
    name not in got
    or name not in want
    or (got[name].dtype, got[name].shape) != (want[name].dtype, want[name].shape)
    or got[name].tobytes() != want[name].tobytes()
    for name in got.keys() | want.keys()
  )


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
  theirs = qwen3_asr_test.published_tokenizer()
  ours = Tokenizer.from_directory(qwen3_asr_test.qwen3_directory())
  contexts = ("", "Dana Cohen, Tel-Aviv", "שמות: דנה", "two\nlines\n")
  different = 0
  for language, context in itertools.product((*LANGUAGES, "Hebrew", None), contexts):
    prompt = build_prompt(ours, language=language, context=context)
    text = qwen3_asr_test.published_prompt(language, context)
    different += [*prompt.before, ours.audio_pad_id, *prompt.after] != theirs(text).input_ids
  return different


@functools.cache
def loaded(name: str, scanned: bool) -> models.Loaded:
  """Our model with a reference's weights."""
  ref, model = REFERENCES[name]
  return models.load_model(ref, model=model, scan_layers=scanned)


@functools.cache
def found(name: str, scanned: bool, layout: str) -> dict[str, models.Found]:
  """What it made of the reference's clips."""
  ref, _ = REFERENCES[name]
  return models.run_all(loaded(name, scanned), models.utterances(ref), **models.LAYOUTS[layout])


def audio_error(name: str) -> float:
  """Of the audio tokens behind the projector, all clips packed into one row."""
  ref, _ = REFERENCES[name]
  model = loaded(name, True)
  layout = {k: v for k, v in models.LAYOUTS["packed"].items() if k != "batches"}
  arrays, places = models.batch_of(models.utterances(ref), **layout)
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
    models.error(ref, results[clip.sample_id].logits, clip) for clip in models.utterances(ref)
  )


def router_differences(name: str, scanned: bool) -> float:
  """Choices of experts, over layers and tokens of all clips, that differ."""
  ref, _ = REFERENCES[name]
  results = found(name, scanned, "packed")
  different = 0
  for clip in models.utterances(ref):
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


def round_trip_differences(naming: str, head: str) -> float:
  """Tensors of Qwen3-ASR that differ after the way there and back."""
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
    different += differences(got, want)
  return different


def omni_round_trip_differences(naming: str) -> float:
  """The same for Qwen3-Omni, in the tensors that are kept."""
  want = qwen3_omni_files.weights(naming)
  different = 0
  for scanned in (True, False):
    with tempfile.TemporaryDirectory() as folder:
      source, out, back = (pathlib.Path(folder, name) for name in ("hf", "ours", "back"))
      qwen3_omni_files.write(source, naming, want)
      to_maxtext(str(source), str(out), scanned=scanned)
      to_hf(str(out), str(back))
      different += differences(convert_test.read(back), want)
  return different


def checked_error(name: str, scanned: bool) -> float:
  """What `convert check` finds for a converted checkpoint of the published names."""
  ref, _ = REFERENCES[name]
  with tempfile.TemporaryDirectory() as folder:
    source, out = pathlib.Path(folder, "hf"), pathlib.Path(folder, "ours")
    if "num_experts" in ref.text:
      weights = qwen3_omni_files.weights("original", dtype=np.dtype(np.float32))
      qwen3_omni_files.write(source, "original", weights)
    else:
      qwen3_asr_files.write(source, "original", ref, head="stored")
    to_maxtext(str(source), str(out), scanned=scanned)
    stored = pathlib.Path(folder, "reference.npz")
    np.savez(stored, **reference_arrays(ref))
    return max(clip.error for clip in check(out, stored))


def reference_arrays(ref: Reference) -> dict[str, np.ndarray]:
  """A stored reference in the form that `convert check` reads."""
  arrays = {}
  for k, (samples, clip) in enumerate(zip(ref.clips(), models.utterances(ref), strict=True)):
    ids = np.concatenate([clip.prompt, clip.target])
    stored = reference.stored_positions(k, clip.audio_tokens)
    last = int((stored - np.arange(len(stored)) == stored[-1] - len(stored) + 1).sum())
    assert stored[-1] == len(ids) - 1
    arrays |= {f"samples_{k}": samples, f"input_ids_{k}": ids}
    arrays[f"logits_{k}"] = ref.outputs()[f"logits_{k}"][-last:]
  return arrays


def tool_error(scanned: bool) -> float:
  """The same with what `hf_reference.py` made of a checkpoint with a tokenizer."""
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


@contextmanager
def imported_adapter(scanned: bool) -> Iterator[pathlib.Path]:
  """A run that PEFT's adapter was brought into, on its converted base."""
  with tempfile.TemporaryDirectory() as folder:
    hf, base, run = (pathlib.Path(folder, name) for name in ("hf", "base", "run"))
    qwen3_asr_files.write(hf, "native")
    to_maxtext(str(hf), str(base), scanned=scanned)
    import_adapter(str(lora.ADAPTER), str(base), str(run))
    yield run


def peft_error(scanned: bool) -> float:
  """Of the logits with PEFT's adapter, of the worst clip."""
  with imported_adapter(scanned) as run:
    logits = merge_test.logits(str(run))
    return max(merge_test.error(logits[clip.sample_id], clip) for clip in merge_test.clips())


def peft_differences(scanned: bool) -> float:
  """Files of an adapter that differ after the way there and back."""
  with imported_adapter(scanned) as run:
    export_adapter(str(run), str(run / "peft"))
    return sum(
      (run / "peft" / name).read_bytes() != (lora.ADAPTER / name).read_bytes()
      for name in merge_test.FILES
    )
