"""Clips without a transcript, unreadable or failed by a server: counted, named, scored as empty."""

from collections.abc import Sequence

from maxtext_ext.evaluate.hypothesis import ERROR, Hypothesis

_NAMED = 10


def describe_failures(hypotheses: Sequence[Hypothesis]) -> list[str]:
  """Returns lines that count and name the clips without a transcript; none where all have one."""
  failed = [each for each in hypotheses if ERROR in each.extra]
  if not failed:
    return []
  lines = [
    f"{len(failed):,} of {len(hypotheses):,} clips have no transcript; each counts as an empty one:"
  ]
  lines += [f"  {each.id}: {each.extra[ERROR]}" for each in failed[:_NAMED]]
  if len(failed) > _NAMED:
    lines.append(f'  and {len(failed) - _NAMED:,} more, with an "{ERROR}" in their lines')
  return lines
