"""Interface of decoding engines: clips in, answers out as they are finished."""

import abc
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from flax import nnx
from jax.sharding import Mesh

from maxtext_ext import bridge
from maxtext_ext.decode.controls import require_honoured
from maxtext_ext.decode.request import Request
from maxtext_ext.decode.words import Word, rate_words
from maxtext_ext.evaluate.hypothesis import FINISH_REASON, Hypothesis
from maxtext_ext.input.collate import ClipInfo
from maxtext_ext.text.templates import TEMPLATES
from maxtext_ext.text.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class Written:
  """Output tokens of a clip.

  Attributes:
    tokens: without the final eos.
    finish_reason: "stop" where the model ended its answer, "length" where `max_new_tokens` cut it,
      "loop" where it repeated itself.
    log_probs: natural logarithm of the probability of each token, and of the eos after them where
      the model wrote it; empty where the engine gives none.
    times: start and end of each token in seconds from the start of the clip, in order and one after
      the other; empty where the engine gives none.
    accepted: tokens at the start that came from the request's draft.
  """

  tokens: list[int]
  finish_reason: str
  log_probs: tuple[float, ...] = ()
  times: tuple[tuple[float, float], ...] = ()
  accepted: int = 0

  @property
  def complete(self) -> bool:
    """Returns whether the model ended its answer."""
    return self.finish_reason == "stop"


@dataclass(frozen=True, kw_only=True)
class Answer:
  """Answer of a model for a clip.

  Attributes:
    language: that the prompt forced, or else that the model named; None where there is none.
    text: the transcript.
    written: the tokens.
    words: of the transcript, with confidences and, where the engine gives them, times; empty where
      it gives no log-probabilities.
  """

  clip: ClipInfo
  language: str | None
  text: str
  written: Written
  words: tuple[Word, ...] = ()

  @property
  def language_forced(self) -> bool:
    """Returns whether the prompt named the language; False where the model did."""
    return self.clip.language_forced

  @property
  def finish_reason(self) -> str:
    """Returns that of the tokens, or "no_speech" for an answer that was ended without text."""
    return "no_speech" if self.complete and not self.text else self.written.finish_reason

  @property
  def complete(self) -> bool:
    """Returns whether the model ended its answer; False where a limit cut it."""
    return self.written.complete

  def hypothesis(self) -> Hypothesis:
    """Returns the line of a folder of hypotheses, with confidences as `evaluate` reads them."""
    extra: dict[str, Any] = {} if self.clip.speaker is None else {"speaker": self.clip.speaker}
    extra[FINISH_REASON] = self.finish_reason
    if self.language is not None and not self.language_forced:
      extra["detected_language"] = self.language
    if self.words or self.written.log_probs:
      extra["words"] = [word.as_dict() for word in self.words]
    return Hypothesis(
      id=self.clip.id,
      dataset=self.clip.dataset,
      language=self.clip.language,
      duration=self.clip.seconds,
      reference=self.clip.reference,
      hypothesis=self.text,
      complete=self.complete,
      extra=extra,
    )


class Engine(abc.ABC):
  """A way to decode a model; chosen by the model's `ENGINE`, a key of `decode.engines.ENGINES`.

  A clip's answer does not depend on the clips that are decoded with it. Programs are compiled by
  `warm_up`, or when a clip first needs them.

  Attributes:
    CONTROLS: names of the controls that it honours; those of a request or of the configuration that
      it does not are refused.
    USES_DRAFTS: whether it verifies drafts; others ignore them, which changes no answer.

  Args:
    config: the model's configuration.
    mesh: of the devices.
    tokenizer: of the model.
    announce: report on stderr that a program is being compiled.

  Raises:
    ValueError: the model has fewer entries than the tokenizer, or the engine cannot decode it, or
      not with the controls of the configuration.
  """

  CONTROLS: ClassVar[frozenset[str]] = frozenset()
  USES_DRAFTS: bool = False

  def __init__(
    self, config: bridge.Config, mesh: Mesh, tokenizer: Vocabulary, *, announce: bool = False
  ) -> None:
    tokenizer.require_rows(config.vocab_size)
    self.check(config)
    self._config, self._mesh, self._tokenizer = config, mesh, tokenizer
    self._parse = TEMPLATES[config.template].parse
    self._announce = announce

  @classmethod
  def check(cls, config: bridge.Config) -> None:
    """Raises ValueError where the engine cannot honour a control of the configuration."""
    require_honoured(config, cls.CONTROLS)

  @classmethod
  def in_training(cls, config: bridge.Config) -> bridge.Config:
    """Returns the configuration with which evaluation in training decodes."""
    return config

  @property
  def longest_prompt(self) -> int | None:
    """Returns the tokens of the longest prompt that it can decode; None: of any."""
    return None

  def prepare(self, params: nnx.State, *, donate: bool = False) -> Any:
    """Brings parameters of the model into the form that `run` takes, once for many runs.

    Args:
      donate: the caller does not use `params` again.
    """
    del donate
    return params

  def warm_up(self, weights: Any, *, seconds: float) -> None:  # noqa: B027  not all can
    """Compiles what clips of up to so many seconds need, before the first of them.

    Args:
      weights: as `prepare` returns them.
    """

  @abc.abstractmethod
  def run(
    self,
    weights: Any,
    clips: Iterable[Request],
    *,
    each_round: Callable[[], None] | None = None,
  ) -> Iterator[Answer]:
    """Decodes clips; yields the answer of each when it is finished, in any order.

    Every process of a run calls it, each with clips of its own, of any number.

    Args:
      weights: as `prepare` returns them.
      clips: read a few at a time, while others are decoded.
      each_round: called again and again between programs, by all processes alike; what it raises
        ends the run.

    Raises:
      ValueError: a request has controls that this engine cannot honour.
    """

  @property
  def token_seconds(self) -> float | None:
    """Device time of a token where all slots are in use, as measured so far; None: it was not."""
    return None

  def release(self) -> None:  # noqa: B027  an engine that keeps nothing
    """Frees memory that is kept from one run to the next."""

  def _check(self, request: Request) -> Request:
    """Returns a request, unless it has controls that this engine does not honour."""
    if others := sorted(request.controls - self.CONTROLS):
      raise ValueError(
        f"{request.utterance.sample_id}: decoding of this model cannot honour {', '.join(others)};"
        " leave it out"
      )
    return request

  def _answer(self, clip: ClipInfo, written: Written) -> Answer:
    language, text = self._parse(self._tokenizer.decode(written.tokens))
    return Answer(
      clip=clip,
      language=clip.language if clip.language_forced else language,
      text=text,
      written=written,
      words=rate_words(
        text, self._tokenizer.pieces(written.tokens), written.log_probs, written.times
      ),
    )
