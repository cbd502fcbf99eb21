"""Writes the file that `maxtext-ext convert check` reads: logits of a Hugging Face checkpoint.

The checkpoint is Qwen3-ASR under its published or its transformers-native names, or Qwen3-Omni
(its thinker), a folder or a hub id. transformers runs each clip alone, in float32, on a prompt and
the answer that the model itself writes. In an environment of its own, Python 3.11 (torch has no
small CPU build for 3.12):

  pip install torch==2.13.0 transformers==5.23.* safetensors soundfile soxr
  python benchmarks/parity/hf_reference.py Qwen/Qwen3-ASR-0.6B reference.npz clip.wav other.flac

The file holds for clip k: `samples_k` (float32, 16 kHz), `input_ids_k` (the whole sequence, one
<|audio_pad|> for each audio token) and `logits_k` (of the last `--positions` of them).
"""

import argparse
import json
import pathlib
from collections.abc import Callable

import numpy as np
import soundfile
import soxr
import torch
import transformers
from safetensors.torch import load_file
from transformers.models.qwen3_asr import Qwen3ASRFeatureExtractor, Qwen3ASRProcessor

SAMPLE_RATE = 16_000
AUDIO_PAD = "<|audio_pad|>"
TEMPLATE = (
  "<|im_start|>system\n{context}<|im_end|>\n<|im_start|>user\n<|audio_start|><|audio_pad|>"
  "<|audio_end|><|im_end|>\n<|im_start|>assistant\n{forced}"
)
# Published names of Qwen3-ASR and those of transformers; the first that fits counts.
NATIVE_NAMES = {
  "thinker.audio_tower.proj1.": "model.multi_modal_projector.linear_1.",
  "thinker.audio_tower.proj2.": "model.multi_modal_projector.linear_2.",
  "thinker.audio_tower.": "model.audio_tower.",
  "thinker.model.": "model.language_model.",
  "thinker.lm_head.": "lm_head.",
}
AUDIO_KEYS = (
  *("num_mel_bins", "d_model", "encoder_layers", "encoder_attention_heads", "encoder_ffn_dim"),
  *("downsample_hidden_size", "output_dim", "n_window", "n_window_infer"),
)
TEXT_KEYS = (
  *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
  *("num_key_value_heads", "head_dim", "rms_norm_eps", "max_position_embeddings"),
)

Model = transformers.PreTrainedModel


def find(source: str) -> pathlib.Path:
  """Finds the folder, or the hub's snapshot."""
  if pathlib.Path(source).is_dir():
    return pathlib.Path(source)
  from huggingface_hub import snapshot_download

  return pathlib.Path(snapshot_download(source))


def load_model(folder: pathlib.Path) -> tuple[Model, int, bool]:
  """Loads the model, its mel bins, and whether it is a Qwen3-Omni thinker.

  Eager attention, because the others let the audio tower see beyond its windows.
  """
  config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
  if config["model_type"].startswith("qwen3_omni_moe"):
    omni = transformers.Qwen3OmniMoeConfig.from_pretrained(folder)
    omni.enable_audio_output = False
    model = transformers.Qwen3OmniMoeForConditionalGeneration.from_pretrained(
      folder, config=omni, dtype=torch.float32, attn_implementation="eager"
    )
    return model.thinker.eval(), omni.thinker_config.audio_config.num_mel_bins, True
  if "thinker_config" in config:
    model = load_published(folder, config["thinker_config"])
  else:
    model = transformers.Qwen3ASRForConditionalGeneration.from_pretrained(
      folder, dtype=torch.float32, attn_implementation="eager"
    )
  return model.eval(), model.config.audio_config.num_mel_bins, False


def load_published(folder: pathlib.Path, thinker: dict) -> Model:
  """Loads transformers' model from the published names, which transformers does not read."""
  audio, text = thinker["audio_config"], thinker["text_config"]
  tied = text.get("tie_word_embeddings", thinker.get("tie_word_embeddings", True))
  theta = text.get("rope_theta") or text["rope_parameters"]["rope_theta"]
  config = transformers.Qwen3ASRConfig(
    audio_config={
      "model_type": "qwen3_asr_encoder",
      **{key: audio[key] for key in AUDIO_KEYS if key in audio},
    },
    text_config={
      "model_type": "qwen3",
      **{key: text[key] for key in TEXT_KEYS if key in text},
      "rope_parameters": {"rope_type": "default", "rope_theta": theta},
      "tie_word_embeddings": tied,
    },
    audio_token_id=thinker["audio_token_id"],
    tie_word_embeddings=tied,
  )
  config._attn_implementation = "eager"
  model = transformers.Qwen3ASRForConditionalGeneration(config)
  state = {}
  for file in sorted(folder.glob("*.safetensors")):
    for name, value in load_file(file).items():
      old = next((prefix for prefix in NATIVE_NAMES if name.startswith(prefix)), None)
      if old is None:
        raise ValueError(f"{file}: {name} is no tensor of Qwen3-ASR")
      state[NATIVE_NAMES[old] + name.removeprefix(old)] = value.float()
  if tied:
    state.pop("lm_head.weight", None)
  result = model.load_state_dict(state, strict=False)
  missing = [name for name in result.missing_keys if not (tied and name == "lm_head.weight")]
  if missing or result.unexpected_keys:
    raise ValueError(f"{folder}: missing {missing}, unknown {result.unexpected_keys}")
  model.tie_weights()
  return model


def read(path: str) -> np.ndarray:
  """Mono float32 samples at 16 kHz."""
  samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
  return soxr.resample(samples.mean(axis=1), rate, SAMPLE_RATE).astype(np.float32)


def features_of(samples: np.ndarray, mel_bins: int, omni: bool) -> dict[str, torch.Tensor]:
  """Computes a clip's model inputs: log-mel and its mask, without padding to a batch.

  Raises:
    ValueError: a clip under 1 s for Qwen3-Omni, which it convolves unlike Qwen3-ASR.
  """
  if omni and len(samples) < SAMPLE_RATE:
    raise ValueError(f"a clip of {len(samples)} samples; Qwen3-Omni needs 1 s to be compared")
  extractor = Qwen3ASRFeatureExtractor(feature_size=mel_bins)
  made = extractor(samples, return_tensors="pt", **Qwen3ASRProcessor.audio_kwargs)
  mask = "feature_attention_mask" if omni else "input_features_mask"
  return {"input_features": made["input_features"], mask: made["attention_mask"]}


def prompt_of(
  tokenize: Callable[[str], list[int]], pad: int, audio_tokens: int, context: str, language: str
) -> list[int]:
  """The template's ids, the one <|audio_pad|> of it expanded."""
  forced = f"language {language}<asr_text>" if language else ""
  ids = tokenize(TEMPLATE.format(context=context, forced=forced))
  at = ids.index(pad)
  return ids[:at] + [pad] * audio_tokens + ids[at + 1 :]


@torch.no_grad()
def main() -> None:
  """Reads the command line, runs the clips, writes the file."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("checkpoint", help="a folder or a hub id")
  parser.add_argument("out", help="the .npz file to write")
  parser.add_argument("audio", nargs="+", help="sound files")
  parser.add_argument("--language", default="", help="in the prompt, such as English")
  parser.add_argument("--context", default="", help="text of the system turn")
  parser.add_argument("--new-tokens", type=int, default=24, help="longest answer")
  parser.add_argument("--positions", type=int, default=32, help="logits of so many last positions")
  args = parser.parse_args()

  folder = find(args.checkpoint)
  model, mel_bins, omni = load_model(folder)
  tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
  pad = tokenizer.convert_tokens_to_ids(AUDIO_PAD)
  if pad != model.config.audio_token_id:
    raise ValueError(f"{AUDIO_PAD} is {pad}, config.json says {model.config.audio_token_id}")
  ends = [tokenizer.convert_tokens_to_ids(name) for name in ("<|endoftext|>", "<|im_end|>")]
  out: dict[str, np.ndarray] = {}
  for k, path in enumerate(args.audio):
    samples = read(path)
    sound = features_of(samples, mel_bins, omni)
    audio_tokens = len(model.get_audio_features(**sound).pooler_output)
    prompt = prompt_of(
      lambda text: tokenizer(text, add_special_tokens=False).input_ids,
      *(pad, audio_tokens, args.context, args.language),
    )
    ids = torch.tensor([prompt])
    written = model.generate(
      input_ids=ids,
      attention_mask=torch.ones_like(ids),
      do_sample=False,
      max_new_tokens=args.new_tokens,
      eos_token_id=ends,
      pad_token_id=ends[0],
      **sound,
    )
    logits = model(input_ids=written, attention_mask=torch.ones_like(written), **sound).logits[0]
    out[f"samples_{k}"] = samples
    out[f"input_ids_{k}"] = written[0].numpy().astype(np.int32)
    out[f"logits_{k}"] = logits[-args.positions :].numpy()
    answer = tokenizer.decode(written[0, len(prompt) :])
    print(f"{path}: {len(samples) / SAMPLE_RATE:.2f} s, {audio_tokens} audio tokens, {answer!r}")
  np.savez_compressed(args.out, **out)


if __name__ == "__main__":
  main()
