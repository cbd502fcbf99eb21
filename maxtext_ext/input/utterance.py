"""Utterances: prompt, target and samples of a record."""

import dataclasses
import functools
from dataclasses import dataclass
from typing import Self

import numpy as np

from maxtext_ext.audio.geometry import Geometry
from maxtext_ext.audio.io import is_finite
from maxtext_ext.audio.limits import LOUDEST, PCM16_SCALE, SAMPLE_RATE
from maxtext_ext.records.lengths import LENGTHS_SUFFIX
from maxtext_ext.records.schema import Record
from maxtext_ext.text.languages import language_name
from maxtext_ext.text.templates import DEFAULT_TEMPLATE, TEMPLATES, Prompt
from maxtext_ext.text.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True, eq=False)
class Utterance:
  """A clip with its token ids.

  Attributes:
    prompt: int32 [P], with one audio pad for each encoder token of the clip; empty where the
      template has no prompt.
    target: int32 [N], what the model has to answer, its closing token included.
    audio_start: position of the first audio pad in the prompt.
    geometry: the encoder's, from which the numbers of frames, chunks and audio tokens follow.
    samples: [T] float32 or int16, as the batch will hold them; it may be a read-only view of the
      stored record, which need not be aligned.
    text: the reference transcript.
    speaker: the corpus's id of the speaker, None if unknown.
    language_forced: the prompt names the language, so that the answer does not.
    epoch: how often its dataset has been read before.
    chunk_mask: int32 [n, 4], SpecAugment's masks of its n chunks; None: nothing is masked.
    encoded: [tokens, width], what a frozen encoder made of the clip; then the samples are silence.
  """

  sample_id: str
  dataset_name: str
  language: str | None
  text: str
  samples: np.ndarray
  prompt: np.ndarray
  target: np.ndarray
  audio_start: int
  geometry: Geometry
  speaker: str | None = None
  language_forced: bool = False
  epoch: int = 0
  chunk_mask: np.ndarray | None = None
  encoded: np.ndarray | None = None

  def with_encoded(self, encoded: np.ndarray) -> Self:
    """Returns the clip with the stored outputs of the encoder.

    Raises:
      ValueError: they are of a clip of another length.
    """
    if len(encoded) != self.audio_tokens:
      raise ValueError(
        f"{len(encoded)} stored encoder outputs, expected {self.audio_tokens}; remove *.encoded*"
        " beside the shards, which are made again"
      )
    return dataclasses.replace(self, encoded=encoded)

  @property
  def seconds(self) -> float:
    """Length of the clip in seconds."""
    return len(self.samples) / SAMPLE_RATE

  @property
  def words(self) -> int:
    """Words of the transcript, split at white space."""
    return len(self.text.split())

  @property
  def frames(self) -> int:
    """Mel frames of the clip."""
    return self.geometry.num_frames(len(self.samples))

  @property
  def chunks(self) -> int:
    """Chunks of the clip."""
    return self.geometry.num_chunks(len(self.samples))

  @property
  def audio_tokens(self) -> int:
    """Encoder tokens of the clip."""
    return self.geometry.num_tokens(len(self.samples))

  @property
  def tokens(self) -> int:
    """Text slots that it takes in a row: all tokens but the last, which predicts nothing."""
    return len(self.prompt) + len(self.target) - 1


def build_utterance(
  record: Record,
  tokenizer: Vocabulary,
  *,
  geometry: Geometry,
  template: str = DEFAULT_TEMPLATE,
  audio_dtype: str = "float32",
  language_in_prompt: bool = False,
  context: str = "",
  instruction: str = "",
  epoch: int = 0,
  with_target: bool = True,
) -> Utterance:
  """Builds prompt, target and samples of a record.

  Args:
    record: the clip; its own `prompt`, if it has one, takes the place of `context`.
    tokenizer: the model's tokenizer or alphabet.
    geometry: the encoder's.
    template: key of TEMPLATES.
    audio_dtype: "float32" or "int16", of the samples.
    language_in_prompt: put the language into the prompt, where the record has one; otherwise it is
      the start of the target.
    context: text of the system turn.
    instruction: text between audio and answer, where the template has one.
    epoch: how often its dataset has been read before.
    with_target: False leaves the target empty, as in decoding.

  Raises:
    ValueError: the audio holds samples whose log-mel is no number, the language is no name, or
      the tokenizer cannot write the text.
  """
  language = language_name(record.language) if record.language else None
  forced = language_in_prompt and language is not None
  texts = record.prompt or context, instruction
  frame = _prompt(template, tokenizer, language if forced else None, *texts)
  before, after, pad = frame.before, frame.after, frame.audio_pad
  pads = geometry.num_tokens(len(record.audio)) if pad is not None else 0
  prompt = np.full(len(before) + pads + len(after), pad or 0, np.int32)
  prompt[: len(before)] = before
  prompt[len(before) + pads :] = after
  target: list[int] = []
  if with_target:
    build_target = TEMPLATES[template].build_target
    target = build_target(tokenizer, record.text, language=language, forced=forced)
  return Utterance(
    sample_id=record.sample_id,
    dataset_name=record.dataset_name,
    language=language,
    text=record.text,
    samples=samples_of(record, audio_dtype),
    prompt=prompt,
    target=np.asarray(target, np.int32),
    audio_start=len(before),
    geometry=geometry,
    speaker=record.speaker,
    language_forced=forced and bool(after),  # a template without prompt forces nothing
    epoch=epoch,
  )


def require_planned(sample_id: str, size: tuple[int, ...], planned: tuple[int, ...]) -> None:
  """Checks the size of a clip against the one that its stored lengths gave.

  Raises:
    ValueError: the lengths are not those of the record.
  """
  if size != planned:
    raise ValueError(
      f"{sample_id}: the record's size is {size}, by its stored lengths {planned}; remove "
      f"*{LENGTHS_SUFFIX} beside the shards, which are made again"
    )


@functools.lru_cache(maxsize=4096)
def _prompt(
  template: str, tokenizer: Vocabulary, language: str | None, context: str, instruction: str
) -> Prompt:
  build = TEMPLATES[template].build_prompt
  return build(tokenizer, language=language, context=context, instruction=instruction)


def samples_of(record: Record, dtype: str) -> np.ndarray:
  """Returns a record's samples as "float32" or "int16".

  Raises:
    ValueError: some of them have no log-mel.
  """
  audio = record.audio
  if not is_finite(audio):
    raise ValueError(
      f"{record.sample_id}: audio holds NaN or infinite samples, or of more than {LOUDEST:g}"
    )
  if audio.dtype == dtype:
    return audio
  if dtype == "float32":
    return record.as_float32()
  scaled = audio * np.float32(PCM16_SCALE)
  np.rint(scaled, out=scaled)
  np.clip(scaled, -PCM16_SCALE, PCM16_SCALE - 1, out=scaled)
  return scaled.astype(np.int16)
