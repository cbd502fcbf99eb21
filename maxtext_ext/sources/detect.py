"""Format detection, by file names and the first bytes of the files."""

import dataclasses
import json
import os
import re
from collections.abc import Callable, Sequence
from typing import Any

from maxtext_ext.files import storage
from maxtext_ext.records.manifest import SHARD_SUFFIX
from maxtext_ext.records.schema import RecordError
from maxtext_ext.sources.lines import read_lines
from maxtext_ext.sources.splits import describe_names

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*(@[^:@#]+)?(:[^:/#]+)?(#[\w.-]+)?")
_COMPRESSED = r"(\.(gz|bz2|xz|zst))?$"
_JSON = re.compile(r"\.(jsonl|json|ndjson)" + _COMPRESSED)
_TABLE = re.compile(r"\.(csv|tsv)" + _COMPRESSED)
_TAR = re.compile(r"\.(tar|tgz|tbz2?|txz)" + _COMPRESSED)
_SOUND = re.compile(r"\.(wav|flac|mp3|ogg|oga|opus|m4a|aac|webm|mp4|mkv|mka|aiff?|sph|au)$")
_NUMBERED_TAR = re.compile(r"\d+\.tar$")
_LIBRISPEECH = re.compile(r"(train|dev|test)-(clean|other)(-\d+)?\.(tar|tar\.gz|tgz)")
_METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")


def detect_format(source: str) -> str:
  """Tells the format of a source.

  Args:
    source: a file, a folder, a glob, or a data set of the Hugging Face hub.

  Returns:
    A key of SOURCES.

  Raises:
    ValueError: nothing is there, or it looks like none of the formats or like several.
  """
  if source.startswith("hf://") or _is_hub_id(source):
    return "huggingface"
  if storage.is_file(source) or not storage.exists(source):
    return _one_of(source, _of_files(storage.find_files(source, "*")))
  listing = _Listing(source)
  particular = [name for name, looks_like in _FOLDERS.items() if looks_like(listing)]
  files = listing.files()
  if any(path.endswith(SHARD_SUFFIX) for path in files):  # with the quarantine beside them
    return _one_of(source, [], files)
  return _one_of(source, particular or _of_files(files), files or listing.folders())


def _is_hub_id(source: str) -> bool:
  """Returns whether it is org/name, or a folder and behind it a split of it."""
  if storage.exists(source) or re.search(r"[*?\[]", source):
    return False
  return bool(_HUB_ID.fullmatch(source)) or os.path.exists(source.partition("#")[0])


def _one_of(source: str, formats: Sequence[str], files: Sequence[str] = ()) -> str:
  if len(formats) == 1:
    return formats[0]
  seen = f" ({describe_names(files)})" if files else ""
  if formats:
    choices = " or ".join(f"--from {name}" for name in formats)
    raise ValueError(f"{source}{seen} looks like {' and '.join(formats)}; say which: {choices}")
  raise ValueError(f"{source}{seen}: no format is known by such names; {_remedy(source, files)}")


def _remedy(source: str, files: Sequence[str]) -> str:
  """Suggests what to do about a source whose format cannot be told."""
  files = files or [source]
  if any(path.endswith(SHARD_SUFFIX) for path in files):
    return "its shards are converted already: training takes their folder as data_dir"
  if all(_SOUND.search(path.lower()) for path in files):
    return (
      "sound needs a file that says what is spoken, a line of JSON a recording: "
      '{"audio": "clips/1.wav", "text": "..."}'
    )
  return "give --from, one of those in `maxtext-ext data convert --help`, or the folder below it"


@dataclasses.dataclass(frozen=True)
class _Listing:
  """Content of a folder."""

  folder: str

  def files(self) -> list[str]:
    """The files right in it."""
    return [path for path in storage.list_folder(self.folder) if storage.is_file(path)]

  def folders(self) -> list[str]:
    """The folders right in it that hold something, each with a slash."""
    below = {os.path.dirname(path) for path in self.find("*/*")}
    return sorted(os.path.basename(folder) for folder in below)

  def has(self, *patterns: str) -> bool:
    """Returns whether it holds a file of each pattern, which may include subfolders."""
    return all(self.find(pattern) for pattern in patterns)

  def find(self, pattern: str) -> list[str]:
    """The files of a pattern."""
    return storage.find_below(self.folder, pattern)


def _looks_like_arrow(seen: _Listing) -> bool:
  return seen.has("dataset_dict.json") or seen.has("*.arrow") or seen.has("state.json")


def _looks_like_tfds(seen: _Listing) -> bool:
  return seen.has("features.json", "*.tfrecord*")


def _looks_like_kaldi(seen: _Listing) -> bool:
  return seen.has("wav.scp") or seen.has("*/wav.scp")


def _looks_like_shar(seen: _Listing) -> bool:
  return seen.has("cuts*.jsonl*", "recording*.tar*")


def _looks_like_lhotse(seen: _Listing) -> bool:
  if _looks_like_shar(seen):
    return False
  return seen.has("*cuts*.jsonl*") or seen.has("*recordings*.jsonl*", "*supervisions*.jsonl*")


def _looks_like_nemo(seen: _Listing) -> bool:
  manifests = [path for path in seen.files() if _JSON.search(path)]
  return any(_NUMBERED_TAR.search(path) for path in seen.files()) and any(
    "shard_id" in _first_object(path) for path in manifests
  )


def _looks_like_audiofolder(seen: _Listing) -> bool:
  return any(seen.has(name) or seen.has(f"*/{name}") for name in _METADATA)


def _looks_like_huggingface(seen: _Listing) -> bool:
  return not seen.has("*.parquet") and (seen.has("*/*.parquet") or seen.has("*/*/*.parquet"))


def _looks_like_gigaspeech(seen: _Listing) -> bool:
  return seen.has("audio/*_files*/*_chunks_*.tar*") or seen.has(
    "data/audio/*_files*/*_chunks_*.tar*"
  )


# Those of several files with names of their own.
_FOLDERS: dict[str, Callable[[_Listing], bool]] = {
  "arrow": _looks_like_arrow,
  "tfds": _looks_like_tfds,
  "kaldi": _looks_like_kaldi,
  "shar": _looks_like_shar,
  "lhotse": _looks_like_lhotse,
  "nemo": _looks_like_nemo,
  "audiofolder": _looks_like_audiofolder,
  "huggingface": _looks_like_huggingface,
  "gigaspeech": _looks_like_gigaspeech,
}


def _of_files(files: Sequence[str]) -> list[str]:
  """The formats of files, each once; those of unknown names do not count."""
  found = {name: path for path in files if (name := _by_name(path))}
  if not found and len(files) == 1:
    return [name] if (name := _by_content(files[0])) else []
  return [_REFINED[name](path) if name in _REFINED else name for name, path in found.items()]


def _by_name(path: str) -> str | None:
  name = os.path.basename(path).lower()
  if name in ("dataset_info.json", "state.json", "features.json", "dataset_infos.json"):
    return None
  if name.endswith(".parquet"):
    return "parquet"
  if name.endswith(".arrow"):
    return "arrow"
  if ".tfrecord" in name:
    return "tfrecord"
  if _LIBRISPEECH.fullmatch(name):
    return "librispeech"
  for form, pattern in (("jsonl", _JSON), ("csv", _TABLE), ("tar", _TAR)):
    if pattern.search(name):
      return form
  return None


def _by_content(path: str) -> str | None:
  with storage.open_read(path) as file:
    head = file.read(512)
  if head.startswith(b"PAR1"):
    return "parquet"
  if head[257:262] == b"ustar":
    return "tar"
  return _refine_json(path) if _first_object(path) else None


def _refine_json(path: str) -> str:
  """Distinguishes JSON lines of a manifest from cuts of Lhotse."""
  first = _first_object(path)
  is_cut = str(first.get("type", "")).endswith("Cut") or any(
    keys.issubset(first) for keys in ({"recording", "supervisions"}, {"recording_id", "start"})
  )
  if "shard_id" in first and not is_cut:
    folder = _Listing(os.path.dirname(path) or ".")
    return "nemo" if any(_NUMBERED_TAR.search(each) for each in folder.files()) else "jsonl"
  return "lhotse" if is_cut else "jsonl"


def _refine_tfrecord(path: str) -> str:
  """Distinguishes the project's schema, whose records have an id, from TFDS."""
  from maxtext_ext.records.schema import feature_names
  from maxtext_ext.sources.tfrecord import read_tfrecord

  for _, data in read_tfrecord(path, on_error=lambda *_: None):
    names = feature_names(data)
    return "tfrecord" if "sample_id" in names or not names else "tfds"
  return "tfrecord"


_REFINED = {"jsonl": _refine_json, "tfrecord": _refine_tfrecord}


def _first_object(path: str) -> dict[str, Any]:
  """Parses the first line as JSON; empty where it is not."""
  for line in read_lines(path):
    try:
      content = json.loads(line.text())
    except (RecordError, ValueError, RecursionError):
      return {}
    return content if isinstance(content, dict) else {}
  return {}
