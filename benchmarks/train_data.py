"""Data of both sides of `train.py`: the same clips, one tokenizer, one shape.

In a folder: WAV files and `clips.jsonl` as Qwen3-ASR's fine-tuning script takes them, and records
of 16 bits for ours; a tokenizer whose ids are the same on both sides; `config.json` and
`model.yml`, which describe the same model to transformers and to ours.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import soundfile
import tokenizers
from omegaconf import OmegaConf
from tokenizers import decoders, models, pre_tokenizers, trainers

from benchmarks.speech_like import Clip
from maxtext_ext.audio.limits import SAMPLE_RATE
from maxtext_ext.bridge import qwen3_tokenizer_path
from maxtext_ext.checkpoint.dense_lm import TEXT_KEYS
from maxtext_ext.checkpoint.qwen3_asr_config import AUDIO_KEYS
from maxtext_ext.keys.yml import package_configs
from maxtext_ext.records.schema import Record, encode_example
from maxtext_ext.records.writer import ShardWriter
from maxtext_ext.text.special_tokens import ASR_TEXT, IM_END, IM_START, PAD, QWEN3_ASR_TOKENS
from maxtext_ext.text.templates.qwen3_asr import build_target
from maxtext_ext.text.tokenizer import Tokenizer

LANGUAGE = "English"
# A published model, and what differs from it. The 60m is the 0.6B made small: of the FLOPs of its
# decoder's layers, convolutions take 0.27 (0.28 there), the encoder's layers 0.27 (0.29), and the
# head of all tokens 0.36 (0.35).
SHAPES: dict[str, tuple[str, dict[str, int]]] = {
  "60m": (
    "qwen3-asr-0.6b",
    {
      "base_emb_dim": 512,
      "base_mlp_dim": 1536,
      "base_num_decoder_layers": 11,
      "base_num_query_heads": 8,
      "base_num_kv_heads": 4,
      "head_dim": 64,
      "vocab_size": 24_576,
      "d_model_for_audio": 384,
      "encoder_layers_for_audio": 7,
      "encoder_attention_heads_for_audio": 6,
      "encoder_ffn_dim_for_audio": 1536,
      "downsample_hidden_size_for_audio": 128,
      "output_dim_for_audio": 512,
    },
  ),
  "0.6b": ("qwen3-asr-0.6b", {}),
  "1.7b": ("qwen3-asr-1.7b", {}),
}
_TEMPLATE = ("system", "user", "assistant", "language", f" {LANGUAGE}")
_MERGES = 60  # of the small tokenizer, which so has 4 tokens for a second of speech_like's text


def write_shape(name: str, folder: Path) -> dict[str, Any]:
  """Writes `model.yml` and `config.json` of a key of SHAPES; returns the keys of model.yml."""
  published, changes = SHAPES[name]
  file = package_configs() / "models" / f"{published}.yml"
  keys = {**OmegaConf.to_container(OmegaConf.load(file)), **changes}
  OmegaConf.save(OmegaConf.create(keys), folder / "model.yml")
  (folder / "config.json").write_text(json.dumps(_native_config(keys), indent=2), "utf-8")
  return keys


def _native_config(keys: Mapping[str, Any]) -> dict[str, Any]:
  rope = {"rope_type": "default", "rope_theta": float(keys["rope_max_timescale"])}
  text = {theirs: keys[ours] for theirs, ours in TEXT_KEYS.items()}
  return {
    "model_type": "qwen3_asr",
    "audio_config": {theirs: keys[ours] for theirs, ours in AUDIO_KEYS.items()},
    "text_config": {
      **text,
      "intermediate_size": keys["base_mlp_dim"],
      "rope_parameters": rope,
      "tie_word_embeddings": True,
      "max_position_embeddings": 65_536,
    },
  }


def write_tokenizer(folder: Path, texts: Sequence[str], vocab_size: int) -> Tokenizer:
  """Writes Qwen3-ASR's tokenizer where it fits the vocabulary, else one learned from `texts`."""
  tokenizer = tokenizers.Tokenizer.from_file(f"{qwen3_tokenizer_path()}/tokenizer.json")
  if vocab_size <= max(QWEN3_ASR_TOKENS.values()):
    tokenizer = _learn(texts, tokenizer.pre_tokenizer)
  for name in QWEN3_ASR_TOKENS:  # in the order of their ids
    token = tokenizers.AddedToken(name, special=name.startswith("<|"), normalized=False)
    tokenizer.add_tokens([token])
  tokenizer.save(str(folder / "tokenizer.json"))
  return Tokenizer.from_directory(folder)


def _learn(texts: Sequence[str], pieces: pre_tokenizers.PreTokenizer) -> tokenizers.Tokenizer:
  tokenizer = tokenizers.Tokenizer(models.BPE())
  tokenizer.pre_tokenizer = pieces
  tokenizer.decoder = decoders.ByteLevel()
  alphabet = pre_tokenizers.ByteLevel.alphabet()
  trainer = trainers.BpeTrainer(
    vocab_size=len(alphabet) + _MERGES, initial_alphabet=alphabet, show_progress=False
  )
  tokenizer.train_from_iterator([*texts, *_TEMPLATE * len(texts)], trainer)
  tokenizer.add_special_tokens([PAD, IM_START, IM_END])
  return tokenizer


def write_clips(folder: Path, clips: Sequence[Clip], tokenizer: Tokenizer) -> list[int]:
  """Writes the clips in both forms; returns how many tokens the answer to each has."""
  answers = []
  (folder / "wav").mkdir()
  with (
    ShardWriter(str(folder / "train-00000-of-00001.array_record")) as records,
    open(folder / "clips.jsonl", "w", encoding="utf-8") as lines,
  ):
    for number, clip in enumerate(clips):
      name = f"clip{number:05d}"
      wav = str(folder / "wav" / f"{name}.wav")
      soundfile.write(wav, clip.samples, SAMPLE_RATE)
      text = f"language {LANGUAGE}{ASR_TEXT}{clip.text}"
      lines.write(json.dumps({"audio": wav, "text": text}) + "\n")
      record = Record(
        sample_id=name,
        audio=clip.samples,
        text=clip.text,
        dataset_name="speech-like",
        language=LANGUAGE,
      )
      records.write(encode_example(record, "pcm16"))
      answers.append(len(build_target(tokenizer, clip.text, language=LANGUAGE, forced=False)))
  return answers
