"""Hugging Face datasets, on the hub or in a folder of the same layout: parquet files by split.

SOURCE is `org/name`, `org/name:config` for one of several subsets (`:*` for all),
`org/name@revision`, or a folder or URL with the same layout; add `#validation` for a split other
than train. A file or glob is read as given; with `#split`, only its files of that split. Files are
downloaded one by one into the cache of the hub, which resumes an interrupted download;
`hf://datasets/org/name` reads them remotely instead. The environment variables of huggingface_hub
apply: HF_TOKEN, HF_ENDPOINT, HF_HUB_CACHE, and HF_HUB_OFFLINE=1 to use only what is in the cache.
"""

import contextlib
import dataclasses
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import yaml

from maxtext_ext.files import storage
from maxtext_ext.sources import parquet
from maxtext_ext.sources.dataset_files import SUFFIX, choose_files, shared_folder

OPTIONS = parquet.OPTIONS
Progress = Callable[[int, int, str], None]  # files done, files in all, name of the next one

CARD = "README.md"
MAIN = "main"
# The hub converts data sets of other forms (loading scripts, tar files) to parquet by itself.
CONVERTED = "refs/convert/parquet"
_METADATA = re.compile(r"\s*---\s*\n(.*?)\n---", re.DOTALL)
_SOURCE = re.compile(r"(?P<base>.+?)(:(?P<config>[^:/#]+))?(#(?P<split>[\w.-]+))?")
_REPO = re.compile(r"(?P<repo>[\w-][\w.-]*/[\w-][\w.-]*)(@(?P<revision>[^:@]+))?")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DatasetSource:
  """Data set named by `base:config#split`.

  Attributes:
    base: a folder, a file, a glob, a URL of one, or org/name@revision.
    config: one of several subsets, "*" for all of them, None where there is only one.
    split: "train", "validation", "test" or a name of the data set's own; None: "train" of a folder
      and of the hub, and all of a file or glob.
  """

  base: str
  config: str | None = None
  split: str | None = None

  @classmethod
  def parse(cls, source: str) -> Self:
    """Reads `base:config#split`, the last two of which may be missing."""
    if os.path.exists(source):  # whatever characters are in its name
      return cls(base=source)
    match = _SOURCE.fullmatch(source)
    if not match:
      raise ValueError(f"{source!r} names no data set, expected one like google/fleurs:ar_eg#test")
    return cls(**{name: value for name, value in match.groupdict().items() if value})

  def __str__(self) -> str:
    config = f":{self.config}" if self.config else ""
    split = f"#{self.split}" if self.split else ""
    return f"{self.base}{config}{split}"


open_files = parquet.open_files


def find_files(
  source: str, split: str | None = None, *, progress: Progress | None = None
) -> list[str]:
  """The parquet files of a split, sorted; those of the hub are downloaded, if they are not yet.

  Args:
    source: see above.
    split: of a source that does not name its own; None: train.
    progress: called before each download and after the last.

  Raises:
    ValueError: nothing is there, the hub does not give it, or it has no such split.
  """
  dataset = DatasetSource.parse(source)
  if re.search(r"[*?\[]", dataset.base) or storage.is_file(dataset.base):
    return _of_split(storage.find_files(dataset.base, f"*{SUFFIX}"), dataset)
  dataset = dataclasses.replace(dataset, split=dataset.split or split or "train")
  if "://" in dataset.base or os.path.isdir(dataset.base):
    return _in_folder(dataset)
  if not (repo := _REPO.fullmatch(dataset.base)):
    raise ValueError(
      f"{source}: nothing is there, and it is no id of the hub either, such as "
      "google/fleurs:ar_eg; check the path"
    )
  return _on_hub(dataset, repo["repo"], repo["revision"], progress)


def _of_split(files: list[str], dataset: DatasetSource) -> list[str]:
  if not dataset.split:
    return files
  # What the user's own folders are called says nothing of the split.
  folder = shared_folder(files)
  names = [path.removeprefix(folder) for path in files]
  chosen = choose_files(names, dataset.split, dataset.config)
  if not chosen:
    raise _no_split(dataset.base, dataset.split, names)
  return [folder + name for name in chosen]


def _in_folder(dataset: DatasetSource) -> list[str]:
  folder = dataset.base.rstrip("/")
  names = _walk(folder)
  card = _read_card(folder) if CARD in names else None
  chosen = choose_files(names, dataset.split or "train", dataset.config, card)
  if not chosen:
    raise _no_split(folder, dataset.split, names)
  return [f"{folder}/{name}" for name in chosen]


def _walk(folder: str) -> list[str]:
  if "://" in folder:
    paths = storage.find_files(f"{folder}/**", "*")
    return [path.removeprefix(f"{folder}/") for path in paths]
  return sorted(
    os.path.relpath(os.path.join(parent, name), folder)
    for parent, _, names in storage.walk_local(folder)
    for name in names
  )


def _on_hub(
  dataset: DatasetSource, repo: str, revision: str | None, progress: Progress | None
) -> list[str]:
  from huggingface_hub import constants
  from huggingface_hub.errors import HTTPError

  revisions = (revision,) if revision else (MAIN, CONVERTED)
  seen: list[str] = []
  try:
    if constants.HF_HUB_OFFLINE:
      return _cached(dataset, repo, revisions)
    for revision in revisions:
      names, card = _list_repo(repo, revision)
      seen += names
      if chosen := choose_files(names, dataset.split or "train", dataset.config, card):
        return _download(repo, revision, chosen, has_card=CARD in names, progress=progress)
    raise _no_split(repo, dataset.split, seen)
  except (HTTPError, OSError) as error:  # of httpx, and of huggingface_hub and the disk
    reason = " ".join(str(error).split()) or type(error).__name__
    raise ValueError(
      f"{repo}: no such path, and the hub at {constants.ENDPOINT} does not give it "
      f"({reason}); check the id and the network, set HF_TOKEN where access is restricted, or "
      "HF_HUB_OFFLINE=1 for what has been downloaded"
    ) from error


def _list_repo(repo: str, revision: str) -> tuple[list[str], Mapping[str, Any]]:
  """Names of all files, and the metadata of the card."""
  from huggingface_hub import HfApi
  from huggingface_hub.errors import RevisionNotFoundError
  from huggingface_hub.hf_api import RepoFile

  api = HfApi()
  try:
    info = api.dataset_info(repo, revision=revision)
  except RevisionNotFoundError:
    if revision != CONVERTED:
      raise
    return [], {}  # the hub has not converted it
  assert info.sha
  tree = api.list_repo_tree(repo, repo_type="dataset", revision=info.sha, recursive=True)
  names = [entry.path for entry in tree if isinstance(entry, RepoFile)]
  return names, info.card_data.to_dict() if info.card_data else {}


def _download(
  repo: str, revision: str, names: list[str], *, has_card: bool, progress: Progress | None
) -> list[str]:
  from huggingface_hub import hf_hub_download

  def fetch(name: str) -> str:
    return hf_hub_download(repo, name, repo_type="dataset", revision=revision)

  if has_card:
    fetch(CARD)  # tells the splits when offline
  paths = []
  with _own_bars(progress is None):
    for done, name in enumerate(names):
      if progress:
        progress(done, len(names), name)
      paths.append(fetch(name))
  if progress:
    progress(len(names), len(names), "")
  folders = {path.removesuffix(name) for path, name in zip(paths, names, strict=True)}
  if len(folders) > 1:
    raise ValueError(
      f"{repo}: the data set was changed while it was downloaded, its files are of "
      f"{len(folders)} versions; run it again, or give a revision: {repo}@COMMIT"
    )
  return paths


@contextlib.contextmanager
def _own_bars(wanted: bool) -> Iterator[None]:
  """Returns whether huggingface_hub shows its progress by itself."""
  from huggingface_hub import utils

  if wanted or utils.are_progress_bars_disabled():
    yield
    return
  utils.disable_progress_bars()
  try:
    yield
  finally:
    utils.enable_progress_bars()


def _cached(dataset: DatasetSource, wanted: str, revisions: tuple[str, ...]) -> list[str]:
  """The same without a network, from what earlier calls have downloaded."""
  from huggingface_hub import scan_cache_dir
  from huggingface_hub.errors import CacheNotFound

  try:
    repos = scan_cache_dir().repos
  except CacheNotFound:
    repos = frozenset()
  snapshots = {
    name: str(revision.snapshot_path)
    for repo in repos
    if (repo.repo_id, repo.repo_type) == (wanted, "dataset")
    for revision in repo.revisions
    for name in (*revision.refs, revision.commit_hash)
  }
  seen: list[str] = []
  for revision in revisions:
    if folder := snapshots.get(revision):
      names = _walk(folder)
      seen += names
      card = _read_card(folder) if CARD in names else None
      if chosen := choose_files(names, dataset.split or "train", dataset.config, card):
        return [f"{folder}/{name}" for name in chosen]
  if not snapshots:
    raise ValueError(
      f"{wanted}: no such path, and not in the hub's cache either; HF_HUB_OFFLINE is set: "
      "unset it to download the data set"
    )
  raise _no_split(wanted, dataset.split, seen)


def _read_card(folder: str) -> Mapping[str, Any]:
  """The metadata at the head of a card, YAML between two lines `---`; empty if it is not that."""
  with storage.open_read(f"{folder}/{CARD}") as file:
    match = _METADATA.match(file.read().decode(errors="replace"))
  try:
    metadata = yaml.safe_load(match[1]) if match else {}
  except yaml.YAMLError:
    return {}
  return metadata if isinstance(metadata, dict) else {}


def _no_split(where: str, split: str | None, names: list[str]) -> ValueError:
  parquet = [name for name in names if name.endswith(SUFFIX)]
  got = (
    f"of {len(parquet)} parquet files, such as {parquet[:3]}, none is"
    if parquet
    else (f"none of its {len(names)} files is parquet, much less")
  )
  return ValueError(
    f"{where}: {got} of split '{split}'; give the files themselves: a path, or a glob like "
    f"'{where}/data/{split}-*{SUFFIX}'"
  )
