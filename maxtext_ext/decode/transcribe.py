"""Transcription of a batch: references and hypotheses of its clips."""

from flax import nnx

from maxtext_ext.decode.generate import Generator
from maxtext_ext.evaluate.hypotheses import Hypothesis
from maxtext_ext.input.collate import DecodeBatch
from maxtext_ext.text.templates.qwen3_asr import parse_output
from maxtext_ext.text.tokenizer import Tokenizer


def transcribe(
  generator: Generator, params: nnx.State, batch: DecodeBatch, tokenizer: Tokenizer
) -> list[Hypothesis]:
  """What a model with these parameters writes for the clips of this host's batch, in order."""
  rows = generator(params, batch.arrays)
  return [
    Hypothesis(
      id=clip.id,
      dataset=clip.dataset,
      language=clip.language,
      duration=clip.seconds,
      reference=clip.reference,
      hypothesis=parse_output(tokenizer.decode(tokens))[1],
      complete=generator.is_complete(tokens),
    )
    for clip, tokens in zip(batch.utterances, rows, strict=False)
  ]
