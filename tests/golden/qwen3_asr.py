"""A tiny Qwen3-ASR as transformers has it: shape, weights, clips, prompts, and its stored outputs.

Numpy only; `make_qwen3_asr.py` wrote the outputs and tests compare with them.
"""

import pathlib

import numpy as np

from tests.golden.weights import draw

OUTPUTS = pathlib.Path(__file__).parent / "qwen3_asr.npz"
SAMPLE_RATE = 16_000
SECONDS = (0.1, 0.5, 0.99, 1.0, 5.3, 8.0, 8.01, 17.3, 30.0, 60.0)

AUDIO = {
  "num_mel_bins": 128,
  "d_model": 64,
  "encoder_layers": 2,
  "encoder_attention_heads": 4,
  "encoder_ffn_dim": 128,
  "downsample_hidden_size": 8,
  "output_dim": 48,
}
TEXT = {
  "vocab_size": 512,
  "hidden_size": 48,
  "intermediate_size": 96,
  "num_hidden_layers": 2,
  "num_attention_heads": 4,
  "num_key_value_heads": 2,
  "head_dim": 16,
}
ROPE_THETA = 1e6
RMS_NORM_EPS = 1e-6

SYSTEM, USER, ASSISTANT, NEWLINE, LANGUAGE, ENGLISH = range(6)
PAD, IM_START, IM_END, AUDIO_START, AUDIO_END, AUDIO_PAD, ASR_TEXT = range(500, 507)
FIRST_WORD, LAST_WORD = 10, 499
WORDS = 9  # in every transcript


def shapes() -> dict[str, tuple[int, ...]]:
  """Names and shapes of the weights, as the transformers-native model's state dict has them."""
  dim, ffn, channels = AUDIO["d_model"], AUDIO["encoder_ffn_dim"], AUDIO["downsample_hidden_size"]
  linears = {
    "audio_tower.conv_out": (dim, channels * AUDIO["num_mel_bins"] // 8, False),
    "multi_modal_projector.linear_1": (dim, dim, True),
    "multi_modal_projector.linear_2": (AUDIO["output_dim"], dim, True),
  }
  norms = {"audio_tower.ln_post": (dim, True)}
  for i in range(AUDIO["encoder_layers"]):
    layer = f"audio_tower.layers.{i}."
    for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
      linears[f"{layer}self_attn.{name}"] = (dim, dim, True)
    linears |= {layer + "fc1": (ffn, dim, True), layer + "fc2": (dim, ffn, True)}
    norms |= {layer + "self_attn_layer_norm": (dim, True), layer + "final_layer_norm": (dim, True)}

  hidden, mlp, head = TEXT["hidden_size"], TEXT["intermediate_size"], TEXT["head_dim"]
  queries, keys = TEXT["num_attention_heads"] * head, TEXT["num_key_value_heads"] * head
  linears["language_model.embed_tokens"] = (TEXT["vocab_size"], hidden, False)
  norms["language_model.norm"] = (hidden, False)
  for i in range(TEXT["num_hidden_layers"]):
    layer = f"language_model.layers.{i}."
    for name, out in (("q_proj", queries), ("k_proj", keys), ("v_proj", keys)):
      linears[f"{layer}self_attn.{name}"] = (out, hidden, False)
    linears[layer + "self_attn.o_proj"] = (hidden, queries, False)
    linears |= {layer + f"mlp.{name}_proj": (mlp, hidden, False) for name in ("gate", "up")}
    linears[layer + "mlp.down_proj"] = (hidden, mlp, False)
    norms |= {layer + f"self_attn.{name}_norm": (head, False) for name in "qk"}
    norms |= {layer + "input_layernorm": (hidden, False)}
    norms |= {layer + "post_attention_layernorm": (hidden, False)}

  out = {}
  for i, inputs in enumerate((1, channels, channels), 1):
    out[f"model.audio_tower.conv2d{i}.weight"] = (channels, inputs, 3, 3)
    out[f"model.audio_tower.conv2d{i}.bias"] = (channels,)
  for name, (rows, columns, bias) in linears.items():
    out[f"model.{name}.weight"] = (rows, columns)
    out |= {f"model.{name}.bias": (rows,)} if bias else {}
  for name, (size, bias) in norms.items():
    out[f"model.{name}.weight"] = (size,)
    out |= {f"model.{name}.bias": (size,)} if bias else {}
  return out


def weights() -> dict[str, np.ndarray]:
  """The model's weights under the transformers-native names; the head is tied to embed_tokens."""
  return draw(shapes(), seed=0)


def speech_params(weights: dict[str, np.ndarray]) -> dict:
  """The encoder's and the projector's weights as ours are named, nested, layers stacked.

  {"speech_encoder": {"conv2d1": {"kernel": HWIO, "bias": ..}, .., "layers": {..}}, "projector": ..}
  """

  def ours(prefix: str, names: list[str]) -> dict:
    out: dict = {}
    for name in names:
      *path, leaf = name.split(".")
      value = weights[prefix + name]
      if value.ndim == 4:
        value = value.transpose(2, 3, 1, 0)
      elif value.ndim == 2:
        value = value.T
      is_norm = path[-1].endswith(("norm", "ln_post"))
      inner = out
      for part in path:
        inner = inner.setdefault(part, {})
      inner[{"weight": "scale" if is_norm else "kernel", "bias": "bias"}[leaf]] = value
    return out

  def names(prefix: str) -> list[str]:
    return [name.removeprefix(prefix) for name in weights if name.startswith(prefix)]

  def stack(layers: list) -> dict | np.ndarray:
    if isinstance(layers[0], dict):
      return {key: stack([layer[key] for layer in layers]) for key in layers[0]}
    return np.stack(layers)

  encoder = ours("model.audio_tower.", names("model.audio_tower."))
  layers = encoder.pop("layers")
  encoder["layers"] = stack([layers[str(i)] for i in range(len(layers))])
  projector = "model.multi_modal_projector."
  return {"speech_encoder": encoder, "projector": ours(projector, names(projector))}


def clips() -> list[np.ndarray]:
  """Mono 16 kHz float32 clips of SECONDS: a voice in syllables over noise, each louder or softer.

  Their values lie on the int16 grid: clip * 32768 is whole.
  """
  rng = np.random.default_rng(1)
  out = []
  for seconds in SECONDS:
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    pitch, syllables, level = rng.uniform(90, 250), rng.uniform(2, 5), 10 ** rng.uniform(-2, -0.3)
    phase = 2 * np.pi * (pitch * t + 20 * np.sin(2 * np.pi * 0.6 * t))
    voice = sum(np.sin(k * phase + k * k) / k for k in range(1, 15)) / 2
    envelope = np.clip(np.sin(2 * np.pi * syllables * t) + 0.4, 0, 1)
    samples = level * (envelope * voice + 0.02 * rng.standard_normal(t.size))
    out.append((np.round(samples * 32_768).clip(-32_768, 32_767) / 32_768).astype(np.float32))
  return out


def prompt_ids(clip: int, audio_tokens: int) -> tuple[list[int], list[int]]:
  """Token ids of one clip: the prompt with its audio pads, and the target with the final eos."""
  before = [IM_START, SYSTEM, NEWLINE, IM_END, NEWLINE, IM_START, USER, NEWLINE, AUDIO_START]
  after = [AUDIO_END, IM_END, NEWLINE, IM_START, ASSISTANT, NEWLINE]
  words = np.random.default_rng([2, clip]).integers(FIRST_WORD, LAST_WORD + 1, WORDS).tolist()
  target = [LANGUAGE, ENGLISH, ASR_TEXT, *words, IM_END]
  return before + [AUDIO_PAD] * audio_tokens + after, target


def stored_tokens(clip: int, audio_tokens: int) -> np.ndarray:
  """Which audio tokens of a clip are stored: ends, both sides of window edges, and a sample."""
  edges = [0, audio_tokens - 1, *range(103, audio_tokens, 104), *range(104, audio_tokens, 104)]
  sample = np.random.default_rng([3, clip]).permutation(audio_tokens)[:24]
  return np.unique([*edges, *sample])


def stored_positions(clip: int, audio_tokens: int) -> np.ndarray:
  """At which positions of the ids logits are stored: prompt end, target, and a few in the audio."""
  prompt, target = prompt_ids(clip, audio_tokens)
  audio = np.random.default_rng([4, clip]).integers(9, 9 + audio_tokens, 3)
  return np.unique([1, 8, *audio, *range(len(prompt) - 4, len(prompt) + len(target))])


def outputs() -> dict[str, np.ndarray]:
  """What the reference gave.

  `token_counts` int [clips]; `tokens_{i}` [stored tokens, output_dim], the audio tokens of clip i
  after the projector; `logits_{i}` [stored positions, vocabulary].
  """
  with np.load(OUTPUTS) as file:
    return dict(file)
