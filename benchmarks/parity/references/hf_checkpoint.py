"""A tiny Qwen3-ASR as it is published: folder of config.json, tensors and tokenizer; and clips.

`hf_reference.npz` is what `benchmarks/parity/hf_reference.py` makes of it. From the repository
root, the first in the project's environment, the second in the one that the tool describes:

  python -m benchmarks.parity.references.hf_checkpoint out/hf_checkpoint
  python benchmarks/parity/hf_reference.py out/hf_checkpoint tests/golden/hf_reference.npz \
    out/hf_checkpoint/clip_0.wav out/hf_checkpoint/clip_1.wav out/hf_checkpoint/clip_2.wav \
    --context "one two" --new-tokens 6 --positions 12
"""

import dataclasses
import json
import pathlib
import sys

import soundfile
from safetensors.numpy import save_file

from benchmarks.parity.references import qwen3_asr, reference
from maxtext_ext.text.tokenizer import train_char_tokenizer

REFERENCE = dataclasses.replace(
  qwen3_asr.REFERENCE,
  name="hf_reference",
  audio_prefix="thinker.audio_tower.",
  projector=("thinker.audio_tower.proj1", "thinker.audio_tower.proj2"),
  text_prefix="thinker.model.",
  seconds=(0.3, 1.0, 8.2),
  seed=5,
)
WORDS = "one two three four"


def write(folder: pathlib.Path) -> None:
  """The checkpoint, its tokenizer and the clips, `clip_{k}.wav`."""
  tokenizer = train_char_tokenizer([WORDS], folder, ["English", "Hebrew"])
  config = {
    "architectures": ["Qwen3ASRForConditionalGeneration"],
    "model_type": "qwen3_asr",
    "thinker_config": {
      "audio_config": {
        **REFERENCE.audio,
        "model_type": "qwen3_asr_audio_encoder",
        "n_window": 50,
        "n_window_infer": 800,
      },
      "text_config": {
        **REFERENCE.text,
        "model_type": "qwen3_asr_text",
        "vocab_size": reference.VOCABULARY,
        "rms_norm_eps": reference.RMS_NORM_EPS,
        "rope_theta": reference.ROPE_THETA,
        "tie_word_embeddings": True,
        "max_position_embeddings": 65_536,
      },
      "audio_token_id": tokenizer.audio_pad_id,
    },
  }
  (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
  save_file(REFERENCE.weights(), folder / "model.safetensors")
  for k, samples in enumerate(REFERENCE.clips()):
    soundfile.write(folder / f"clip_{k}.wav", samples, reference.SAMPLE_RATE, subtype="PCM_16")


if __name__ == "__main__":
  write(pathlib.Path(sys.argv[1]))
