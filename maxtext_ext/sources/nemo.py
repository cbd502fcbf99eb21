"""NeMo tarred datasets: audio_0.tar, audio_1.tar, ... and a manifest with `shard_id`.

Each line of the manifest names a member of the tar file with its `shard_id`. Several lines may name
segments of one member: all but the first have "-sub1", "-sub2", ... in their name, and an `offset`.
Without a common manifest, sharded_manifests/ is read. Members that no line names are skipped, as in
NeMo.
"""

import dataclasses
import functools
import io
import itertools
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from maxtext_ext.audio.io import read_audio
from maxtext_ext.audio.limits import AudioError
from maxtext_ext.files import storage
from maxtext_ext.records.schema import Record, RecordError
from maxtext_ext.sources.entry import Bad, Good
from maxtext_ext.sources.fields import choose_names, read_fields, value_of
from maxtext_ext.sources.jsonl import parse_line
from maxtext_ext.sources.lines import read_lines
from maxtext_ext.sources.options import SourceOptions
from maxtext_ext.sources.rows import part_of
from maxtext_ext.sources.sharding import group_files
from maxtext_ext.sources.tar import MAX_AUDIO
from maxtext_ext.sources.tar_members import Damage, Member, read_members

OPTIONS = frozenset(("shards", "text_key", "id_key", "language", "dataset_name"))
_TAR = re.compile(r".*?(\d+)\.tar")
_PART = re.compile(r"-sub\d+$")
_MANIFESTS = ("*.json", "*.jsonl", "*.jsonl.gz", "*.json.gz")
_WHOLE = "tarred_audio_manifest.json"  # what NeMo calls the manifest of them all
_SHARDED = "sharded_manifests/*.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Line:
  """A line of the manifest; `values` are none where it cannot be read."""

  file: str
  number: int
  values: Mapping[str, Any]
  problem: RecordError | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class NemoShard:
  """Neighbouring tar files.

  Attributes:
    tars: the files.
    manifests: the files with their lines, each read once a tar file.
    takes_rest: whether lines that name none of the tar files are this shard's.
    numbers: of all tar files of the source.
    options: how they are read.
  """

  tars: tuple[str, ...]
  manifests: tuple[str, ...]
  takes_rest: bool
  numbers: tuple[int, ...]
  options: SourceOptions

  @property
  def paths(self) -> tuple[str, ...]:
    """All files that it reads."""
    return self.tars + self.manifests

  def entries(self) -> Iterator[Good | Bad]:
    """Reads the members that lines name; the position is the line, from 1."""
    if self.takes_rest:
      for line in self._lines(None):
        yield self._bad(line, line.problem or _no_shard(line), 0.0)
    for index, path in enumerate(self.tars):
      waiting: dict[str, list[_Line]] = {}
      for line in self._lines(_number_of(path)):
        waiting.setdefault(_member_of(line.values), []).append(line)
      size = max(1, storage.size_of(path))
      damage = ""
      with storage.open_read(path) as file:
        stream = cast(io.BufferedIOBase, file)
        for member in read_members(stream, functools.partial(_limit_of, wanted=waiting.keys())):
          done = (index + min(1.0, file.tell() / size)) / len(self.tars)
          if isinstance(member, Damage):
            damage = f"{os.path.basename(path)}: {member.reason}; copy the file again"
            break
          for line in waiting.pop(_stem(member.name)):
            yield self._entry(line, member, done)
          if member.content is not None:
            member.content.close()
      reason = damage or f"{os.path.basename(path)} has no such member; build the tar files again"
      for line in itertools.chain.from_iterable(waiting.values()):
        yield self._bad(line, RecordError(reason), (index + 1) / len(self.tars))

  def _lines(self, number: int | None) -> Iterator[_Line]:
    """The lines of a tar file; None: those of no tar file that is there."""
    for path in self.manifests:
      for line in read_lines(path):
        try:
          values, problem = parse_line(line), None
        except RecordError as error:
          values, problem = {}, error
        shard = values.get("shard_id")
        known = isinstance(shard, int) and shard in self.numbers and bool(_member_of(values))
        if shard == number if known else number is None:
          yield _Line(file=path, number=line.number, values=values, problem=problem)

  def _entry(self, line: _Line, member: Member, done: float) -> Good | Bad:
    try:
      record = self._read(line, member)
    except RecordError as error:
      return self._bad(line, error, done)
    return Good(file=line.file, position=line.number, done=done, record=record)

  def _read(self, line: _Line, member: Member) -> Record:
    names = choose_names(line.values, self.options)
    fields = read_fields(line.values, names, self._id_of(line), self.options)
    if member.problem:
      raise RecordError(f"'{member.name[:100]}' {member.problem}")
    assert member.content is not None
    member.content.seek(0)
    try:
      return fields.with_audio(read_audio(member.content, **part_of(line.values)))
    except AudioError as error:
      raise RecordError(str(error), fields.sample_id) from error

  def _bad(self, line: _Line, error: RecordError, done: float) -> Bad:
    return Bad(
      file=line.file,
      position=line.number,
      done=done,
      sample_id=error.sample_id or self._id_of(line),
      reason=str(error),
    )

  def _id_of(self, line: _Line) -> str:
    """The id, or the member's name with the number of its tar file, in which alone it is unique."""
    own = value_of(line.values, choose_names(line.values, self.options), "id")
    name = _path_in(line.values)
    return str(own) if own else f"{line.values['shard_id']}/{name}" if name else ""


def find_files(source: str, split: str | None) -> list[str]:
  """The manifests of a data set, and behind them its tar files.

  Args:
    source: its folder, or the manifest in it.
    split: does not count: a data set is of one.

  Raises:
    ValueError: one of both is missing.
  """
  del split
  folder = os.path.dirname(source) if storage.is_file(source) else source.rstrip("/")
  tars = [path for path in storage.find_below(folder, "*.tar") if _TAR.fullmatch(path)]
  tars.sort(key=_number_of)
  if storage.is_file(source):
    manifests = [source]
  elif storage.is_file(storage.join(folder, _WHOLE)):
    manifests = [storage.join(folder, _WHOLE)]
  else:
    found = {path for name in _MANIFESTS for path in storage.find_below(folder, name)}
    manifests = sorted(found) or storage.find_below(folder, _SHARDED)
  if not tars or not manifests:
    raise ValueError(
      f"{source}: {len(manifests)} manifests and {len(tars)} numbered tar files, expected {_WHOLE} "
      "and audio_0.tar, audio_1.tar, ... in one folder; check the path"
    )
  return manifests + tars


def open_files(files: list[str], options: SourceOptions) -> list[NemoShard]:
  """A shard for each tar file, or `options.shards` of them all.

  Raises:
    ValueError: fewer files than `options.shards`, or two of one number.
  """
  tars = [path for path in files if path.endswith(".tar")]
  numbers = tuple(map(_number_of, tars))
  if len(set(numbers)) < len(tars):
    raise ValueError(f"{tars[0]}: two tar files of one number beside it; move one set away")
  return [
    NemoShard(
      tars=group,
      manifests=tuple(path for path in files if path not in tars),
      takes_rest=index == 0,
      numbers=numbers,
      options=options,
    )
    for index, group in enumerate(group_files(tars, options.shards))
  ]


def _number_of(path: str) -> int:
  match = _TAR.fullmatch(os.path.basename(path))
  assert match, path
  return int(match[1])


def _no_shard(line: _Line) -> RecordError:
  shard = line.values.get("shard_id")
  if not isinstance(shard, int):
    return RecordError(f"'shard_id' is {shard!r:.40}, expected the number of a tar file")
  if not _member_of(line.values):
    return RecordError("no 'audio_filepath': expected the name of a member")
  return RecordError(f"there is no tar file of the number {shard}; copy it")


def _path_in(values: Mapping[str, Any]) -> str:
  path = value_of(values, choose_names(values, SourceOptions()), "audio")
  return path if isinstance(path, str) else ""


def _member_of(values: Mapping[str, Any]) -> str:
  """Returns the name of the member that a line names, without its suffix."""
  return _PART.sub("", _stem(_path_in(values)))


def _stem(path: str) -> str:
  return os.path.splitext(os.path.basename(path))[0]


def _limit_of(name: str, wanted: Any) -> int | None:
  return MAX_AUDIO if _stem(name) in wanted else None
