"""Transcription of recordings with a checkpoint, in two lines of Python.

from maxtext_ext import Transcriber
print(Transcriber.from_pretrained("out/qwen3-asr").transcribe("clip.wav").text)
"""

import dataclasses
import os
import sys
from collections.abc import Sequence
from numbers import Real
from typing import Any, Self, cast, overload

import numpy as np
from flax import nnx
from jax.sharding import Mesh

from maxtext_ext import bridge
from maxtext_ext.audio.io import check_samples, decode_audio, load_audio, resample
from maxtext_ext.audio.limits import MAX_PEAK, PCM16_SCALE, SAMPLE_RATE, AudioError
from maxtext_ext.checkpoint.adapter import load_weights
from maxtext_ext.checkpoint.fingerprint import check_model
from maxtext_ext.checkpoint.model_file import base_among, pretrained_config
from maxtext_ext.decode.engines import make_engine
from maxtext_ext.decode.interface import Answer
from maxtext_ext.input.utterance import Utterance, build_utterance
from maxtext_ext.models.encoders import encoder_config
from maxtext_ext.models.make import make_model
from maxtext_ext.records.schema import Record
from maxtext_ext.text.languages import NO_LANGUAGE, language_name
from maxtext_ext.text.templates import TEMPLATES
from maxtext_ext.text.vocabulary import Vocabulary

# Slots on a CPU, unless decode_rows is given: a step of 32 takes three times that of 8, whether
# there are one or many clips.
CPU_ROWS = 8
MAX_SECONDS = 1200.0  # the longest clip of one pass, as Qwen3-ASR is published

# A path, the bytes of a sound file, samples at 16 kHz, or (samples, rate in Hz).
Audio = str | os.PathLike[str] | bytes | np.ndarray | tuple[np.ndarray, int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transcription:
  """Transcript of a clip.

  Attributes:
    text: the transcript.
    language: the language that was asked for, or else the one that the model heard; None where it
      heard none.
    seconds: length of the audio.
    complete: the model ended its answer; False where `max_new_tokens` cut it.
  """

  text: str
  language: str | None
  seconds: float
  complete: bool


class Transcriber:
  """A model with its tokenizer, ready to transcribe. Make one with `Transcriber.from_pretrained`.

  A clip's text does not depend on what is transcribed together with it. The first clip compiles the
  programs, and so does a clip that is far longer than all before; others are quick.
  """

  def __init__(
    self, config: bridge.Config, mesh: Mesh, params: nnx.State, tokenizer: Vocabulary
  ) -> None:
    self._tokenizer, self._template = tokenizer, config.template
    self._geometry = encoder_config(config).geometry
    config = bridge.replace(config, audio_dtype="float32")  # as audio comes here
    self._engine = make_engine(config, mesh, tokenizer, announce=sys.stderr.isatty())
    self._weights = self._engine.prepare(params)

  @classmethod
  def from_pretrained(cls, path: str | os.PathLike[str], **overrides: Any) -> Self:
    """Loads a converted checkpoint, or a training run (LoRA or not) with its best checkpoint.

    Args:
      path: what `maxtext-ext convert to-maxtext` wrote, or {base_output_directory}/{run_name} of a
        training run; local or a URL such as gs://bucket/run.
      **overrides: keys of the configuration, such as dtype="bfloat16" or max_new_tokens=256. For a
        LoRA run load_parameters_path is the new place of the weights that it was trained on, if
        they were moved; for others it names weights to take instead.

    Raises:
      ValueError: there is no model, or no weights that fit it, or a key is unknown.
    """
    with pretrained_config(path, overrides) as config:
      tokenizer = TEMPLATES[config.template].open(config.tokenizer_path)
      tokenizer.vocab_size  # noqa: B018  reads the files, which may be gone later
      check_model(config, config.load_parameters_path, prompt=False)
    mesh = bridge.make_mesh(config)
    config, params = load_weights(
      config,
      mesh,
      config.load_parameters_path,
      lambda config: make_model(config, mesh),
      base=base_among(overrides),
    )
    if mesh.devices.flat[0].platform == "cpu" and "decode_rows" not in overrides:
      config = bridge.replace(config, decode_rows=min(config.decode_rows, CPU_ROWS))
    return cls(config, mesh, params, tokenizer)

  @overload
  def transcribe(
    self, audio: Audio, language: str | None = None, context: str | None = None
  ) -> Transcription: ...

  @overload
  def transcribe(
    self,
    audio: list[Audio],
    language: str | Sequence[str | None] | None = None,
    context: str | Sequence[str | None] | None = None,
  ) -> list[Transcription]: ...

  def transcribe(
    self,
    audio: Audio | list[Audio],
    language: str | Sequence[str | None] | None = None,
    context: str | Sequence[str | None] | None = None,
  ) -> Transcription | list[Transcription]:
    """Transcribes a clip of up to 1200 s, or a list of them in batches.

    Args:
      audio: a path, the bytes of a sound file, mono samples at 16 kHz (float of full scale 1, or
        int16), or (samples, rate). A list of these gives a list.
      language: a name or a code, such as "Hebrew" or "he", where it is known; None lets the model
        name it. For a list of clips, one for all or a list.
      context: text that helps, such as names to expect; None: there is none. For a list of clips,
        one for all or a list.

    Raises:
      AudioError: audio that cannot be used; says which item.
      ValueError: a language that is no name, or lists of different lengths.
    """
    if not isinstance(audio, list):
      one: Any = [language], [context]  # checked below, as those of a list are
      return self.transcribe([audio], *one)[0]
    languages = _for_each(language, "language", len(audio))
    contexts = _for_each(context, "context", len(audio))
    clips = [
      self._utterance(number, len(audio), *item)
      for number, item in enumerate(zip(audio, languages, contexts, strict=True))
    ]
    answers = {answer.clip.id: answer for answer in self._engine.run(self._weights, clips)}
    return [_transcription(clip, answers[clip.sample_id]) for clip in clips]

  def _utterance(
    self, number: int, count: int, audio: Audio, language: str | None, context: str | None
  ) -> Utterance:
    try:
      samples = _samples(audio)
    except AudioError as error:
      raise AudioError(f"audio[{number}]: {error}" if count > 1 else str(error)) from error
    name = None if language is None else language_name(language)
    record = Record(
      sample_id=f"audio[{number}]",
      audio=samples,
      text="",
      language=None if name == NO_LANGUAGE else name,
    )
    return build_utterance(
      record,
      self._tokenizer,
      geometry=self._geometry,
      template=self._template,
      language_in_prompt=True,
      context=context or "",
      with_target=False,
    )


def _transcription(clip: Utterance, answer: Answer) -> Transcription:
  return Transcription(
    text=answer.text,
    language=clip.language or answer.language,
    seconds=clip.seconds,
    complete=answer.complete,
  )


def _for_each(
  value: str | Sequence[str | None] | None, name: str, count: int
) -> Sequence[str | None]:
  if value is None or isinstance(value, str):
    return [value] * count
  if not isinstance(value, Sequence) or not all(
    each is None or isinstance(each, str) for each in value
  ):
    raise ValueError(f"{name} is {value!r}; expected text, None, or a list of these")
  if len(value) != count:
    raise ValueError(f"{count} clips, but a {name} list of {len(value)}; give one each, or one")
  return value


def _samples(audio: object) -> np.ndarray:
  """float32 samples at SAMPLE_RATE; of what is no `Audio`, an error."""
  if isinstance(audio, str | os.PathLike):
    samples = load_audio(os.fspath(audio))
  elif isinstance(audio, bytes):
    samples = decode_audio(audio)
  elif isinstance(audio, tuple) and len(audio) == 2:
    samples = _from_array(*audio)
  else:
    samples = _from_array(audio, SAMPLE_RATE)
  if (seconds := len(samples) / SAMPLE_RATE) > MAX_SECONDS:
    raise AudioError(
      f"audio is {seconds:.1f} s long, over the {MAX_SECONDS:.0f} s of one pass; cut it"
    )
  return samples


def _from_array(samples: object, rate: object) -> np.ndarray:
  if not isinstance(samples, np.ndarray) or not (
    samples.dtype == np.int16 or samples.dtype.kind == "f"
  ):
    kind = (
      f"array of {samples.dtype}" if isinstance(samples, np.ndarray) else type(samples).__name__
    )
    raise AudioError(
      f"got {kind}, expected a path, the bytes of a sound file, an array of float or int16"
      " samples, or (array, rate)"
    )
  if not isinstance(rate, Real):
    raise AudioError(f"the sampling rate is {rate!r:.80}, expected a number of Hz, such as 16000")
  check_samples(samples)
  if samples.dtype == np.int16:
    samples = samples.astype(np.float32) / np.float32(PCM16_SCALE)
  samples = samples.astype(np.float32, copy=False)
  if (peak := float(np.abs(samples).max())) > MAX_PEAK:
    raise AudioError(f"float samples reach {peak:.0f}, full scale is 1; divide them, or give int16")
  resampled = resample(samples, cast(int, rate))
  check_samples(resampled)
  return resampled
