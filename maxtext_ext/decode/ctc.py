"""Decoding of CTC models: the likeliest path on the device, or a beam search on the host.

Source: best path decoding of Graves et al. 2006, "Connectionist temporal classification".
"""

import functools
import itertools
import math
import os
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from maxtext_ext import bridge
from maxtext_ext.decode.ctc_alignment import align, find_runs
from maxtext_ext.decode.ctc_search import LEAST_PROBABILITY, PrefixSearch, import_library
from maxtext_ext.decode.interface import Answer, Engine, Written
from maxtext_ext.decode.request import Request
from maxtext_ext.input.collate import ClipInfo, decode_shape, make_decode_batch
from maxtext_ext.input.utterance import Utterance
from maxtext_ext.keys.decoding import OF_CTC_SEARCH, DecodingKeys
from maxtext_ext.models.encoders import encoder_config
from maxtext_ext.models.interface import Batch
from maxtext_ext.models.make import make_model
from maxtext_ext.parallel import largest_of_hosts, local_rows, to_device
from maxtext_ext.progress import announce_first_call
from maxtext_ext.text.alphabet import Alphabet
from maxtext_ext.text.vocabulary import Vocabulary

_SHAPES = 16  # clips of 1, 2, 4, ... windows
_READ_AHEAD = 4  # batches
_FULL_SECONDS = 8.0  # of the longest clips that come in full batches
_LEAST = math.log(LEAST_PROBABILITY)
_WITHOUT_SEARCH = {"beams": 1} | {
  name: DecodingKeys.model_fields[name].default for name in OF_CTC_SEARCH
}


def rows_of(decode_rows: int, seconds: float) -> int:
  """Returns the rows of a batch on one device: of longer clips than 8 s half as many, a quarter, ..

  Args:
    decode_rows: those of short clips.
    seconds: length of the rows.
  """
  longer = max(0, math.ceil(math.log2(seconds / _FULL_SECONDS)))
  return max(1, decode_rows >> longer)


class CTCEngine(Engine):
  """Decoder of CTC models, in batches of clips of about one length.

  The model has `emissions(batch) -> (logits [B, F, V], lengths [B])`: logits of every frame with
  the blank at index 0, and how many frames of each row are of its clip; 0 for an empty row. The
  frames of a clip are the audio tokens of the encoder's geometry, which tells their times.

  Without beams a clip's text is that of its likeliest path, which the device finds. With beams the
  host searches (see `ctc_search`), for several clips at once while the device computes the next
  batch. A token's log-probability is the largest that it has in its frames, and its times are
  theirs, by the likeliest path of the text.
  """

  CONTROLS = frozenset({"beams", *OF_CTC_SEARCH})

  def __init__(
    self, config: bridge.Config, mesh: Mesh, tokenizer: Vocabulary, *, announce: bool = False
  ) -> None:
    super().__init__(config, mesh, tokenizer, announce=announce)
    self._placement = bridge.input_sharding(config, mesh)
    self._programs = functools.cache(self._program)
    self._geometry = encoder_config(config).geometry
    self._search = None
    if config.beams > 1:
      assert isinstance(tokenizer, Alphabet), "blank 0 and characters are those of an alphabet"
      options = {name: getattr(config, name) for name in OF_CTC_SEARCH}
      self._search = PrefixSearch(tokenizer, beams=config.beams, **options)

  @classmethod
  def check(cls, config: bridge.Config) -> None:
    """Checks controls, and that the library of beam search is there where it is needed."""
    super().check(config)
    if config.beams > 1:
      import_library()
    elif idle := [name for name in ("lm_path", "hotwords") if getattr(config, name)]:
      raise ValueError(
        f"{' and '.join(idle)}: only beam search uses them, and beams=1 decodes greedily; give"
        " beams=16, or leave them out"
      )

  @classmethod
  def in_training(cls, config: bridge.Config) -> bridge.Config:
    """Greedy decoding, which takes no time of the host."""
    return bridge.replace(config, **_WITHOUT_SEARCH)

  def run(
    self,
    weights: nnx.State,
    clips: Iterable[Request],
    *,
    each_round: Callable[[], None] | None = None,
  ) -> Iterator[Answer]:
    """Decodes clips; their answers are always complete.

    In each round all processes decode a batch of one shape, that of which some process has most
    clips.
    """
    utterances = (self._check(clip).utterance for clip in clips)
    waiting = defaultdict[int, list[Utterance]](list)
    devices = jax.local_device_count()
    window_seconds = encoder_config(self._config).geometry.window_seconds
    ahead = _READ_AHEAD * self._config.decode_rows * devices
    searched = deque[tuple[ClipInfo, Future[Written]]]()
    pool = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="ctc")
    try:
      while True:
        if each_round is not None:
          each_round()
        room = ahead - sum(map(len, waiting.values()))
        for clip in itertools.islice(utterances, room):
          waiting[(decode_shape(clip)[0] - 1).bit_length()].append(clip)
        counts = largest_of_hosts(np.array([len(waiting[shape]) for shape in range(_SHAPES)]))
        if not counts.any():
          break
        shape = int(counts.argmax())
        # Rows are few where clips are, in powers of two.
        most = rows_of(self._config.decode_rows, (1 << shape) * window_seconds) * devices
        rows = devices
        while rows < min(int(counts[shape]), most):
          rows *= 2
        batch, waiting[shape] = waiting[shape][:rows], waiting[shape][rows:]
        infos, emitted = self._emit(weights, batch, 1 << shape, rows)
        # A thread waits for the device, so that it gets the next batch at once.
        fetched = pool.submit(_fetch, emitted)
        for row, info in enumerate(infos):
          searched.append((info, pool.submit(self._write, info, row, fetched)))
        while searched and (searched[0][1].done() or len(searched) > ahead):
          yield self._answer_next(searched)
      while searched:
        yield self._answer_next(searched)
    finally:
      pool.shutdown(cancel_futures=True)

  def _answer_next(self, searched: deque[tuple[ClipInfo, Future[Written]]]) -> Answer:
    clip, written = searched.popleft()
    return self._answer(clip, written.result())

  def _emit(
    self, params: nnx.State, clips: list[Utterance], windows: int, rows: int
  ) -> tuple[tuple[ClipInfo, ...], tuple[Array, ...]]:
    """Starts the model on clips; returns them, and outputs of their rows and of empty ones."""
    batch = make_decode_batch(
      clips,
      pad_id=self._tokenizer.pad_id,
      rows=rows,
      shape=(windows, 0),
      audio_dtype=self._config.audio_dtype,
      geometry=self._geometry,
    )
    arrays = to_device(batch.arrays, self._placement)
    shapes = tuple((name, array.shape, array.dtype.name) for name, array in sorted(arrays.items()))
    with bridge.mesh_scope(self._config, self._mesh):
      return batch.utterances, self._programs(shapes)(params, arrays)

  def _write(self, clip: ClipInfo, row: int, fetched: Future[list[np.ndarray]]) -> Written:
    """Makes the answer of a clip of its row of what `_path` or `_log_probs` gives."""
    lengths_B1, *emitted = fetched.result()
    of_clip = [array[row, : lengths_B1[row, 0]] for array in emitted]
    if self._search is None:
      path_F, log_prob_F = of_clip
    else:
      (log_probs_FV,) = of_clip
      path_F = log_probs_FV.argmax(axis=1)
      tokens = self._search(log_probs_FV)
      if find_runs(path_F).labels.tolist() != tokens:
        path_F = align(log_probs_FV, tokens)
      log_prob_F = np.take_along_axis(log_probs_FV, path_F[:, None], axis=1)[:, 0]
    return spell(path_F, log_prob_F, self._geometry.seconds_of, clip.seconds)

  def _program(self, shapes: tuple[tuple[str, tuple[int, ...], str], ...]):
    abstract = nnx.eval_shape(lambda: make_model(self._config, self._mesh))
    graphdef, _, rest = nnx.split(abstract, nnx.Param, ...)
    read = _path if self._search is None else _log_probs
    run = functools.partial(_emissions, graphdef, rest, read, vocab_size=self._tokenizer.vocab_size)
    return announce_first_call(
      jax.jit(run, out_shardings=self._placement),
      f"compiling the decoder for {shapes[0][1][0]} clips",
      visible=self._announce,
    )


def _fetch(outputs: tuple[Array, ...]) -> list[np.ndarray]:
  return [local_rows(array) for array in outputs]


def spell(
  path_F: Int[np.ndarray, "F"],
  log_prob_F: Float[np.ndarray, "F"],
  seconds_of: Callable[[int], tuple[float, float]],
  seconds: float,
) -> Written:
  """Makes the answer that a path of frames stands for.

  Args:
    path_F: a label or the blank for every frame of the clip.
    log_prob_F: natural logarithm of its probability.
    seconds_of: frame -> its start and end in seconds.
    seconds: length of the clip, at which times end.
  """
  labels, first, end = find_runs(path_F)
  spans = list(zip(first.tolist(), end.tolist(), strict=True))
  times = (
    (min(seconds_of(begin)[0], seconds), min(seconds_of(stop - 1)[1], seconds))
    for begin, stop in spans
  )
  return Written(
    tokens=labels.tolist(),
    finish_reason="stop",
    log_probs=tuple(float(log_prob_F[begin:stop].max()) for begin, stop in spans),
    times=tuple(times),
  )


def _emissions(
  graphdef: nnx.GraphDef,
  abstract_rest: nnx.State,
  read: Callable[[Array], tuple[Array, ...]],
  params: nnx.State,
  batch: Batch,
  *,
  vocab_size: int,
) -> tuple[Array, ...]:
  """Returns the frames of each row, and what `read` makes of its logits."""
  rest = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), abstract_rest)
  logits_BFV, lengths_B = nnx.merge(graphdef, params, rest, copy=True).emissions(batch)
  return lengths_B[:, None], *read(logits_BFV[..., :vocab_size].astype(jnp.float32))


def _path(
  logits_BFV: Float[Array, "B F V"],
) -> tuple[Int[Array, "B F"], Float[Array, "B F"]]:
  """Returns the likeliest symbol of every frame, with its log-probability."""
  path_BF = jnp.argmax(logits_BFV, axis=-1).astype(jnp.int32)
  (log_probs_BFV,) = _log_probs(logits_BFV)
  return path_BF, jnp.max(log_probs_BFV, axis=-1)


def _log_probs(logits_BFV: Float[Array, "B F V"]) -> tuple[Float[Array, "B F V"]]:
  """Returns all log-probabilities; what is not finite becomes the least one."""
  log_probs_BFV = jnp.nan_to_num(jax.nn.log_softmax(logits_BFV), nan=_LEAST, neginf=_LEAST)
  return (jnp.maximum(log_probs_BFV, _LEAST),)
