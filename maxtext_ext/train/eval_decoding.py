"""Transcripts of held-out clips during training, by the same code as `decode`."""

import contextlib
import dataclasses
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import jax
from flax import nnx
from jax.sharding import Mesh

from maxtext_ext import bridge
from maxtext_ext.decode.engines import in_training, make_engine
from maxtext_ext.decode.interface import Engine
from maxtext_ext.decode.request import Request
from maxtext_ext.evaluate.hypotheses import Hypothesis
from maxtext_ext.input.pipeline import InputConfig, decode_split
from maxtext_ext.input.utterance import Utterance
from maxtext_ext.parallel import gather_texts
from maxtext_ext.progress import ProgressLine
from maxtext_ext.text.vocabulary import Vocabulary
from maxtext_ext.train import oom

_log = logging.getLogger(__name__)


class BrokenOff(Exception):
  """Evaluation was interrupted, because the run was asked to stop."""


@dataclass(frozen=True, kw_only=True)
class DraftUse:
  """Use of the texts of the evaluation before.

  Attributes:
    accepted: share of the tokens that came from them.
    seconds_saved: what writing these tokens would have taken, by the time of a step of all slots;
      None: that was not measured.
  """

  accepted: float
  seconds_saved: float | None


@dataclass(frozen=True, kw_only=True)
class Transcribed:
  """Transcripts of the clips of all hosts.

  Attributes:
    seconds: until the last host was done, with compilation.
    drafts: None where there were none, and where the engine needs none.
  """

  clips: list[Hypothesis]
  seconds: float
  drafts: DraftUse | None


@dataclass(kw_only=True)
class _Share:
  """Transcripts of a host."""

  clips: list[Hypothesis] = dataclasses.field(default_factory=list)
  seconds: float = 0.0
  has_drafts: bool
  tokens: int = 0
  accepted: int = 0
  seconds_saved: float | None = None


class Transcripts:
  """Greedy transcripts of up to `eval_clips` clips of `eval_split`, always the same ones.

  The clips are those that the filters let through. Programs are compiled at the first call. When
  the device is out of memory, fewer clips are decoded together. From the second call on, the
  texts of the last one are drafts: they change no transcript, but save time.

  Raises:
    ValueError: the split is not there, or nothing in it can be used.
  """

  def __init__(self, config: bridge.Config, mesh: Mesh, tokenizer: Vocabulary) -> None:
    self._config, self._mesh, self._tokenizer = in_training(config), mesh, tokenizer
    self._rows = config.decode_rows
    self._engine = self._make_engine()
    self._drafts: dict[tuple[str, str], tuple[int, ...]] = {}  # by dataset and id
    self._split = decode_split(
      InputConfig.from_config(config, split=config.eval_split),
      tokenizer,
      host_index=jax.process_index(),
      host_count=jax.process_count(),
      most=config.eval_clips,
      filtered=True,
    )

  def _make_engine(self) -> Engine:
    config = bridge.replace(self._config, decode_rows=self._rows)
    announce = jax.process_index() == 0
    return make_engine(config, self._mesh, self._tokenizer, announce=announce)

  def __call__(
    self, params: nnx.State, progress: ProgressLine, asked: Callable[[], bool]
  ) -> Transcribed:
    """Decodes the clips of all hosts with these parameters; returns the result on every host.

    Args:
      progress: parent of its own progress line.
      asked: whether to interrupt it; every host gets the same answer.

    Raises:
      BrokenOff: it was interrupted.
    """
    while True:
      try:
        return self._decode(params, progress, asked)
      except jax.errors.JaxRuntimeError as error:
        self._decode_fewer(error)

  def _decode(
    self, params: nnx.State, progress: ProgressLine, asked: Callable[[], bool]
  ) -> Transcribed:
    def check() -> None:
      if asked():
        raise BrokenOff

    def request(clip: Utterance) -> Request:
      return Request(clip, draft=self._drafts.get((clip.dataset_name, clip.sample_id), ()))

    began = time.monotonic()
    mine = _Share(has_drafts=bool(self._drafts))
    texts: dict[tuple[str, str], tuple[int, ...]] = {}
    with (
      contextlib.closing(iter(self._split)) as clips,
      ProgressLine("evaluate", len(clips), above=progress) as line,
    ):
      weights = self._engine.prepare(params)
      for answer in self._engine.run(weights, map(request, clips), each_round=check):
        mine.clips.append(answer.hypothesis())
        mine.tokens += len(answer.written.tokens)
        mine.accepted += answer.written.accepted
        texts[answer.clip.dataset, answer.clip.id] = tuple(answer.written.tokens)
        cut = sum(clip.is_cut for clip in mine.clips)
        line.update(len(mine.clips), f"{cut} cut" if cut else "")
    self._engine.release()
    self._drafts = texts if self._engine.USES_DRAFTS else {}
    mine.seconds = time.monotonic() - began
    if (token := self._engine.token_seconds) is not None:
      mine.seconds_saved = mine.accepted * token
    return _together(_of_all_hosts(mine))

  def _decode_fewer(self, error: jax.errors.JaxRuntimeError) -> None:
    if not oom.is_out_of_memory(error):
      raise error
    now = f"out of memory in evaluation at decode_rows={self._rows}"
    if self._config.on_oom == "fail" or self._rows == 1:
      raise ValueError(f"{now}: give fewer, a lower max_new_tokens, or eval_clips=0") from error
    self._rows //= 2
    _log.warning("%s; continuing with %d", now, self._rows)
    self._engine = self._make_engine()


def _of_all_hosts(mine: _Share) -> Iterator[_Share]:
  for host in gather_texts(json.dumps(dataclasses.asdict(mine))):
    share = json.loads(host)
    share["clips"] = [Hypothesis(**clip) for clip in share["clips"]]
    yield _Share(**share)


def _together(hosts: Iterable[_Share]) -> Transcribed:
  shares = list(hosts)
  drafts = None
  if any(share.has_drafts for share in shares):
    tokens = sum(share.tokens for share in shares)
    # Hosts save time side by side.
    saved = [share.seconds_saved for share in shares if share.seconds_saved is not None]
    drafts = DraftUse(
      accepted=sum(share.accepted for share in shares) / max(1, tokens),
      seconds_saved=sum(saved) / len(saved) if saved else None,
    )
  return Transcribed(
    clips=[clip for share in shares for clip in share.clips],
    seconds=max(share.seconds for share in shares),
    drafts=drafts,
  )
