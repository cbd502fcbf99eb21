"""Transforms of the data chain, from a stored record to an utterance.

Each is a frozen dataclass that does one thing to one element; `pipeline.py` lists them in order for
training, evaluation and decoding. A transform names the types that it takes. Elements of any other
type go through unchanged, so a Drop reaches the end of the chain with its reason.
"""

import abc
import dataclasses
from typing import Any, ClassVar, Self

import grain
import numpy as np

from maxtext_ext.audio.geometry import Geometry
from maxtext_ext.audio.io import is_finite
from maxtext_ext.audio.perturb import noise_clip, perturb, perturbed_length
from maxtext_ext.audio.perturbation import Perturbation
from maxtext_ext.audio.sounds import find_sounds
from maxtext_ext.input.config import InputConfig
from maxtext_ext.input.drops import Drop
from maxtext_ext.input.filters import Filters
from maxtext_ext.input.host_augment import SpecAugment
from maxtext_ext.input.spec_augment import chunk_masks, record_seed
from maxtext_ext.input.utterance import Utterance, build_utterance
from maxtext_ext.records.schema import Record, RecordError, decode_example
from maxtext_ext.text.alphabet import OutsideAlphabetError
from maxtext_ext.text.vocabulary import Vocabulary

NOISE_ONLY = "noise-only"  # dataset name of clips without speech


@dataclasses.dataclass(frozen=True, kw_only=True)
class Serialized:
  """A stored record.

  Attributes:
    data: its bytes.
    dataset: by which it is counted; empty where there is only one.
    epoch: how often its dataset has been read before.
  """

  data: bytes
  dataset: str = ""
  epoch: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoiseTurn:
  """Place of a noise clip in the order, for the `epoch`-th time."""

  epoch: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
  """A decoded record; `dataset` and `epoch` as of Serialized, `encoded` as of Utterance."""

  record: Record
  dataset: str = ""
  epoch: int = 0
  encoded: np.ndarray | None = None

  def dropped(self, drop: Drop) -> Drop:
    """Returns the drop, counted under the clip's dataset."""
    return _counted_under(self.dataset, drop)


class Transform(grain.transforms.Map, abc.ABC):
  """A step of the chain.

  Attributes:
    takes: types of the elements that it changes.
  """

  takes: ClassVar[tuple[type, ...]]

  def map(self, element: Any) -> Any:
    """Changes an element of the types in `takes`, and returns any other as it is."""
    return self.apply(element) if isinstance(element, self.takes) else element

  @abc.abstractmethod
  def apply(self, element: Any) -> Any:
    """Changes an element, or returns a Drop for one that is left out."""


@dataclasses.dataclass(frozen=True)
class Chain(grain.transforms.Map):
  """Transforms, one after another.

  Example: Chain((DecodeRecord(), FilterClip(filters=Filters(max_seconds=5.0)))) makes of the bytes
  of a clip of 6 s Drop("outside max_seconds", "clip7: 6 seconds, outside max_seconds=5").
  """

  transforms: tuple[grain.transforms.Map, ...]

  def map(self, element: Any) -> Any:
    """Applies all transforms."""
    for transform in self.transforms:
      element = transform.map(element)
    return element


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecodeRecord(Transform):
  """Serialized -> Clip, or a Drop where the bytes are no record.

  Serialized(data=b"...") -> Clip(record=Record(sample_id="clip7", audio=[0, 3, ...] int16,
  text="shalom"))
  """

  takes: ClassVar = (Serialized,)

  def apply(self, element: Serialized) -> Clip | Drop:
    """Decodes a record; its audio is a view of the bytes."""
    try:
      record = decode_example(element.data, copy=False)
    except RecordError as error:
      detail = f"{error.sample_id or 'a record'}: {error}"
      return _counted_under(element.dataset, Drop("unreadable", detail, bad=True))
    return Clip(record=record, dataset=element.dataset, epoch=element.epoch)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FilterClip(Transform):
  """Clip -> Clip, or a Drop where a length is outside the limits.

  With max_seconds=5: Clip of 80,000 samples -> the same; Clip of 80,001 samples -> Drop.
  """

  takes: ClassVar = (Clip,)
  filters: Filters

  def apply(self, element: Clip) -> Clip | Drop:
    """Rejects a clip that does not suit the run."""
    record = element.record
    rejected = self.filters.reject(record.sample_id, record.seconds, record.text)
    return element.dropped(rejected) if rejected else element


@dataclasses.dataclass(frozen=True, kw_only=True)
class PerturbClip(Transform):
  """Clip -> Clip with other speed, room, noise and gain, drawn again in every epoch.

  At speed 0.5: audio [0, 3, ...] int16 [80000] -> [0.0, 0.0001, ...] float32 [160000]

  Attributes:
    seed: of the run.
  """

  takes: ClassVar = (Clip,)
  perturbation: Perturbation
  seed: int

  def apply(self, element: Clip) -> Clip:
    """Changes the sound."""
    record = element.record
    # BuildUtterance drops clips with samples that are no numbers.
    if not self.perturbation.on or not len(record.audio) or not is_finite(record.audio):
      return element
    seed = record_seed(self.seed, element.epoch, record.sample_id)
    audio = perturb(record.as_float32(), self.perturbation, seed)
    return dataclasses.replace(element, record=dataclasses.replace(record, audio=audio))


@dataclasses.dataclass(frozen=True, kw_only=True)
class PerturbLength(Transform):
  """Clip without sound -> Clip without sound, as long as PerturbClip makes it in its epoch.

  At speed 0.5: audio of 80000 zeros -> 160000 zeros

  Attributes: as of PerturbClip; no files are needed.
  """

  takes: ClassVar = (Clip,)
  perturbation: Perturbation
  seed: int

  @classmethod
  def from_config(cls, config: InputConfig) -> Self:
    """Makes the transform of a run."""
    speeds, most = config.augment.speed_range, config.filters.max_seconds
    return cls(perturbation=Perturbation(speed_range=speeds, max_seconds=most), seed=config.seed)

  def apply(self, element: Clip) -> Clip:
    """Changes the length."""
    record = element.record
    if not self.perturbation.on or not len(record.audio) or not is_finite(record.audio):
      return element
    seed = record_seed(self.seed, element.epoch, record.sample_id)
    length = perturbed_length(len(record.audio), self.perturbation, seed)
    silence = np.broadcast_to(np.int16(0), length)
    return dataclasses.replace(element, record=dataclasses.replace(record, audio=silence))


@dataclasses.dataclass(frozen=True, kw_only=True)
class MakeNoise(Transform):
  """NoiseTurn -> Clip of noise with an empty text, another one in every epoch.

  NoiseTurn(epoch=4) -> Clip(record=Record(sample_id="noise-only-4", audio=[0.02, ...], text=""))

  Attributes:
    noises: files of noise.
    seconds: length of a clip, uniform in [low, high].
    seed: of the run.
  """

  takes: ClassVar = (NoiseTurn,)
  noises: tuple[str, ...]
  seconds: tuple[float, float]
  seed: int

  @classmethod
  def from_config(cls, config: InputConfig) -> Self:
    """Makes the transform of a run; lists noise files only if the run uses them.

    Raises:
      ValueError: the folder of noise holds no files.
    """
    noise = config.noise_only
    noises = find_sounds(config.augment.noise_dir) if noise.noise_only_rate else ()
    return cls(noises=noises, seconds=noise.noise_only_seconds, seed=config.seed)

  def apply(self, element: NoiseTurn) -> Clip:
    """Cuts a clip out of one of the files."""
    sample_id = f"{NOISE_ONLY}-{element.epoch}"
    seed = record_seed(self.seed, element.epoch, sample_id)
    audio = noise_clip(self.noises, self.seconds, seed)
    record = Record(sample_id=sample_id, audio=audio, text="", dataset_name=NOISE_ONLY)
    return Clip(record=record, epoch=element.epoch)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuildUtterance(Transform):
  """Clip -> Utterance: prompt, target, and samples of the batch's type; a Drop where it has none.

  Clip of 1 s that says "hi" -> Utterance(samples=[0, 3, ...] int16 [16000],
  prompt=[151644, ..., 13 times <|audio_pad|>, ...], target=[11528, 6364, ..., 151645])

  Attributes: arguments of `build_utterance`.
  """

  takes: ClassVar = (Clip,)
  tokenizer: Vocabulary
  geometry: Geometry
  template: str
  audio_dtype: str
  language_in_prompt: bool
  context: str
  instruction: str = ""
  with_target: bool = True

  @classmethod
  def from_config(cls, config: InputConfig, tokenizer: Vocabulary) -> Self:
    """The transform of a run."""
    return cls(
      tokenizer=tokenizer,
      geometry=config.geometry,
      template=config.prompt.template,
      audio_dtype=config.packing.audio_dtype,
      language_in_prompt=config.prompt.language_in_prompt,
      context=config.prompt.context,
      instruction=config.prompt.instruction,
    )

  def silent(self) -> Self:
    """Returns the same for clips without audio, whose samples need not be converted."""
    return dataclasses.replace(self, audio_dtype="int16")

  def without_target(self) -> Self:
    """Returns the same for decoding, where references may have characters outside the alphabet."""
    return dataclasses.replace(self, with_target=False)

  def apply(self, element: Clip) -> Utterance | Drop:
    """Builds the utterance of a clip."""
    try:
      utterance = build_utterance(
        element.record,
        self.tokenizer,
        geometry=self.geometry,
        template=self.template,
        audio_dtype=self.audio_dtype,
        language_in_prompt=self.language_in_prompt,
        context=self.context,
        instruction=self.instruction,
        epoch=element.epoch,
        with_target=self.with_target,
      )
      return utterance if element.encoded is None else utterance.with_encoded(element.encoded)
    except OutsideAlphabetError as error:
      return element.dropped(Drop("outside the alphabet", f"{element.record.sample_id}: {error}"))
    except ValueError as error:
      detail = f"{element.record.sample_id}: {error}"
      return element.dropped(Drop("unusable", detail, bad=True))


@dataclasses.dataclass(frozen=True, kw_only=True)
class DrawMasks(Transform):
  """Utterance -> Utterance with SpecAugment's masks of its chunks, drawn again in every epoch.

  2 chunks -> chunk_mask [[40, 52, 0, 0], [40, 52, 17, 60]]: mel bins 40 to 51 of the clip, and
  frames 17 to 59 of its second chunk; see `spec_augment.chunk_masks`.

  Attributes:
    mel_bins: of the encoder.
    seed: of the run.
  """

  takes: ClassVar = (Utterance,)
  spec_augment: SpecAugment
  mel_bins: int
  seed: int

  def apply(self, element: Utterance) -> Utterance:
    """Draws the masks; the device applies them."""
    if not self.spec_augment.on:
      return element
    seed = record_seed(self.seed, element.epoch, element.sample_id)
    masks = chunk_masks(
      self.spec_augment,
      element.frames,
      seed,
      mel_bins=self.mel_bins,
      geometry=element.geometry,
    )
    return dataclasses.replace(element, chunk_mask=masks)


def _counted_under(dataset: str, drop: Drop) -> Drop:
  return dataclasses.replace(drop, reason=f"{dataset}: {drop.reason}") if dataset else drop
