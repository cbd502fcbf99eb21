"""The peer of `train.py`: Qwen3-ASR's fine-tuning recipe on transformers, one step at a time.

Run by `train.py`, in an environment of Python 3.11 (torch has no small CPU build for 3.12):

  pip install torch==2.13.0 transformers==5.23.* safetensors soundfile

What is taken from the recipe (finetuning/qwen3_asr_sft.py of QwenLM/Qwen3-ASR) and transformers'
Trainer, which it runs: clips read from WAV files and padded to the longest of a batch; the
processor run twice, the second time without the answers, whose lengths mask the labels (of padded
rows too few of them, as padding is on the left: no matter for speed); every weight trained by AdamW
as Trainer's defaults have it (fused, no weight decay, gradients clipped to a norm of 1), a linear
schedule with 2% of warm-up at 2e-5; no recomputation. On a GPU, weights and optimizer are bfloat16
under autocast and four processes read ahead. On a CPU the model is float32, and batches are made
between steps: all cores compute anyway.

Reads from stdin how many steps to take, one number a line; writes a line of JSON for every step.
"""

import argparse
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import soundfile
import torch
import transformers
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerFast, Qwen3ASRConfig, Qwen3ASRForConditionalGeneration
from transformers.models.qwen3_asr import Qwen3ASRFeatureExtractor, Qwen3ASRProcessor

SAMPLE_RATE = 16_000
PAD, EOS = "<|endoftext|>", "<|im_end|>"
AUDIO = {
  "audio_token": "<|audio_pad|>",
  "audio_bos_token": "<|audio_start|>",
  "audio_eos_token": "<|audio_end|>",
}
PREFIX = (
  "<|im_start|>system\n<|im_end|>\n<|im_start|>user\n"
  "<|audio_start|><|audio_pad|><|audio_end|><|im_end|>\n<|im_start|>assistant\n"
)
LEARNING_RATE = 2e-5
WARMUP = 0.02
TOTAL_STEPS = 1000  # that the schedule is made for
CLIPPING = 1.0

Batch = dict[str, Any]


class Collator:
  """A list of {audio, text} to a batch with labels."""

  def __init__(self, processor: Qwen3ASRProcessor) -> None:
    self.processor = processor

  def __call__(self, clips: list[dict[str, str]]) -> Batch:
    """Reads and pads the clips."""
    sounds = [soundfile.read(clip["audio"], dtype="float32")[0] for clip in clips]
    full = self._process([PREFIX + clip["text"] + EOS for clip in clips], sounds)
    prefix_tokens = self._process([PREFIX] * len(clips), sounds)["attention_mask"].sum(dim=1)
    labels = full["input_ids"].clone()
    for row, tokens in enumerate(prefix_tokens.tolist()):
      labels[row, :tokens] = -100
    labels[labels == self.processor.tokenizer.pad_token_id] = -100
    tokens = int(full["attention_mask"].sum())
    return {
      "inputs": {**full, "labels": labels},
      "audio_seconds": sum(map(len, sounds)) / SAMPLE_RATE,
      "answer_tokens": tokens - int(prefix_tokens.sum()),
      "token_fill": tokens / labels.numel(),
    }

  def _process(self, texts: list[str], sounds: list[Any]) -> Batch:
    return dict(self.processor(text=texts, audio=sounds, return_tensors="pt", padding=True))


def make_processor(folder: Path) -> Qwen3ASRProcessor:
  """The processor of the folder's tokenizer."""
  tokenizer = PreTrainedTokenizerFast(
    tokenizer_file=str(folder / "tokenizer.json"),
    pad_token=PAD,
    eos_token=EOS,
    extra_special_tokens=AUDIO,
  )
  return Qwen3ASRProcessor(Qwen3ASRFeatureExtractor(), tokenizer)


def make_model(
  folder: Path, tokenizer: PreTrainedTokenizerFast
) -> Qwen3ASRForConditionalGeneration:
  """The model of the folder's config.json with random weights, float32."""
  shape = json.loads((folder / "config.json").read_text("utf-8"))
  config = Qwen3ASRConfig(
    audio_config={"model_type": "qwen3_asr_encoder", **shape["audio_config"]},
    text_config={"model_type": "qwen3", **shape["text_config"]},
    audio_token_id=tokenizer.convert_tokens_to_ids(AUDIO["audio_token"]),
    pad_token_id=tokenizer.pad_token_id,
    eos_token_id=[tokenizer.pad_token_id, tokenizer.eos_token_id],
  )
  torch.manual_seed(0)
  return Qwen3ASRForConditionalGeneration(config).train()


class Training:
  """Model, optimizer, schedule and batches without end."""

  def __init__(self, folder: Path, *, batch: int, device: str) -> None:
    processor = make_processor(folder)
    self.device = torch.device(device)
    self.on_gpu = self.device.type == "cuda"
    dtype = torch.bfloat16 if self.on_gpu else torch.float32
    self.model = make_model(folder, processor.tokenizer).to(self.device, dtype)
    self.optimizer = torch.optim.AdamW(
      self.model.parameters(), lr=LEARNING_RATE, weight_decay=0.0, fused=True
    )
    self.schedule = transformers.get_linear_schedule_with_warmup(
      self.optimizer, int(WARMUP * TOTAL_STEPS), TOTAL_STEPS
    )
    lines = (folder / "clips.jsonl").read_text("utf-8").splitlines()
    loader = DataLoader(
      list(map(json.loads, lines)),
      batch_size=batch,
      collate_fn=Collator(processor),
      drop_last=True,
      num_workers=4 if self.on_gpu else 0,
      pin_memory=self.on_gpu,
      persistent_workers=self.on_gpu,
    )
    self.batches: Iterator[Batch] = itertools.chain.from_iterable(itertools.repeat(loader))

  def step(self) -> dict[str, float]:
    """One update; what it took and was given."""
    start, cpu = time.perf_counter(), time.process_time()
    batch = next(self.batches)
    waited = time.perf_counter() - start
    inputs = {k: v.to(self.device, non_blocking=True) for k, v in batch["inputs"].items()}
    inputs["input_features"] = inputs["input_features"].to(self.model.dtype)
    with torch.autocast(self.device.type, torch.bfloat16, enabled=self.on_gpu):
      loss = self.model(**inputs).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIPPING)
    self.optimizer.step()
    self.schedule.step()
    self.optimizer.zero_grad(set_to_none=True)
    last = loss.item()  # waits for the device
    return {
      "seconds": time.perf_counter() - start,
      "cpu_seconds": time.process_time() - cpu,
      "input_wait_seconds": waited,
      "audio_seconds": batch["audio_seconds"],
      "answer_tokens": batch["answer_tokens"],
      "token_fill": batch["token_fill"],
      "loss": last,
    }


def main() -> None:
  """Answers until stdin ends."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("folder", type=Path)
  parser.add_argument("--batch", type=int, required=True, help="clips of a step")
  parser.add_argument("--threads", type=int, required=True)
  parser.add_argument("--device", required=True, help="cpu or cuda")
  options = parser.parse_args()
  torch.set_num_threads(options.threads)
  # What else is printed must not look like an answer.
  answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
  os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
  transformers.logging.set_verbosity_error()
  training = Training(options.folder, batch=options.batch, device=options.device)
  parameters = sum(p.numel() for p in training.model.parameters())
  versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
  print(json.dumps({"parameters": parameters, "versions": versions}), file=answers, flush=True)
  for line in sys.stdin:
    for _ in range(int(line)):
      print(json.dumps(training.step()), file=answers, flush=True)


if __name__ == "__main__":
  main()
