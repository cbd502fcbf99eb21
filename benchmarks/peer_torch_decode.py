"""The peer of `decode.py`: Qwen3-ASR on transformers, `generate` in batches of padded clips.

Run by `decode.py`, in the environment of `peer_torch_train.py`. It draws the weights of the model
in the folder's `config.json`, saves them as `weights/model.safetensors`, and reads the clips of
`clips.npz`. Every batch writes as many tokens as its longest clip needs at the tokens a second that
are forced on both sides; there is no end of a text before that.

Reads from stdin a JSON list of clips a line, in the order in which they come, and answers with a
line of JSON: seconds of the clock and of all threads, from samples in memory to tokens, and the
tokens.
"""

import argparse
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from peer_torch_train import PREFIX, SAMPLE_RATE, make_model, make_processor

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Decoding:
  """Model, processor and clips."""

  def __init__(self, folder: Path, *, batch: int, rate: float, dtype: str, beams: int) -> None:
    self.processor = make_processor(folder)
    model = make_model(folder, self.processor.tokenizer).eval()
    model.save_pretrained(folder / "weights")
    self.model = model.to(DTYPES[dtype])
    self.batch, self.rate, self.beams = batch, rate, beams
    with np.load(folder / "clips.npz") as saved:
      self.clips = [saved[str(i)] for i in range(len(saved.files))]

  def run(self, order: list[int]) -> dict[str, Any]:
    """Decodes all clips in this order."""
    start, cpu = time.perf_counter(), time.process_time()
    tokens: dict[int, list[int]] = {}
    for first in range(0, len(order), self.batch):
      own = order[first : first + self.batch]
      for clip, written in zip(own, self._batch([self.clips[i] for i in own]), strict=True):
        tokens[clip] = written
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return {"seconds": seconds, "cpu_seconds": cpu, "tokens": [tokens[i] for i in sorted(tokens)]}

  @torch.inference_mode()
  def _batch(self, clips: list[np.ndarray]) -> list[list[int]]:
    inputs = self.processor(
      text=[PREFIX] * len(clips), audio=clips, return_tensors="pt", padding=True
    )
    inputs["input_features"] = inputs["input_features"].to(self.model.dtype)
    wanted = [math.ceil(self.rate * len(clip) / SAMPLE_RATE) for clip in clips]
    written = self.model.generate(
      **inputs,
      do_sample=False,
      num_beams=self.beams,
      min_new_tokens=max(wanted),
      max_new_tokens=max(wanted),
    )
    new = written[:, inputs["input_ids"].shape[1] :].tolist()
    return [row[:count] for row, count in zip(new, wanted, strict=True)]


def main() -> None:
  """Answers until stdin ends."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("folder", type=Path)
  parser.add_argument("--batch", type=int, required=True, help="clips decoded together")
  parser.add_argument("--rate", type=float, required=True, help="tokens a second of audio")
  parser.add_argument("--beams", type=int, required=True, help="hypotheses of a clip")
  parser.add_argument("--threads", type=int, required=True)
  parser.add_argument("--dtype", choices=DTYPES, required=True)
  options = parser.parse_args()
  torch.set_num_threads(options.threads)
  # What else is printed must not look like an answer.
  answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
  os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
  transformers.logging.set_verbosity_error()
  decoding = Decoding(
    options.folder,
    batch=options.batch,
    rate=options.rate,
    dtype=options.dtype,
    beams=options.beams,
  )
  versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
  print(json.dumps({"versions": versions}), file=answers, flush=True)
  for line in sys.stdin:
    print(json.dumps(decoding.run(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
  main()
