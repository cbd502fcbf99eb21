"""Types of a conversion: options, plan, progress and summary."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from maxtext_ext.conversion.selector import Selector
from maxtext_ext.conversion.shard_job import AUDIO_MODES, ShardJob, ShardResult
from maxtext_ext.sources.formats import AUTO, SOURCES
from maxtext_ext.sources.options import SourceOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvertOptions:
  """Options of a conversion.

  Attributes:
    source_format: a key of SOURCES, or "auto": detected.
    splits: the first part of the shard names; more than one need a selector.
    audio: "keep" copies TFRecord records at 16 kHz byte for byte and writes all others as float32;
      "pcm16" writes 16-bit samples, "flac" compresses them. A rewritten record keeps only the
      features of the schema.
    workers: processes that convert shards, 1: this one.
    max_bad_fraction: share of bad records above which the conversion stops.
    selector: chooses records and their splits; None: all.
    overwrite: start over, and replace what an earlier conversion left of these splits.
    source: how the source is read.
  """

  source_format: str
  splits: tuple[str, ...] = ("train",)
  audio: str = "keep"
  workers: int = 1
  max_bad_fraction: float = 0.01
  selector: Selector | None = None
  overwrite: bool = False
  source: SourceOptions = dataclasses.field(default_factory=SourceOptions)

  def __post_init__(self) -> None:
    if self.source_format not in (AUTO, *SOURCES):
      raise ValueError(
        f"source format is '{self.source_format}', expected one of {[AUTO, *SOURCES]}"
      )
    if self.audio not in AUDIO_MODES:
      raise ValueError(f"audio is '{self.audio}', expected one of {list(AUDIO_MODES)}")
    for split in self.splits:
      if not re.fullmatch(r"\w+([.-]\w+)*", split):
        raise ValueError(
          f"split is '{split}', expected a name like 'train': it is part of file names"
        )
    if not self.splits or len(set(self.splits)) < len(self.splits):
      raise ValueError(f"splits are {list(self.splits)}, expected one or more, each once")
    if len(self.splits) > 1 and self.selector is None:
      raise ValueError(f"splits are {list(self.splits)}, but no selector says what goes where")
    if self.workers < 1:
      raise ValueError(f"workers is {self.workers}, expected 1 or more")
    if not 0 <= self.max_bad_fraction <= 1:
      raise ValueError(f"max_bad_fraction is {self.max_bad_fraction}, expected 0 to 1")

  @property
  def only_split(self) -> str | None:
    """The split that all of the source goes to; None where a selector decides."""
    return self.splits[0] if self.selector is None else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
  """Progress of a conversion.

  Attributes:
    done: share of the source read, 0 to 1.
    done_before: of that, the share done before an interruption.
    read: records read.
    seconds: audio written, in seconds.
    quarantined: bad records.
  """

  done: float
  done_before: float
  read: int
  seconds: float
  quarantined: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvertSummary:
  """Summary of a conversion: read = written + quarantined + sum of left_out.

  Attributes:
    read: records found in the source.
    written: of these, how many are in the shards.
    quarantined: of these, how many are in quarantine.jsonl.
    left_out: of these, how many the selector left out, by its reason.
    seconds: audio written, in seconds.
    shards: paths of the output, by split and number.
    reasons: the first few reasons for quarantine, with file and position.
    repeated: it was already complete, and nothing was done.
    kept: earlier shards whose sources have not changed.
  """

  read: int
  written: int
  quarantined: int
  left_out: Mapping[str, int]
  seconds: float
  shards: tuple[str, ...]
  reasons: tuple[str, ...] = ()
  repeated: bool = False
  kept: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConversionPlan:
  """A conversion that is ready to run: `run_shard` for each job, in any order, then `finish`.

  Attributes:
    source: what the user named.
    out: folder of the output.
    options: how.
    identity: the command and a digest of the source's own files, for the manifest.
    jobs: one for each input shard.
    done: results of earlier jobs whose sources have not changed.
    finished: the summary, if this conversion is already complete; then there are no jobs.
  """

  source: str
  out: str
  options: ConvertOptions
  identity: Mapping[str, Any]
  jobs: tuple[ShardJob, ...]
  done: tuple[ShardResult, ...] = ()
  finished: ConvertSummary | None = None
