"""Writes smollm2.npz, llama.npz, qwen2.npz, qwen3.npz: logits and greedy text of language models.

In the environment of make_qwen3_asr.py, from the repository root:

  python -m tests.golden.make_dense_lm
"""

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM, Qwen3ASRConfig
from transformers import Qwen3ASRForConditionalGeneration as Qwen3ASR
from transformers.models.qwen3_asr import Qwen3ASRFeatureExtractor, Qwen3ASRProcessor

from benchmarks.parity.references import dense_lm, reference
from benchmarks.parity.references.reference import Reference


def build_tower(ref: Reference) -> torch.nn.Module:
  """Qwen3-ASR's audio tower and projector with the weights of the reference."""
  config = Qwen3ASRConfig(
    audio_config={"model_type": "qwen3_asr_encoder", **ref.audio},
    text_config={"model_type": "qwen3", "vocab_size": reference.VOCABULARY, **ref.text},
  )
  config._attn_implementation = "eager"  # respects the attention windows
  model = Qwen3ASR(config).eval().model
  renamed = {"audio_tower.": "audio_tower.", "projector.": "multi_modal_projector."}
  weights = {
    new + name.removeprefix(old): torch.from_numpy(value)
    for name, value in ref.weights().items()
    for old, new in renamed.items()
    if name.startswith(old)
  }
  missing, unexpected = model.load_state_dict(weights, strict=False)
  if unexpected or any(name.startswith(tuple(renamed.values())) for name in missing):
    raise ValueError(f"{ref.name}: {missing} are missing, {unexpected} unexpected")
  return model


def build_model(ref: Reference) -> torch.nn.Module:
  """The language model with the weights of the reference."""
  config = AutoConfig.for_model(**dense_lm.hf_config(ref))
  model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
  weights = {k: torch.from_numpy(v) for k, v in dense_lm.lm_weights(ref).items()}
  missing, unexpected = model.load_state_dict(weights, strict=False)
  if unexpected or missing != (["lm_head.weight"] if ref.head is None else []):
    raise ValueError(f"{ref.name}: {missing} are missing, {unexpected} unexpected")
  model.tie_weights()
  return model


@torch.no_grad()
def run(ref: Reference) -> None:
  """Runs every clip alone, so that no padding to a batch can change it."""
  tower, model = build_tower(ref), build_model(ref)
  extractor = Qwen3ASRFeatureExtractor()
  out = {}
  for i, clip in enumerate(ref.clips()):
    features = extractor(clip, return_tensors="pt", **Qwen3ASRProcessor.audio_kwargs)
    audio = tower.get_audio_features(
      features["input_features"], features["attention_mask"]
    ).pooler_output
    prompt, target = reference.prompt_ids(i, len(audio))
    embeddings = model.get_input_embeddings()(torch.tensor([prompt + target]))
    first = prompt.index(reference.AUDIO_PAD)
    embeddings[0, first : first + len(audio)] = audio
    logits = model(inputs_embeds=embeddings).logits[0].numpy()
    out[f"logits_{i}"] = logits[reference.stored_positions(i, len(audio))]
    for name, beams in (("generated", 1), ("beams", dense_lm.BEAMS)):
      tokens = model.generate(
        inputs_embeds=embeddings[:, : len(prompt)],
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        do_sample=False,
        num_beams=beams,
        early_stopping=False,
        max_new_tokens=dense_lm.NEW_TOKENS,
      )[0].tolist()
      out[f"{name}_{i}"] = np.array(tokens, np.int32)
      print(f"{ref.name} {len(clip) / 16_000:5.2f} s, {name}: {tokens}")
  ref.save(out)


if __name__ == "__main__":
  for each in dense_lm.REFERENCES.values():
    run(each)
