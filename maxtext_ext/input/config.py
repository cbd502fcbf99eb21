"""What the input needs to know of a run."""

import dataclasses
import itertools
import math
from typing import Any, Literal, Self

from maxtext_ext.audio.geometry import audio_tokens, num_frames
from maxtext_ext.audio.limits import SAMPLE_RATE
from maxtext_ext.input.filters import Filters
from maxtext_ext.input.host_augment import HostAugment, NoiseOnly
from maxtext_ext.input.mixture import Mixture, NamedData
from maxtext_ext.input.packing import LOOKAHEAD
from maxtext_ext.input.spec_augment import SpecAugment
from maxtext_ext.text.templates import DEFAULT_TEMPLATE


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputConfig:
  """The data of one split and how it becomes batches; `rows` is of one host.

  Attributes:
    data_dir: folder of the ArrayRecord shards. With a mixture, of those of evaluation and decoding;
      empty: they read their split from all folders of the mixture.
    split: which of them.
    mixture: datasets that training reads instead of `data_dir`.
    rows: B, rows of a batch on this host.
    max_tokens: L, text slots of a row.
    windows_per_row: W; 0 chooses it from the data.
    filters: records that are left out and counted, except in decoding.
    max_bad_fraction: of the records read, so many may be unusable before it is an error.
    seed: of the order and of every random draw.
    lookahead: utterances among which a row chooses.
    audio_dtype: of the samples on their way to the device; int16 halves the traffic.
    template: key of text.templates.TEMPLATES, of prompts and targets.
    language_in_prompt: give the language in the prompt instead of the target.
    context: text of the system turn.
    spec_augment: masks of training batches.
    augment: changes of the sound of training clips.
    noise_only: clips without speech among the training clips.
    curriculum: (until this fraction of the steps, only texts of at most so many words), ascending.
    read_threads: records read at once; 0 reads in the packing thread.
    prefetch_batches: batches held ready; 0 makes each when it is asked for.
  """

  data_dir: str = ""
  split: str = "train"
  mixture: Mixture = dataclasses.field(default_factory=Mixture)
  rows: int = 1
  max_tokens: int = 2048
  windows_per_row: int = 0
  filters: Filters = dataclasses.field(default_factory=Filters)
  max_bad_fraction: float = 0.01
  seed: int = 0
  lookahead: int = LOOKAHEAD
  audio_dtype: Literal["float32", "int16"] = "float32"
  template: str = DEFAULT_TEMPLATE
  language_in_prompt: bool = False
  context: str = ""
  spec_augment: SpecAugment = dataclasses.field(default_factory=SpecAugment)
  augment: HostAugment = dataclasses.field(default_factory=HostAugment)
  noise_only: NoiseOnly = dataclasses.field(default_factory=NoiseOnly)
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
    if not 0 <= self.max_bad_fraction <= 1:
      raise ValueError(f"max_bad_fraction={self.max_bad_fraction:g}, expected a number from 0 to 1")
    max_seconds = self.filters.max_seconds
    audio = audio_tokens(num_frames(math.floor(max_seconds * SAMPLE_RATE)))
    if audio >= self.max_tokens:
      raise ValueError(
        f"a clip of max_seconds={max_seconds} has {audio} audio tokens, which no row of "
        f"max_target_length={self.max_tokens} holds; raise max_target_length or lower max_seconds"
      )
    if self.noise_only.rate and not self.augment.noise_dir:
      raise ValueError(f"noise_only_rate={self.noise_only.rate:g} without noise_dir; give a folder")
    if self.noise_only.rate and self.noise_only.seconds[1] > max_seconds:
      low, high = self.noise_only.seconds
      raise ValueError(
        f"noise_only_seconds=[{low:g}, {high:g}], expected at most max_seconds={max_seconds:g}"
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
      mixture=Mixture(
        data=tuple(NamedData(**data) for data in config.mixture),
        temperature=config.mixture_temperature,
      ),
      rows=rows,
      max_tokens=config.max_target_length,
      windows_per_row=config.windows_per_row,
      filters=_same_keys(Filters, config),
      max_bad_fraction=config.max_bad_fraction,
      seed=config.data_shuffle_seed,
      lookahead=config.packing_lookahead,
      audio_dtype=config.audio_dtype,
      template=config.template,
      language_in_prompt=config.language_in_prompt,
      context=config.context,
      spec_augment=SpecAugment(
        mel_width=config.spec_augment_mels,
        frame_width=config.spec_augment_frames,
        mel_bins=config.num_mel_bins_for_audio,
      ),
      augment=_same_keys(HostAugment, config),
      noise_only=NoiseOnly(rate=config.noise_only_rate, seconds=tuple(config.noise_only_seconds)),
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


def _same_keys[T](kind: type[T], config: Any) -> T:
  """A dataclass whose fields are keys of the configuration."""
  values = {field.name: getattr(config, field.name) for field in dataclasses.fields(kind)}
  return kind(**{key: tuple(v) if isinstance(v, list) else v for key, v in values.items()})
