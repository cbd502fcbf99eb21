"""Rows of packed batches planned from a sample: windows of a row, rows an element."""

import dataclasses

import numpy as np

from maxtext_ext.audio.geometry import Geometry
from maxtext_ext.audio.limits import SAMPLE_RATE
from maxtext_ext.input.config import InputConfig
from maxtext_ext.input.drops import Drop
from maxtext_ext.input.mixture import Element
from maxtext_ext.input.packing import choose_windows, pack, unfit_reason
from maxtext_ext.input.reading import NoiseData, Silent, SilentData
from maxtext_ext.input.transforms import Chain
from maxtext_ext.input.utterance import Utterance

SAMPLED = 1024  # records that windows_per_row is chosen from
SCANNED = 20_000  # up to so many records, the longest is looked for among all


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
  """Sample of a run's elements, from which its rows are planned.

  Attributes:
    datasets: all that the run reads.
    chain: from an element to its utterance, without sound and without perturbation.
    elements: those that were drawn, in the order of the run.
  """

  datasets: tuple[Silent, ...]
  chain: Chain
  elements: tuple[Element, ...]


def row_windows(sample: Sample, config: InputConfig) -> int:
  """Returns W: `windows_per_row`, or the best number for the data, the same on every host.

  Raises:
    ValueError: none of the sampled records can be used.
  """
  if config.packing.windows_per_row:
    return config.packing.windows_per_row
  tokens, chunks = _lengths(sample, config)
  windows = choose_windows(tokens, chunks, config.max_tokens, config.geometry)
  least = _windows_for(config.filters.max_seconds, config.geometry)
  if windows < least and sum(map(len, sample.datasets)) <= SCANNED:
    longest = (_longest(i, data, sample.chain, config) for i, data in enumerate(sample.datasets))
    least = _windows_for(max(longest), config.geometry)
  return max(windows, least)


def _lengths(sample: Sample, config: InputConfig) -> tuple[np.ndarray, np.ndarray]:
  """Returns text tokens and chunks of the usable elements."""
  found, reason = [], ""
  for element in sorted(sample.elements):
    read = sample.chain.map(element)
    if isinstance(read, Drop):
      reason = reason or read.detail
    elif read.tokens > config.max_tokens:
      unfit = unfit_reason(
        read.tokens, 0, geometry=config.geometry, max_tokens=config.max_tokens, windows=1
      )
      reason = reason or f"{read.sample_id}: {unfit}"
    else:
      found.append((read.tokens, read.chunks))
  if not found:
    records = [data for data in sample.datasets if isinstance(data, SilentData)]
    where = "; ".join(each.data.where for each in records)
    count = len(sample.elements)
    raise ValueError(f"{where}: none of {count} records can be used; the first: {reason}")
  tokens, chunks = np.asarray(found, np.int64).T
  return tokens, chunks


def _longest(number: int, data: Silent, chain: Chain, config: InputConfig) -> float:
  """Returns the seconds of the longest clip at its slowest speed; 0 when none can be used."""
  if isinstance(data, NoiseData):
    return config.noise_only.noise_only_seconds[1]
  assert data.lengths is not None, "so few records are scanned"
  by_length = np.argsort(-data.lengths.samples, kind="stable").tolist()
  clips = (chain.map(Element(number, 0, record)) for record in by_length)
  longest = next((clip.seconds for clip in clips if isinstance(clip, Utterance)), 0.0)
  return min(longest / config.augment.speed_range[0], config.filters.max_seconds)


def _windows_for(seconds: float, geometry: Geometry) -> int:
  return -(-geometry.num_chunks(round(seconds * SAMPLE_RATE)) // geometry.chunks_per_window)


def packed_rows(config: InputConfig, sample: Sample) -> float:
  """Computes rows per element by packing a sample.

  Raises:
    ValueError: none of it fits a row.
  """
  windows = row_windows(sample, config)
  budgets = {"max_tokens": config.max_tokens, "windows": windows}
  found = {}
  for element in sorted(sample.elements):  # as they are stored
    read = sample.chain.map(element)
    if isinstance(read, Drop):
      continue
    if not unfit_reason(read.tokens, read.chunks, geometry=config.geometry, **budgets):
      found[element] = read.tokens, read.chunks
  lengths = [found[element] for element in sample.elements if element in found]
  if not lengths:
    raise ValueError(f"none of {len(sample.elements)} records fits windows_per_row={windows}")
  lookahead = config.packing.packing_lookahead
  # A run has no half empty rows at its end, so those of the sample do not count.
  repeated = lengths * -(-4 * lookahead // len(lengths))
  packed = list(pack(repeated, geometry=config.geometry, lookahead=lookahead, **budgets))
  packed = packed[: max(1, len(packed) * 3 // 4)]
  usable = len(lengths) / len(sample.elements)
  return usable * len(packed) / sum(len(row.keys) for row in packed)
