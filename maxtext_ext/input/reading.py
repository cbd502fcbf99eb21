"""Reading: shards -> records -> utterances, as grain datasets."""

from dataclasses import dataclass

import grain
import numpy as np

from maxtext_ext.audio.frames import CHUNKS_PER_WINDOW
from maxtext_ext.audio.io import SAMPLE_RATE
from maxtext_ext.input.config import InputConfig
from maxtext_ext.input.packing import choose_windows, unfit_reason
from maxtext_ext.input.utterance import Utterance, build_utterance
from maxtext_ext.input.windows import num_chunks
from maxtext_ext.records.reader import RecordSource, find_shards
from maxtext_ext.records.schema import RecordError, decode_example
from maxtext_ext.text.tokenizer import Tokenizer

_SAMPLED = 1024  # records that windows_per_row is chosen from
_SCANNED = 20_000  # up to so many records, the longest is looked for among all


@dataclass(frozen=True)
class Dropped:
  """A record that is left out: why in a word or two, by which it is counted, and in full."""

  reason: str
  detail: str


@dataclass(frozen=True, kw_only=True)
class ReadUtterance(grain.transforms.Map):
  """bytes -> Utterance, or Dropped where the record cannot be used.

  `any_length` keeps clips outside min_seconds and max_seconds.
  """

  tokenizer: Tokenizer
  config: InputConfig
  any_length: bool = False

  def map(self, data: bytes) -> Utterance | Dropped:
    """Decodes and checks one record, and builds its prompt and target."""
    config = self.config
    try:
      record = decode_example(data)
    except RecordError as error:
      return Dropped("unreadable", f"{error.sample_id or 'a record'}: {error}")
    if not self.any_length:
      for wrong, name in (
        (record.seconds < config.min_seconds, "min_seconds"),
        (record.seconds > config.max_seconds, "max_seconds"),
      ):
        if wrong:
          limit = getattr(config, name)
          detail = f"{record.sample_id}: {record.seconds:.2f} s, outside {name}={limit}"
          return Dropped(f"outside {name}", detail)
    try:
      return build_utterance(
        record,
        self.tokenizer,
        audio_dtype=config.audio_dtype,
        language_in_prompt=config.language_in_prompt,
        context=config.context,
      )
    except ValueError as error:
      return Dropped("unusable", f"{record.sample_id}: {error}")


def open_records(config: InputConfig) -> RecordSource:
  """The records of the split.

  Raises:
    ValueError: there are no shards, or no records in them.
  """
  source = RecordSource(find_shards(config.data_dir, config.split))
  if not len(source):
    raise ValueError(
      f"{config.data_dir}: split '{config.split}' has no records; convert the data again"
    )
  return source


def check_hosts(host_index: int, host_count: int) -> None:
  """Raises ValueError unless 0 <= host_index < host_count."""
  if not 0 <= host_index < host_count:
    raise ValueError(f"host_index={host_index} of host_count={host_count}")


def read_options(config: InputConfig) -> grain.ReadOptions:
  """Threads and look-ahead of reading."""
  return grain.ReadOptions(
    num_threads=config.read_threads, prefetch_buffer_size=8 * config.read_threads
  )


def row_windows(source: RecordSource, config: InputConfig, tokenizer: Tokenizer) -> int:
  """W: `windows_per_row`, or the number that suits the data, the same on every host.

  Raises:
    ValueError: none of the sampled records can be used.
  """
  least = -(-num_chunks(int(config.max_seconds * SAMPLE_RATE)) // CHUNKS_PER_WINDOW)
  if config.windows_per_row:
    return config.windows_per_row
  sample = np.random.default_rng(config.seed).permutation(len(source))[:_SAMPLED]
  tokens, chunks, first_reason = _lengths(source, np.sort(sample), config, tokenizer)
  if not len(tokens):
    raise ValueError(
      f"{config.data_dir}: none of {len(sample)} records of split '{config.split}' can be used; "
      f"the first: {first_reason}"
    )
  windows = choose_windows(tokens, chunks, config.max_tokens)
  if windows >= least:
    return windows
  if len(source) <= _SCANNED:
    _, chunks, _ = _lengths(source, np.arange(len(source)), config, tokenizer)
    least = -(-int(chunks.max()) // CHUNKS_PER_WINDOW)
  return max(windows, least)


def _lengths(
  source: RecordSource, indices: np.ndarray, config: InputConfig, tokenizer: Tokenizer
) -> tuple[np.ndarray, np.ndarray, str]:
  """Text tokens and chunks of the usable records, and why the first of the others is not."""
  read = ReadUtterance(tokenizer=tokenizer, config=config)
  found, reason = [], ""
  for index in indices.tolist():
    utterance = read.map(source[index])
    if isinstance(utterance, Dropped):
      reason = reason or utterance.detail
    elif utterance.tokens > config.max_tokens:
      reason = reason or f"{utterance.sample_id}: " + unfit_reason(
        utterance.tokens, 0, max_tokens=config.max_tokens, windows=1
      )
    else:
      found.append((utterance.tokens, utterance.chunks))
  tokens, chunks = np.asarray(found, np.int64).reshape(-1, 2).T
  return tokens, chunks, reason
