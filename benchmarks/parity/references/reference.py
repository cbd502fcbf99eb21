"""Reference model of the parity tests: shape, seeded weights, clips, prompts, stored outputs.

Numpy only: the references run in an environment of their own. A `make_*.py` script writes the
outputs of a reference and tests compare with them; both draw the same weights and clips from here.
"""

import pathlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.parity.references.weights import draw

# Stored outputs, and the scripts that make them.
GOLDEN = pathlib.Path(__file__).parents[3] / "tests" / "golden"
SAMPLE_RATE = 16_000
VOCABULARY = 512
SYSTEM, USER, ASSISTANT, NEWLINE, LANGUAGE, ENGLISH = range(6)
PAD, IM_START, IM_END, AUDIO_START, AUDIO_END, AUDIO_PAD, ASR_TEXT = range(500, 507)
FIRST_WORD, LAST_WORD = 10, 499
WORDS = 4  # in every transcript
ROPE_THETA = 1e6
RMS_NORM_EPS = 1e-6

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
  """A tiny model of transformers with random weights, and the clips that it was run on.

  Attributes:
    name: of its module and of its file of outputs.
    audio, text: shape of the audio tower and of the language model, under the names that
      transformers' configurations have; with `num_experts` every feed-forward is a mixture.
    audio_prefix, projector, text_prefix, head: where the parts lie among the checkpoint's names;
      without `head` it is the token embedding.
    seconds: length of every clip.
    norms, biases: whether queries and keys have norms, and they and the values biases.
    rope_theta, rms_norm_eps: of the language model.
    seed: of the weights.
  """

  name: str
  audio: dict[str, int]
  text: dict[str, int]
  audio_prefix: str
  projector: tuple[str, str]
  text_prefix: str
  head: str | None = None
  seconds: tuple[float, ...]
  norms: bool = True
  biases: bool = False
  rope_theta: float = ROPE_THETA
  rms_norm_eps: float = RMS_NORM_EPS
  seed: int = 0

  def shapes(self) -> Shapes:
    """Names and shapes of the weights as a checkpoint on disk has them."""
    return self._audio_shapes() | self._text_shapes()

  def _audio_shapes(self) -> Shapes:
    dim, ffn = self.audio["d_model"], self.audio["encoder_ffn_dim"]
    channels, prefix = self.audio["downsample_hidden_size"], self.audio_prefix
    out: Shapes = {}
    for i, inputs in enumerate((1, channels, channels), 1):
      out |= {f"{prefix}conv2d{i}.weight": (channels, inputs, 3, 3)}
      out |= {f"{prefix}conv2d{i}.bias": (channels,)}
    out |= {f"{prefix}conv_out.weight": (dim, channels * self.audio["num_mel_bins"] // 8)}
    for i in range(self.audio["encoder_layers"]):
      layer = f"{prefix}layers.{i}."
      for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
        out |= _linear(f"{layer}self_attn.{name}", dim, dim)
      out |= _linear(layer + "fc1", ffn, dim) | _linear(layer + "fc2", dim, ffn)
      for name in ("self_attn_layer_norm", "final_layer_norm"):
        out |= {f"{layer}{name}.weight": (dim,), f"{layer}{name}.bias": (dim,)}
    out |= {f"{prefix}ln_post.weight": (dim,), f"{prefix}ln_post.bias": (dim,)}
    out |= _linear(self.projector[0], dim, dim)
    return out | _linear(self.projector[1], self.audio["output_dim"], dim)

  def _text_shapes(self) -> Shapes:
    hidden, head, prefix = self.text["hidden_size"], self.text["head_dim"], self.text_prefix
    queries = self.text["num_attention_heads"] * head
    keys = self.text["num_key_value_heads"] * head
    experts = self.text.get("num_experts", 0)
    mlp = self.text["moe_intermediate_size" if experts else "intermediate_size"]
    out: Shapes = {f"{prefix}embed_tokens.weight": (VOCABULARY, hidden)}
    out |= {f"{prefix}norm.weight": (hidden,)}
    if self.head is not None:
      out |= {f"{self.head}.weight": (VOCABULARY, hidden)}
    for i in range(self.text["num_hidden_layers"]):
      layer = f"{prefix}layers.{i}."
      for name, rows in (("q_proj", queries), ("k_proj", keys), ("v_proj", keys)):
        out |= {f"{layer}self_attn.{name}.weight": (rows, hidden)}
        if self.biases:
          out |= {f"{layer}self_attn.{name}.bias": (rows,)}
      out |= {f"{layer}self_attn.o_proj.weight": (hidden, queries)}
      if self.norms:
        out |= {f"{layer}self_attn.{name}_norm.weight": (head,) for name in "qk"}
      out |= {f"{layer}input_layernorm.weight": (hidden,)}
      out |= {f"{layer}post_attention_layernorm.weight": (hidden,)}
      if experts:
        out |= {f"{layer}mlp.gate.weight": (experts, hidden)}
      for block in [f"experts.{e}." for e in range(experts)] or [""]:
        out |= {f"{layer}mlp.{block}{name}_proj.weight": (mlp, hidden) for name in ("gate", "up")}
        out |= {f"{layer}mlp.{block}down_proj.weight": (hidden, mlp)}
    return out

  def weights(self) -> dict[str, np.ndarray]:
    """float32 weights under the names of `shapes`."""
    return draw(self.shapes(), seed=self.seed)

  def clips(self) -> list[np.ndarray]:
    """The clips, see `voices`."""
    return voices(self.seconds)

  @property
  def path(self) -> pathlib.Path:
    """The file of stored outputs."""
    return GOLDEN / f"{self.name}.npz"

  def outputs(self) -> dict[str, np.ndarray]:
    """Stored outputs of the reference.

    `token_counts` int [clips]; `tokens_{i}` [stored tokens, output_dim], the audio tokens of clip i
    after the projector; `logits_{i}` [stored positions, vocabulary]; of a mixture of experts also
    `experts_{i}` uint8 [layers, tokens, chosen], ascending, of every token.
    """
    with np.load(self.path) as file:
      return dict(file)

  def save(self, outputs: dict[str, Any]) -> None:
    """Writes the stored outputs."""
    np.savez_compressed(self.path, **outputs)


def voices(lengths: tuple[float, ...]) -> list[np.ndarray]:
  """Mono 16 kHz float32 clips: a voice in syllables over noise, each louder or softer.

  Their values lie on the int16 grid: clip * 32768 is whole.

  Args:
    lengths: seconds of each.
  """
  rng = np.random.default_rng(1)
  out = []
  for seconds in lengths:
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    pitch, syllables, level = rng.uniform(90, 250), rng.uniform(2, 5), 10 ** rng.uniform(-2, -0.3)
    phase = 2 * np.pi * (pitch * t + 20 * np.sin(2 * np.pi * 0.6 * t))
    voice = sum(np.sin(k * phase + k * k) / k for k in range(1, 15)) / 2
    envelope = np.clip(np.sin(2 * np.pi * syllables * t) + 0.4, 0, 1)
    samples = level * (envelope * voice + 0.02 * rng.standard_normal(t.size))
    out.append((np.round(samples * 32_768).clip(-32_768, 32_767) / 32_768).astype(np.float32))
  return out


def _linear(name: str, rows: int, columns: int) -> Shapes:
  return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


def prompt_ids(clip: int, audio_tokens: int) -> tuple[list[int], list[int]]:
  """Token ids of one clip: the prompt with its audio pads, and the target with the final eos."""
  before = [IM_START, SYSTEM, NEWLINE, IM_END, NEWLINE, IM_START, USER, NEWLINE, AUDIO_START]
  after = [AUDIO_END, IM_END, NEWLINE, IM_START, ASSISTANT, NEWLINE]
  words = np.random.default_rng([2, clip]).integers(FIRST_WORD, LAST_WORD + 1, WORDS).tolist()
  target = [LANGUAGE, ENGLISH, ASR_TEXT, *words, IM_END]
  return before + [AUDIO_PAD] * audio_tokens + after, target


def stored_tokens(clip: int, audio_tokens: int) -> np.ndarray:
  """Chooses the stored audio tokens of a clip: ends, both sides of window edges, and a sample."""
  edges = [0, audio_tokens - 1, *range(103, audio_tokens, 104), *range(104, audio_tokens, 104)]
  sample = np.random.default_rng([3, clip]).permutation(audio_tokens)[:24]
  return np.unique([*edges, *sample])


def stored_positions(clip: int, audio_tokens: int) -> np.ndarray:
  """Chooses positions with stored logits: prompt end, target, and a few in the audio."""
  prompt, target = prompt_ids(clip, audio_tokens)
  audio = np.random.default_rng([4, clip]).integers(9, 9 + audio_tokens, 3)
  return np.unique([1, 8, *audio, *range(len(prompt) - 3, len(prompt) + len(target))])
