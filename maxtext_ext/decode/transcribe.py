"""From a batch of clips to what was said, and what the model says that was."""

from flax import nnx

from maxtext_ext.decode.generate import Generator
from maxtext_ext.decode.writer import Hypothesis
from maxtext_ext.input.batch import DecodeBatch
from maxtext_ext.text.prompt import parse_output
from maxtext_ext.text.tokenizer import Tokenizer


def transcribe(
  generator: Generator, params: nnx.State, batch: DecodeBatch, tokenizer: Tokenizer
) -> list[Hypothesis]:
  """What a model with these parameters writes for the clips of this host's batch, in order."""
  texts = [tokenizer.decode(tokens) for tokens in generator(params, batch.arrays)]
  return [
    Hypothesis(
      id=clip.id,
      dataset=clip.dataset,
      language=clip.language,
      duration=clip.seconds,
      reference=clip.reference,
      hypothesis=parse_output(text)[1],
    )
    for clip, text in zip(batch.utterances, texts, strict=False)
  ]
