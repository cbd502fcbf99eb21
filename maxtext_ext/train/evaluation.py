"""Evaluation during training: loss and error rates on a held-out split."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
from flax import nnx
from jax.sharding import Mesh, NamedSharding

from maxtext_ext import bridge
from maxtext_ext.evaluate.hypotheses import describe_cut
from maxtext_ext.evaluate.wer import Scores, score
from maxtext_ext.input.pipeline import InputConfig, eval_iterator
from maxtext_ext.keys.decoding import limit_of_tokens
from maxtext_ext.parallel import to_device
from maxtext_ext.progress import ProgressLine
from maxtext_ext.text.vocabulary import Vocabulary
from maxtext_ext.train.eval_decoding import BrokenOff, DraftUse, Transcripts
from maxtext_ext.train.samples import Sample, choose


@dataclass(frozen=True, kw_only=True)
class Findings:
  """Results of an evaluation.

  Attributes:
    loss: nats a target token, over the whole split.
    scores: error rates of the clips that were transcribed; None when eval_clips=0.
    samples: some of the transcripts.
    limit: keys that limit the transcripts.
    transcript_seconds: time that they took; None when eval_clips=0.
    drafts: use of the texts of the evaluation before; None at the first one.
  """

  loss: float
  scores: Scores | None = None
  samples: tuple[Sample, ...] = ()
  limit: str = "max_new_tokens"
  transcript_seconds: float | None = None
  drafts: DraftUse | None = None

  def scalars(self) -> dict[str, float]:
    """Returns the scalars as `MetricWriter` takes them."""
    scalars = {"eval/loss": self.loss}
    if self.scores is not None:
      scalars |= {"eval/wer": self.scores.wer, "eval/cer": self.scores.cer}
    if self.transcript_seconds is not None:
      scalars["eval/transcript_seconds"] = self.transcript_seconds
    if self.drafts is not None:
      scalars["eval/drafts_accepted"] = self.drafts.accepted
      if self.drafts.seconds_saved is not None:
        scalars["eval/drafts_saved_seconds"] = self.drafts.seconds_saved
    return scalars

  def __str__(self) -> str:
    said = f"eval loss {self.loss:.3f}"
    if self.scores is None:
      return said
    said += f", WER {self.scores.wer:.2%}, CER {self.scores.cer:.2%}"
    if self.drafts is not None:
      said += f", {self.drafts.accepted:.0%} of the tokens as the last time"
      if self.drafts.seconds_saved is not None:
        said += f", which saved about {self.drafts.seconds_saved:.1f} s"
    clips = self.scores.overall
    cut = describe_cut(clips.cut, clips.utterances, self.limit)
    return f"{said}, {cut}" if clips.cut else said


class Evaluation:
  """Evaluation of a run: the loss over a split, and error rates of transcribed clips.

  Args:
    inputs: of the split, on this host, as for training.
    evaluated: the last step of an evaluation before.
    step_fn: `step.eval_step`, compiled.
    placement: of a batch on the mesh.

  Raises:
    ValueError: the split is not there, or nothing in it can be used.
  """

  def __init__(
    self,
    config: bridge.Config,
    mesh: Mesh,
    inputs: InputConfig,
    tokenizer: Vocabulary,
    *,
    evaluated: int,
    step_fn: Callable[..., Any],
    placement: NamedSharding,
  ) -> None:
    self._config = config
    self._inputs = inputs
    self._tokenizer = tokenizer
    self._evaluated = evaluated
    self._step_fn = step_fn
    self._placement = placement
    self._transcripts: Transcripts | None = None
    if config.eval_interval > 0 and config.eval_clips:
      self._transcripts = Transcripts(config, mesh, tokenizer)

  def due(self, step: int) -> bool:
    """Returns whether an evaluation is due after so many completed steps."""
    interval = self._config.eval_interval
    if interval <= 0 or step <= self._evaluated:
      return False
    return step % interval == 0 or step == self._config.steps

  def __call__(
    self, step: int, state: nnx.State, progress: ProgressLine, asked: Callable[[], bool]
  ) -> Findings:
    """Evaluates the model of a train state, which stays as it is.

    Args:
      step: steps completed.
      progress: parent of its own progress line.
      asked: whether to interrupt it; every host gets the same answer.

    Returns:
      the same on every host.

    Raises:
      BrokenOff: it was interrupted.
      ValueError: there are no target tokens, or no words, in the split.
    """
    findings = self._evaluate(state, progress, asked)
    self._evaluated = step
    return findings

  def _evaluate(
    self, state: nnx.State, progress: ProgressLine, asked: Callable[[], bool]
  ) -> Findings:
    loss = self._loss(state, asked)
    if self._transcripts is None:
      return Findings(loss=loss)
    transcribed = self._transcripts(state["model"].filter(nnx.Param), progress, asked)
    clips = transcribed.clips
    scores = score(clips, self._config.normalizer)
    if not scores.overall.words.units:
      raise ValueError(
        f"the {len(clips)} clips of evaluation have no words: check eval_split,"
        f" normalizer={self._config.normalizer} and data_dir, or give eval_clips=0"
      )
    samples = choose(clips, self._config.eval_samples, self._config.normalizer)
    return Findings(
      loss=loss,
      scores=scores,
      samples=samples,
      limit=limit_of_tokens(self._config.max_new_tokens, self._config.max_tokens_per_second),
      transcript_seconds=transcribed.seconds,
      drafts=transcribed.drafts,
    )

  def _loss(self, state: nnx.State, asked: Callable[[], bool]) -> float:
    hosts = {"host_index": jax.process_index(), "host_count": jax.process_count()}
    total = tokens = 0.0
    with contextlib.closing(eval_iterator(self._inputs, self._tokenizer, **hosts)) as batches:
      for batch in batches:
        if asked():
          raise BrokenOff
        metrics = jax.device_get(self._step_fn(state, to_device(batch, self._placement)))
        total += float(metrics["total"])
        tokens += float(metrics["target_tokens"])
    if tokens == 0:
      raise ValueError("the evaluation split has no target tokens: check eval_split and data_dir")
    return total / tokens
