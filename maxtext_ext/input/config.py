"""Input configuration: sub-configs of the data chain, with the fields of a split and a host."""

import dataclasses
import math
from typing import Any, Self

from maxtext_ext.audio.geometry import Geometry
from maxtext_ext.audio.limits import SAMPLE_RATE
from maxtext_ext.input.curriculum import Curriculum
from maxtext_ext.input.datasets import Datasets
from maxtext_ext.input.filters import Filters
from maxtext_ext.input.host_augment import SPAN, HostAugment, NoiseOnly, SpecAugment
from maxtext_ext.input.packing_config import Packing
from maxtext_ext.records.encoded import Encoding
from maxtext_ext.subconfig import SubConfig
from maxtext_ext.text.prompt_keys import PromptKeys


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputConfig:
  """Configuration of one split's batches; `rows` is of one host.

  Attributes:
    geometry: how the encoder divides time.
    datasets: where the records are.
    split: name of the split.
    rows: B, rows of a batch on this host.
    row_multiple: of which the rows are a multiple: this host's devices times the micro-batches.
    max_tokens: L, text slots of a row.
    mel_bins: of the encoder.
    seed: of the order and of every random draw.
    packing: W, look-ahead and dtype of the samples.
    prompt: of the model, beside the audio.
    filters: records that are left out and counted, except in decoding.
    augment: changes of the sound of training clips.
    noise_only: clips without speech among the training clips.
    spec_augment: masks of training batches.
    curriculum: limits of the texts in the first steps.
    read_threads: records read at once; 0 reads in the packing thread.
    prefetch_batches: batches prepared ahead; 0: each on demand.
    layout: of a batch, a key of `layouts.LAYOUTS`.
    encoding: of the encoder outputs that packed training batches have in place of sound.
  """

  geometry: Geometry
  datasets: Datasets = dataclasses.field(default_factory=Datasets)
  split: str = "train"
  rows: int = 1
  row_multiple: int = 1
  max_tokens: int = 2048
  mel_bins: int = 128
  seed: int = 0
  packing: Packing = dataclasses.field(default_factory=Packing)
  prompt: PromptKeys = dataclasses.field(default_factory=PromptKeys)
  filters: Filters = dataclasses.field(default_factory=Filters)
  augment: HostAugment = dataclasses.field(default_factory=HostAugment)
  noise_only: NoiseOnly = dataclasses.field(default_factory=NoiseOnly)
  spec_augment: SpecAugment = dataclasses.field(default_factory=SpecAugment)
  curriculum: Curriculum = dataclasses.field(default_factory=Curriculum)
  read_threads: int = 4
  prefetch_batches: int = 3
  layout: str = "packed"
  encoding: Encoding | None = None

  def __post_init__(self) -> None:
    for name, least in (
      *(("rows", 1), ("max_tokens", 1), ("mel_bins", 1), ("seed", 0)),
      *(("read_threads", 0), ("prefetch_batches", 0)),
    ):
      if getattr(self, name) < least:
        raise ValueError(f"{name}={getattr(self, name)}, expected at least {least}")
    max_seconds = self.filters.max_seconds
    audio = self.geometry.num_tokens(math.floor(max_seconds * SAMPLE_RATE))
    if self.layout == "packed" and audio >= self.max_tokens:
      raise ValueError(
        f"a clip of max_seconds={max_seconds} has {audio} audio tokens, which no row of "
        f"max_target_length={self.max_tokens} holds; raise max_target_length or lower max_seconds"
      )
    if self.layout == "bucketed" and self.curriculum.curriculum:
      raise ValueError(
        f"curriculum={self.curriculum.curriculum}: batches of clips of one length have none; leave"
        " it out"
      )
    if self.layout != "bucketed" and self.packing.per_device_batch_seconds:
      raise ValueError(
        f"per_device_batch_seconds={self.packing.per_device_batch_seconds:g}: rows of several clips"
        " are all of one length; give per_device_batch_size instead"
      )
    self._check_noise(max_seconds)
    mels, frames = self.spec_augment.spec_augment_mels, self.spec_augment.spec_augment_frames
    if mels > self.mel_bins or frames > SPAN:
      raise ValueError(
        f"spec_augment_mels={mels}, expected 0 to {self.mel_bins} (num_mel_bins_for_audio);"
        f" spec_augment_frames={frames}, expected 0 to {SPAN} (8 s)"
      )

  def _check_noise(self, max_seconds: float) -> None:
    rate, (low, high) = self.noise_only.noise_only_rate, self.noise_only.noise_only_seconds
    if rate and not self.augment.noise_dir:
      raise ValueError(f"noise_only_rate={rate:g} without noise_dir; give a folder")
    if rate and high > max_seconds:
      raise ValueError(
        f"noise_only_seconds=[{low:g}, {high:g}], expected at most max_seconds={max_seconds:g}"
      )

  @classmethod
  def from_config(cls, config: Any, *, split: str, rows: int = 1) -> Self:
    """Reads the input's keys of a SpeechConfig; `rows` as above.

    Raises:
      ValueError: a key has a value that cannot be used.
    """
    # Models import JAX and MaxText, which what only reads keys does without.
    from maxtext_ext.models.encoders import encoder_config
    from maxtext_ext.models.make import model_class

    encoder = encoder_config(config)
    groups: dict[str, type[SubConfig]] = {
      field.name: field.type
      for field in dataclasses.fields(cls)
      if isinstance(field.type, type) and issubclass(field.type, SubConfig)
    }
    parts: dict[str, Any] = {name: group.from_config(config) for name, group in groups.items()}
    return cls(
      geometry=encoder.geometry,
      split=split,
      rows=rows,
      row_multiple=max(1, rows // config.per_device_batch_size),
      layout=model_class(config).LAYOUT,
      max_tokens=config.max_target_length,
      mel_bins=encoder.num_mel_bins,
      seed=config.data_shuffle_seed,
      **parts,
    )

  def for_split(self, split: str) -> Self:
    """Returns the same for another split, with its sound."""
    return dataclasses.replace(self, split=split, encoding=None)
