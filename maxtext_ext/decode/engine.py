"""Decoding engine of autoregressive models: clips in, answers out as they are finished.

Clips that wait are packed into rows and prefilled; slots take them as they become free, on the
device. Clips of very different lengths are decoded one size after the other, long ones in fewer
slots.
"""

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

from flax import nnx
from jax.sharding import Mesh

from maxtext_ext import bridge
from maxtext_ext.decode.beam_text import BeamWriting, check_beams, check_request
from maxtext_ext.decode.controls import Controls, budget
from maxtext_ext.decode.drafts import usable_part
from maxtext_ext.decode.interface import Answer, Engine, Written
from maxtext_ext.decode.layers import SplitModel, Weights
from maxtext_ext.decode.lowering import lower_prefill, lower_window
from maxtext_ext.decode.programs import Programs
from maxtext_ext.decode.reader import Reader, longest_prompt, size_of
from maxtext_ext.decode.request import Request
from maxtext_ext.decode.session import Counts, Session
from maxtext_ext.decode.shape import MeshDivision, Shape, round_places, row_tokens_of
from maxtext_ext.decode.slots import Writing, expected_places
from maxtext_ext.decode.state import LENGTH, LOOP, STOP, Pool, Ready
from maxtext_ext.input.collate import info
from maxtext_ext.models.encoders import encoder_config
from maxtext_ext.parallel import largest_of_hosts
from maxtext_ext.text.tokenizer import Tokenizer

_READ_AHEAD = 4  # clips that are read ahead, for each slot
_TEMPLATE = 32  # tokens of a prompt, beside those of its audio
_FINISH = {STOP: "stop", LENGTH: "length", LOOP: "loop"}


class SlotEngine(Engine):
  """Decoding in slots: the likeliest tokens, drawn ones, or the best text that beam search finds.

  Attributes:
    counts: work done so far.

  Raises:
    ValueError: there are more `beams` than `decode_rows`, or other controls with them.
  """

  CONTROLS = frozenset(
    {
      *("max_new_tokens", "max_tokens_per_second"),
      *("temperature", "sampling_seed", "repetition_penalty"),
      *("beams", "length_penalty"),
    }
  )
  USES_DRAFTS = True

  def __init__(
    self, config: bridge.Config, mesh: Mesh, tokenizer: Tokenizer, *, announce: bool = False
  ) -> None:
    super().__init__(config, mesh, tokenizer, announce=announce)
    self._eos_ids = tuple(sorted(tokenizer.eos_ids))
    self._beams = config.beams
    if self._beams > 1:
      self.USES_DRAFTS = False
    self._model = SplitModel(config, mesh)
    self._platform = mesh.devices.flat[0].platform
    self._division = MeshDivision(config, mesh)
    self._programs = functools.cache(self._make_programs)
    self.counts = Counts()
    self._kept: dict[int, tuple[Pool, Ready] | None] = {}  # of the last session, by its size

  @classmethod
  def check(cls, config: bridge.Config) -> None:
    """See Engine."""
    super().check(config)
    if config.beams > 1:
      check_beams(config)

  @property
  def longest_prompt(self) -> int:
    """Returns the tokens of the longest row."""
    return longest_prompt(self._row_tokens)

  def prepare(self, params: nnx.State, *, donate: bool = False) -> Weights:
    """Cuts the weights of scanned layers into layers, which copies them."""
    with self._scope():
      return self._model.weights(params, donate=donate)

  def warm_up(self, weights: Weights, *, seconds: float) -> None:
    """Compiles both programs at the same time, and makes the slots."""
    geometry = encoder_config(self._config).geometry
    prompt = math.ceil(seconds / geometry.chunk_seconds) * geometry.tokens_per_chunk + _TEMPLATE
    text = min(self._config.max_new_tokens, budget(self._config.tokens_per_second, seconds))
    size = size_of(prompt, self._row_tokens)
    programs = self._programs(size)
    with self._scope():
      arrays = (
        programs.empty_pool(round_places(prompt + self._beams * text)),
        programs.empty_ready(),
      )
      lowered = [
        lower_prefill(programs, weights),
        lower_window(programs, weights, arrays[0].places),
      ]
    with ThreadPoolExecutor() as threads:
      list(threads.map(lambda program: program.compile(), lowered))
    self._kept[size] = arrays

  def run(
    self,
    weights: Weights,
    clips: Iterable[Request],
    *,
    each_round: Callable[[], None] | None = None,
  ) -> Iterator[Answer]:
    """Decodes clips; yields the answer of each when it is finished."""
    ahead = _READ_AHEAD * self._slots(0) * self._division.local_lanes
    reader = Reader(map(self._check, clips), self._row_tokens, ahead)
    while True:
      reader.fill()
      waiting = largest_of_hosts(reader.counts())
      if not waiting.any():
        return
      size = int(waiting.argmax())
      arrays = self._kept.pop(size, None)
      self.release()
      session = Session(
        self._programs(size),
        self._scope,
        weights,
        reader,
        size,
        make=self._begin,
        counts=self.counts,
        pad_id=self._tokenizer.pad_id,
        each_round=each_round,
        arrays=arrays,
      )
      for clip, end in session.run():
        yield self._end(clip, end)
      self._kept[size] = session.arrays

  @property
  def token_seconds(self) -> float | None:
    """Device time of a token where all slots are in use, as measured so far; None: it was not."""
    return self.counts.token_seconds

  def release(self) -> None:
    """Frees the KV cache, which is kept for the next run."""
    self._kept.clear()

  @property
  def _row_tokens(self) -> int:
    return row_tokens_of(self._platform)

  def _scope(self) -> AbstractContextManager[None]:
    return bridge.mesh_scope(self._config, self._mesh)

  def _slots(self, size: int) -> int:
    """Slots of a lane for clips of a class: fewer of longer ones, for about equal memory."""
    return max(1, (self._config.decode_rows >> size) // self._beams)

  def _make_programs(self, size: int) -> Programs:
    shape = Shape.of(
      self._config,
      self._mesh,
      slots=self._slots(size),
      row_tokens=self._row_tokens << size,
      platform=self._platform,
    )
    return Programs(
      self._model,
      self._mesh,
      shape,
      eos_ids=self._eos_ids,
      vocab_size=self._tokenizer.vocab_size,
      repeats=self._config.loop_repeats,
      platform=self._platform,
      announce=self._announce,
      beams=self._beams,
      length_penalty=self._config.length_penalty,
    )

  def _check(self, request: Request) -> Request:
    if self._beams > 1:
      check_request(request, self._beams)
    return super()._check(request)

  def _begin(self, request: Request) -> Writing:
    """Makes the record of a clip that begins."""
    utterance, controls = request.utterance, Controls.of(request, self._config)
    limit = expected_places(
      utterance,
      tokens_per_second=self._config.tokens_per_second,
      max_new_tokens=controls.most,
      width=self._beams,
    )
    prompt, draft = len(utterance.prompt), tuple[int, ...]()
    if controls.is_greedy and self._beams == 1:
      draft = usable_part(
        request.draft,
        most=controls.most,
        eos_ids=self._eos_ids,
        vocab_size=self._tokenizer.vocab_size,
      )
    limit = max(limit, prompt + len(draft) + 1)  # a place for the token after the draft
    clip = Writing(clip=info(utterance), prompt=prompt, controls=controls, limit=limit, draft=draft)
    return clip if self._beams == 1 else BeamWriting(**vars(clip), beams=self._beams)

  def _end(self, clip: Writing, end: int) -> Answer:
    """Makes the answer of a clip that has ended."""
    tokens, log_probs = clip.text()
    written = Written(
      tokens=tokens[:-1] if end == STOP else tokens,
      finish_reason=_FINISH[end],
      log_probs=tuple(log_probs),
      accepted=clip.accepted,
    )
    return self._answer(clip.clip, written)
