"""Folders of conversions, filled under a temporary name, and the files beside the tensors."""

import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from etils import epath

from maxtext_ext import bridge
from maxtext_ext.checkpoint import config_schema, model_file
from maxtext_ext.checkpoint.keymap import Family
from maxtext_ext.checkpoint.tensor_plan import Record
from maxtext_ext.escape import printable
from maxtext_ext.files import foreign_folder, foreign_json, storage
from maxtext_ext.keys.yml import MODEL_FILE
from maxtext_ext.text import tokenizer_files
from maxtext_ext.text.tokenizer import count_entries

CONFIG = "config.json"
HF_FOLDER = "hf"
RECORD = "conversion.json"
PARTIAL = ".partial"  # what the folder's name ends in until it is whole

# They lie beside model.yml, so that the folder is a `tokenizer_path`.
TOKENIZER_FILES = model_file.TOKENIZER_FILES
PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
_OBJECT_FILES = ("generation_config.json", "chat_template.json")
ProcessorFiles = Callable[[Mapping[str, Any]], Mapping[str, Any]]
# Of the others those that configure something: generation, processor, chat template.
_SIDE_SUFFIXES = (".json", ".jinja", ".txt")
_PARENTS_SEARCHED = 4  # from the items of a step up to the folder of a run


def find_source(source: str) -> str:
  """The folder of a checkpoint: as given, or downloaded from the hub (and kept in its cache).

  Raises:
    ValueError: there is no such folder, and no such id.
  """
  if epath.Path(source).exists():
    return source
  if source.count("/") != 1 or source.startswith((".", "/", "~")):
    raise ValueError(f"{source}: no such folder, and no id of the hub such as Qwen/Qwen3-ASR-0.6B")
  import huggingface_hub
  from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

  patterns = ["*.safetensors", *(f"*{suffix}" for suffix in _SIDE_SUFFIXES)]
  try:
    return huggingface_hub.snapshot_download(source, allow_patterns=patterns)
  except (HfHubHTTPError, LocalEntryNotFoundError) as error:
    raise ValueError(
      f"{source}: no such folder, and the hub does not give it: {str(error).splitlines()[0]}"
    ) from error


@contextmanager
def new_folder(path: str, *, local: bool = False) -> Iterator[str]:
  """Yields a folder to fill; it is renamed to `path` at the end, or removed after an error.

  A process that is killed leaves `{path}.partial`, which the next one removes. A URL is filled in
  place, since object stores cannot rename; the file that completes it is written last.

  Args:
    local: what is to be filled must be on this machine; for a URL it is copied there at the end,
      every config.json last.

  Raises:
    ValueError: there is something at `path`.
  """
  path = bridge.absolute(path).rstrip("/")
  target = epath.Path(path)
  if target.exists() and any(target.iterdir()):
    raise ValueError(f"{path} is there already; remove it, or give another folder")
  if "://" in path and local:
    with tempfile.TemporaryDirectory() as scratch:
      yield scratch
      files = [file for file in pathlib.Path(scratch).rglob("*") if file.is_file()]
      for file in sorted(files, key=lambda file: file.name == CONFIG):
        copy = target / file.relative_to(scratch).as_posix()
        copy.parent.mkdir(parents=True, exist_ok=True)
        epath.Path(file).copy(copy)
    return
  if "://" in path:
    yield path
    return
  partial = path + PARTIAL
  shutil.rmtree(partial, ignore_errors=True)
  os.makedirs(partial)
  try:
    yield partial
  except BaseException:
    shutil.rmtree(partial, ignore_errors=True)
    raise
  if target.exists():
    target.rmdir()  # empty
  os.rename(partial, path)


def read_json(folder: str, name: str) -> dict[str, Any]:
  """The object in a JSON file of a folder.

  Raises:
    ValueError: it is not there or holds something else.
  """
  file = foreign_folder.find(folder, name)
  if file is None:
    raise ValueError(f"{epath.Path(folder) / name} is not there; expected a checkpoint's folder")
  return foreign_json.read_object(file)


def copy_side_files(folders: Mapping[str, str], family: Family, target: str) -> None:
  """Copies the tokenizer and the configuration files into a converted checkpoint.

  Args:
    folders: of the sources, by name.
  """
  hf = epath.Path(target) / HF_FOLDER
  for name, source in folders.items():
    beside = hf / name if name else hf
    beside.mkdir(parents=True, exist_ok=True)
    for file in side_files(source):
      of_tokenizer = file.name in TOKENIZER_FILES and family.sources[name].tokenizer
      folder = epath.Path(target) if of_tokenizer else beside
      (folder / file.name).write_bytes(file.read_bytes())


def write_record(target: str, record: Record) -> None:
  """Writes conversion.json into a converted checkpoint, beside its side files."""
  text = record.model_dump_json(indent=2) + "\n"
  (epath.Path(target) / HF_FOLDER / RECORD).write_text(text)


def write_part_config(target: str, name: str, config: Mapping[str, Any]) -> None:
  """Writes the config.json of a new part into a converted checkpoint."""
  folder = epath.Path(target) / HF_FOLDER / name
  folder.mkdir(parents=True, exist_ok=True)
  (folder / CONFIG).write_text(_dump(config))


def copy_hf_files(source: str, target: str) -> None:
  """Copies what conversion back needs from one converted checkpoint to another, if it is there."""
  folders = [(epath.Path(source) / HF_FOLDER, epath.Path(target) / HF_FOLDER)]
  while folders:
    folder, copy = folders.pop()
    if not folder.exists():
      continue
    copy.mkdir(parents=True, exist_ok=True)
    for file in side_files(os.fspath(folder)):
      (copy / file.name).write_bytes(file.read_bytes())
    folders += [(part, copy / part.name) for part in folder.iterdir() if part.is_dir()]


def check_side_files(folder: str, vocab_size: int | None) -> None:
  """Checks the files that lie beside a checkpoint's tensors.

  Args:
    vocab_size: rows of the model's embedding; None: its tokenizer is not the model's.

  Raises:
    ValueError: one is damaged, too large or no regular file of the folder, describes another sound
      front end than ours, or the tokenizer has more entries than the model.
  """
  for file in side_files(folder):
    limits = foreign_json.TOKENIZER if file.name in TOKENIZER_FILES else foreign_json.CONFIG
    data = foreign_json.read_bytes(file, limits)
    if file.suffix == ".json":
      _check_content(file, foreign_json.parse(data, str(file), limits))
  if vocab_size is None or not tokenizer_files.is_in(folder):
    return
  if (entries := count_entries(folder)) > vocab_size:
    raise ValueError(
      f"{folder}: its tokenizer has {entries} entries, its {CONFIG} vocab_size={vocab_size}; take"
      " the tokenizer that belongs to the model"
    )


def _check_content(file: epath.Path, content: Any) -> None:
  if file.name in PROCESSOR_FILES:
    extractor = foreign_json.expect_object(content, str(file)).get("feature_extractor", content)
    foreign_json.check(config_schema.FrontEnd, extractor, str(file))
  elif file.name in (*TOKENIZER_FILES, *_OBJECT_FILES):
    foreign_json.expect_object(content, str(file))


def side_files(folder: str) -> list[epath.Path]:
  """The files of a checkpoint's folder beside its tensors."""
  files = foreign_folder.list_files(folder, _SIDE_SUFFIXES)
  return [file for file in files if not file.name.endswith(".index.json")]


def write_model(target: str, model: Mapping[str, Any], source: str) -> None:
  """Writes model.yml; with it the folder can be a `model_name`."""
  text = f"# The shape of {printable(source)}.\n" + model_file.dump_model(model)
  (epath.Path(target) / MODEL_FILE).write_text(text)


def find_base(path: str) -> str:
  """The converted checkpoint that `path` is or lies in.

  Raises:
    ValueError: it is none.
  """
  folder = epath.Path(path)
  # Nothing is ours above a bucket, and below the root epath takes /hf/... for hf://...
  highest = 3 if storage.is_url(path) else 2  # parts: ("/", "gs", "bucket"), ("/", "data")
  for _ in range(_PARENTS_SEARCHED):
    if len(folder.parts) < highest:
      break
    if (folder / HF_FOLDER / RECORD).exists():
      return os.fspath(folder)
    folder = folder.parent
  raise ValueError(
    f"{path}: no {HF_FOLDER}/{RECORD} there, which conversion to MaxText writes; give the converted"
    " checkpoint that the run started from with --base"
  )


def copy_back(
  base: str,
  target: str,
  hf_config: Mapping[str, Any],
  processor: ProcessorFiles | None,
  *,
  part: str = "",
  tokenizer: bool = True,
) -> None:
  """Writes config.json, and copies the tokenizer and the other files beside it.

  Args:
    processor: converted contents of the processor's files; None: copy them like the others.
    part: of a model of several; "" where it is one.
    tokenizer: whether the model's tokenizer belongs there.
  """
  (epath.Path(target) / CONFIG).write_text(_dump(hf_config))
  hf = epath.Path(base) / HF_FOLDER
  hf = hf / part if part else hf
  names = TOKENIZER_FILES if tokenizer else ()
  found = [foreign_folder.find(base, name) for name in names]
  files = [file for file in (*found, *side_files(os.fspath(hf))) if file is not None]
  changed = () if processor is None else PROCESSOR_FILES
  for file in files:
    if file.name not in (CONFIG, RECORD, *changed):
      (epath.Path(target) / file.name).write_bytes(file.read_bytes())
  if processor is not None:
    given = {name: read_json(os.fspath(hf), name) for name in changed if (hf / name).exists()}
    for name, content in processor(given).items():
      (epath.Path(target) / name).write_text(_dump(content))


def _dump(content: Mapping[str, Any]) -> str:
  return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
