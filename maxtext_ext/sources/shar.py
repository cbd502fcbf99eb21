"""Lhotse Shar folders: cuts.000000.jsonl.gz and the recording.000000.tar of the same number.

Members of the tar file follow the order of the cuts: for each its sound, then its manifest; a cut
without sound has .nodata and .nometa instead. Each Shar shard becomes one output shard.
"""

import dataclasses
import io
import itertools
import os
import re
from collections.abc import Iterator
from typing import Any, cast

from maxtext_ext.audio.io import read_audio
from maxtext_ext.audio.limits import AudioError
from maxtext_ext.files import storage
from maxtext_ext.records.schema import RecordError
from maxtext_ext.sources import lhotse
from maxtext_ext.sources.clip import Clip
from maxtext_ext.sources.entry import Bad, Good
from maxtext_ext.sources.fields import choose_names, read_fields
from maxtext_ext.sources.jsonl import parse_line
from maxtext_ext.sources.lines import read_lines
from maxtext_ext.sources.options import SourceOptions
from maxtext_ext.sources.sharding import group_files
from maxtext_ext.sources.splits import choose_folder
from maxtext_ext.sources.tar import MAX_AUDIO
from maxtext_ext.sources.tar_members import Damage, Member, read_members

OPTIONS = frozenset(("shards", "language", "dataset_name"))
_CUTS = re.compile(r"cuts(.*?)\.jsonl(\.gz)?")
_ABOUT = (".json", ".nometa")  # members that say what the sound before them is


@dataclasses.dataclass(frozen=True, kw_only=True)
class SharShard:
  """Neighbouring shards of a Shar folder; `cuts` are the files of their cuts."""

  cuts: tuple[str, ...]
  options: SourceOptions

  @property
  def paths(self) -> tuple[str, ...]:
    """All files that it reads."""
    return tuple(path for cuts in self.cuts for path in (cuts, _sound_of(cuts)))

  def entries(self) -> Iterator[Good | Bad]:
    """Reads cuts and their sound; the position is the line of the cut, from 1."""
    for number, path in enumerate(self.cuts):
      sound = _sound_of(path)
      size = max(1, storage.size_of(sound))
      with storage.open_read(sound) as file:
        members: Iterator[Member | Damage | None] = itertools.chain(
          read_members(cast(io.BufferedIOBase, file), _limit_of), itertools.repeat(None)
        )
        for line in read_lines(path):
          member = next(members)
          done = (number + min(1.0, file.tell() / size)) / len(self.cuts)
          place: dict[str, Any] = {"file": path, "position": line.number, "done": done}
          try:
            cut = parse_line(line)
            yield Good(**place, record=self._read(cut, member))
          except RecordError as error:
            yield Bad(**place, sample_id=error.sample_id, reason=str(error))
          finally:
            if isinstance(member, Member) and member.content is not None:
              member.content.close()
          if isinstance(member, Damage):  # the cuts behind it have no sound either
            members = itertools.repeat(member)

  def _read(self, cut: dict[str, Any], member: Member | Damage | None) -> Any:
    sample_id = cut["id"] if isinstance(cut.get("id"), str) else ""
    try:
      row = lhotse.row_of(cut, "", {}, sound=Clip())
      fields = read_fields(row.values, choose_names(row.values, self.options), "", self.options)
      return fields.with_audio(read_audio(_content_of(member, sample_id)))
    except (RecordError, AudioError) as error:
      raise RecordError(str(error), sample_id) from error


def find_files(source: str, split: str | None) -> list[str]:
  """The cuts of a folder, in order, and behind them the tar files of their recordings.

  Raises:
    ValueError: there are none, or a file of recordings is missing.
  """
  if storage.is_file(source):
    cuts = [source]
  else:
    cuts = storage.find_below(source, "cuts*.jsonl*")
    below = storage.find_below(source, "*/cuts*.jsonl*") if not cuts else []
    cuts = cuts or choose_folder(source, below, split)
  cuts = [path for path in cuts if _CUTS.fullmatch(os.path.basename(path))]
  if not cuts:
    raise ValueError(
      f"{source}: no Shar folder, expected cuts.000000.jsonl.gz and recording.000000.tar; check "
      "the path"
    )
  sounds = [_sound_of(path) for path in cuts]
  if missing := [path for path in sounds if not storage.is_file(path)]:
    raise ValueError(
      f"{missing[0]}: no such file, which {len(missing)} of {len(cuts)} files of cuts refer to; "
      "copy it, or read cuts without it with --from lhotse"
    )
  return cuts + sounds


def open_files(files: list[str], options: SourceOptions) -> list[SharShard]:
  """A shard for each file of cuts, or `options.shards` of them all.

  Raises:
    ValueError: fewer files than `options.shards`.
  """
  cuts = [path for path in files if _CUTS.fullmatch(os.path.basename(path))]
  return [SharShard(cuts=group, options=options) for group in group_files(cuts, options.shards)]


def _sound_of(path: str) -> str:
  folder, name = os.path.split(path)
  match = _CUTS.fullmatch(name)
  assert match, path
  return storage.join(folder, f"recording{match[1]}.tar")


def _limit_of(path: str) -> int | None:
  """All members are sound but those that say what it is."""
  return None if path.endswith(_ABOUT) else MAX_AUDIO


def _content_of(member: Member | Damage | None, sample_id: str) -> Any:
  """The open sound of a cut.

  Raises:
    RecordError: there is none, or it is another cut's.
  """
  if member is None:
    raise RecordError("the tar file of the recordings ends before this cut; copy both files again")
  if isinstance(member, Damage):
    raise RecordError(f"tar file of the recordings: {member.reason}; copy the file again")
  name = os.path.splitext(os.path.normpath(member.name))[0]
  if name != os.path.normpath(sample_id):
    raise RecordError(
      f"the tar file has '{name[:100]}' in its place; the cuts were filtered or sorted: export the "
      "folder again"
    )
  if member.problem:
    raise RecordError(f"'{member.name[:100]}' {member.problem}")
  if member.name.endswith(".nodata"):
    raise RecordError("cut has no sound: its member is .nodata")
  return member.content
