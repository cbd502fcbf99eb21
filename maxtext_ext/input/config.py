"""What the input needs to know of a run."""

import dataclasses
import itertools
import math
from typing import Any, Literal, Self

from maxtext_ext.audio.frames import audio_tokens, num_frames
from maxtext_ext.audio.io import SAMPLE_RATE
from maxtext_ext.input.packing import LOOKAHEAD
from maxtext_ext.input.spec_augment import SpecAugment


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputConfig:
  """The data of one split and how it becomes batches; `rows` is of one host.

  Attributes:
    data_dir: folder of the ArrayRecord shards.
    split: which of them.
    rows: B, rows of a batch on this host.
    max_tokens: L, text slots of a row.
    windows_per_row: W; 0 chooses it from the data.
    min_seconds, max_seconds: clips outside are dropped and counted, except in decoding.
    seed: of the order and of every random draw.
    lookahead: utterances among which a row chooses.
    audio_dtype: of the samples on their way to the device; int16 halves the traffic.
    language_in_prompt: give the language in the prompt instead of the target.
    context: text of the system turn.
    spec_augment: masks of training batches.
    curriculum: (until this fraction of the steps, only texts of at most so many words), ascending.
    read_threads: records read at once; 0 reads in the packing thread.
    prefetch_batches: batches held ready; 0 makes each when it is asked for.
  """

  data_dir: str
  split: str = "train"
  rows: int = 1
  max_tokens: int = 2048
  windows_per_row: int = 0
  min_seconds: float = 0.0
  max_seconds: float = 30.0
  seed: int = 0
  lookahead: int = LOOKAHEAD
  audio_dtype: Literal["float32", "int16"] = "float32"
  language_in_prompt: bool = False
  context: str = ""
  spec_augment: SpecAugment = dataclasses.field(default_factory=SpecAugment)
  curriculum: tuple[tuple[float, int], ...] = ()
  read_threads: int = 4
  prefetch_batches: int = 3

  def __post_init__(self) -> None:
    for name, least in (
      *(("rows", 1), ("max_tokens", 1), ("lookahead", 1), ("windows_per_row", 0), ("seed", 0)),
      *(("read_threads", 0), ("prefetch_batches", 0)),
    ):
      if getattr(self, name) < least:
        raise ValueError(f"{name}={getattr(self, name)}, expected at least {least}")
    if not 0 <= self.min_seconds < self.max_seconds:
      raise ValueError(
        f"min_seconds={self.min_seconds} and max_seconds={self.max_seconds}: "
        "expected 0 <= min_seconds < max_seconds"
      )
    audio = audio_tokens(num_frames(math.floor(self.max_seconds * SAMPLE_RATE)))
    if audio >= self.max_tokens:
      raise ValueError(
        f"a clip of max_seconds={self.max_seconds} has {audio} audio tokens, which no row of "
        f"max_tokens={self.max_tokens} holds; raise max_tokens or lower max_seconds"
      )
    stages = self.curriculum
    ascending = all(a[0] < b[0] and a[1] <= b[1] for a, b in itertools.pairwise(stages))
    if not ascending or any(not 0 < until <= 1 or words < 1 for until, words in stages):
      raise ValueError(
        f"curriculum={list(stages)}: expected pairs (fraction of steps in 0..1, most words), "
        "both ascending"
      )

  @classmethod
  def from_config(cls, config: Any, *, split: str, rows: int) -> Self:
    """The keys of a SpeechConfig that the input reads; `rows` as above.

    Raises:
      ValueError: a key has a value that cannot be used.
    """
    return cls(
      data_dir=config.data_dir,
      split=split,
      rows=rows,
      max_tokens=config.max_target_length,
      windows_per_row=config.windows_per_row,
      min_seconds=config.min_seconds,
      max_seconds=config.max_seconds,
      seed=config.data_shuffle_seed,
      lookahead=config.packing_lookahead,
      audio_dtype=config.audio_dtype,
      language_in_prompt=config.language_in_prompt,
      context=config.context,
      spec_augment=SpecAugment(
        mel_width=config.spec_augment_mels,
        frame_width=config.spec_augment_frames,
        mel_bins=config.num_mel_bins_for_audio,
      ),
      curriculum=tuple((float(until), int(words)) for until, words in config.curriculum),
    )

  def for_split(self, split: str) -> Self:
    """The same for another split."""
    return dataclasses.replace(self, split=split)

  def max_words(self, step: int, steps: int) -> int | None:
    """Most words of a text that the batch of this step (from 0) takes in; None: any number."""
    for until, words in self.curriculum:
      if step < math.floor(until * steps):
        return words
    return None
