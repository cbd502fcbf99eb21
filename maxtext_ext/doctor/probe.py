"""Process that tests JAX: finds the devices, then trains a tiny model on them.

It is a process of its own, since a hanging accelerator cannot be interrupted from within. It
reports to a file as JSON lines, one per stage, so that the last completed stage is known.
"""

import json
import os
import sys
import time
from typing import Any

REPORT = "report.jsonl"
CONFIG = "configs/experiments/demo.yml"
STEPS = 3  # the first compiles, the last one's time is shown
_CLIPS = 64
_SECONDS = 1.0  # of a clip
_WORDS = ("one", "two", "three", "four")


def main(folder: str) -> None:
  """Tests the devices and a training of three steps; writes everything into a folder."""
  with open(os.path.join(folder, REPORT), "a", encoding="utf-8", buffering=1) as report:

    def note(stage: str, **facts: object) -> None:
      report.write(f"{json.dumps({'stage': stage, **facts})}\n")

    note("devices")
    import jax

    devices = jax.local_devices()
    note("found", devices=[_describe(device) for device in devices])
    from maxtext_ext.train.loop import main as train

    began = time.monotonic()
    result = train(CONFIG, _keys(folder))
    seconds = time.monotonic() - began
    with open(os.path.join(result.run_dir, "metrics.jsonl"), encoding="utf-8") as metrics:
      step = json.loads(metrics.readlines()[-1])["step_seconds"]
    note("trained", seconds=seconds, step_seconds=step, loss=result.loss)


def _describe(device: Any) -> dict[str, object]:
  stats = device.memory_stats() or {}
  return {
    "platform": device.platform,
    "kind": device.device_kind,
    "memory": stats.get("bytes_limit"),
    "used": stats.get("bytes_in_use"),
  }


def _keys(folder: str) -> dict[str, object]:
  """Writes a corpus of noise and a tokenizer; returns the keys of a run on them."""
  import numpy as np  # here, for what is broken stops the trial, and not the doctor

  from maxtext_ext.records.schema import Record, encode_example
  from maxtext_ext.records.writer import ShardWriter
  from maxtext_ext.text.tokenizer import train_char_tokenizer

  data, tokenizer = os.path.join(folder, "data"), os.path.join(folder, "tokenizer")
  os.makedirs(data)
  rng = np.random.default_rng(0)
  with ShardWriter(os.path.join(data, "train-00000-of-00001.array_record")) as writer:
    for number in range(_CLIPS):
      record = Record(
        sample_id=str(number),
        audio=rng.uniform(-0.1, 0.1, int(_SECONDS * 16_000)).astype(np.float32),
        text=" ".join(rng.choice(_WORDS, size=3)),
        dataset_name="noise",
        language="English",
      )
      writer.write(encode_example(record, audio="pcm16"))
  train_char_tokenizer(_WORDS, tokenizer, ["English"])
  return {
    "run_name": "doctor",
    "base_output_directory": os.path.join(folder, "runs"),
    "data_dir": data,
    "tokenizer_path": tokenizer,
    "steps": STEPS,
    "eval_interval": -1,
    "curriculum": [],
    "packing_lookahead": 16,
    "per_device_batch_size": 1,
    "enable_checkpointing": False,
    "enable_tensorboard": False,
    "skip_jax_distributed_system": True,
  }


if __name__ == "__main__":
  main(sys.argv[1])
