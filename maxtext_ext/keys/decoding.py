"""Keys of decoding."""

import pydantic
from pydantic import Field

from maxtext_ext.subconfig import Count, Size, SubConfig

# Weights that `decode_checkpoint` names, beside those of a step of the run.
CHECKPOINTS = ("best", "latest", "base", "untrained")
# Keys on which transcripts do not depend, or that `Decoded` records in another form.
NOT_OF_TRANSCRIPTS = frozenset(
  {
    *("split", "decode_input", "output", "clips_per_shard", "replace_output"),
    *("decode_checkpoint", "decode_rows", "tokens_per_second", "piece_seconds"),
  }
)
# Keys of beam search of a CTC model.
OF_CTC_SEARCH = ("lm_path", "lm_weight", "lm_word_score", "hotwords", "hotword_weight")
# Keys that an engine honours or refuses; their defaults ask for nothing.
CONTROLS = (
  *("max_tokens_per_second", "temperature", "sampling_seed", "repetition_penalty"),
  *("beams", "length_penalty"),
  *OF_CTC_SEARCH,
)


def is_path(checkpoint: str) -> bool:
  """Returns whether a value of `decode_checkpoint` is the path of a checkpoint."""
  return "/" in checkpoint


def limit_of_tokens(max_new_tokens: int, max_tokens_per_second: float = 0.0) -> str:
  """Returns the keys that limit a transcript, with their values."""
  limit = f"max_new_tokens={max_new_tokens}"
  return f"{limit} or {max_tokens_per_second=}" if max_tokens_per_second else limit


class DecodingKeys(SubConfig, title="Decoding"):
  """Split and weights of decoding, and the folder of the hypotheses."""

  split: str = Field("test", description="The split to decode.")
  decode_input: str = Field(
    "",
    description=(
      "Decode this instead of a split: a JSONL file, or a folder of sound files; local or gs://."
    ),
  )
  piece_seconds: float = Field(
    30.0,
    ge=1,
    le=1200,
    description=(
      "With decode_input, longest stretch in seconds that is decoded at once: longer recordings are"
      " cut at quiet points, and their texts joined."
    ),
  )
  output: str = Field(
    "",
    description="Folder of hypotheses; default: {run}/decoded/{split}, or the input's name.",
  )
  clips_per_shard: Count = Field(
    64, description="Clips of an output file: what a job that is killed has to do again."
  )
  replace_output: bool = Field(
    False,
    description="Remove transcripts of other weights or keys from the output folder first.",
  )
  decode_checkpoint: str = Field(
    "best",
    description=(
      "best (the lowest eval/wer; without any, the latest), latest or a step of the run, base:"
      " load_parameters_path, untrained: random weights, or the path of any checkpoint or run."
    ),
  )
  decode_rows: Count = Field(
    32, description="Clips decoded together on one device; with beams, their hypotheses."
  )
  max_new_tokens: Count = Field(512, description="Longest transcript, in tokens.")
  tokens_per_second: float = Field(
    6.0,
    gt=0,
    description=(
      "Usual length of a transcript; memory is kept for so many tokens a second of audio, and more"
      " is given to a clip that needs it."
    ),
  )
  max_tokens_per_second: float = Field(
    0.0,
    ge=0,
    description=(
      "End a transcript after so many tokens a second of audio, and 24 more; 0: only"
      " max_new_tokens does."
    ),
  )
  loop_repeats: Size = Field(
    32,
    description="End a transcript that repeats its last 1 to 16 tokens so often; 0: never.",
  )

  temperature: float = Field(
    0.0,
    ge=0,
    description=(
      "Draw tokens from the model's distribution at this temperature; 0: always take the likeliest."
    ),
  )
  sampling_seed: Size = Field(
    0,
    description=(
      "What is drawn follows from it and from the clip's dataset and id; not from other clips."
    ),
  )
  repetition_penalty: float = Field(
    1.0,
    gt=0,
    description=(
      "Divide positive logits of tokens that the transcript has already by it, and multiply"
      " negative ones; 1: do not. The prompt does not count."
    ),
  )
  beams: Count = Field(
    1,
    description=(
      "Hypotheses of a clip in beam search, at most decode_rows; 1: there is no search. Not with"
      " temperature or repetition_penalty. For a CTC model of any number, by the extra ctc."
    ),
  )
  length_penalty: float = Field(
    1.0,
    ge=-5,
    le=5,
    description=(
      "Beam search compares log-probabilities divided by the number of tokens to this power: 0"
      " prefers short transcripts, more than 1 long ones."
    ),
  )

  lm_path: str = Field(
    "",
    description=(
      "Language model of beam search of a CTC model: an ARPA file, such as `maxtext-ext lm build`"
      " writes; local or gs://."
    ),
  )
  lm_weight: float = Field(
    0.5,
    ge=0,
    le=100,
    description="Weight of the language model's log-probability beside the CTC model's.",
  )
  lm_word_score: float = Field(
    1.5,
    ge=-100,
    le=100,
    description="Score of each word with a language model, which prefers few; more makes more.",
  )
  hotwords: list[str] = Field(
    [],
    description=(
      "Words to expect in beam search of a CTC model, such as names, in the model's alphabet."
    ),
  )
  hotword_weight: float = Field(
    10.0, ge=0, le=100, description="Score of a hotword, by parts as it is spelled."
  )

  @pydantic.field_validator("decode_checkpoint")
  @classmethod
  def _check_checkpoint(cls, name: str) -> str:
    if name in CHECKPOINTS or is_path(name) or (name.isascii() and name.isdigit()):
      return str(int(name)) if name.isdigit() else name
    raise ValueError(f"expected {', '.join(CHECKPOINTS)}, a step, or a path with a /")
