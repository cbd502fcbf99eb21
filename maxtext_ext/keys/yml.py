"""Configuration files: search paths, `base_config` chains, and the keys of each file."""

import dataclasses
import glob
import os
import pathlib

import yaml

from maxtext_ext.files import storage
from maxtext_ext.keys.maxtext import configs_folder
from maxtext_ext.keys.values import ConfigError, parse_yaml

BASE_CONFIG = "base_config"
# A model's shape, beside its weights: what conversion and training write.
MODEL_FILE = "model.yml"
# The key that tells a speech configuration from one of MaxText's own.
SPEECH_KEY = "speech_encoder"
# A key that MaxText does not start without: its base.yml has them all.
_COMPLETE = "skip_jax_distributed_system"

Nodes = dict[str, yaml.Node]


@dataclasses.dataclass(frozen=True)
class Chain:
  """Contents of a configuration file and of those that it builds on.

  Attributes:
    path: of the configuration.
    files: paths with the keys that each sets, base first.
  """

  path: str
  files: tuple[tuple[str, Nodes], ...]

  @property
  def is_speech(self) -> bool:
    """Returns whether the configuration is ours: a file of the chain sets `speech_encoder`."""
    return any(SPEECH_KEY in keys for _, keys in self.files)

  def require_base(self) -> None:
    """Raises ConfigError for a configuration that has keys but no base configuration."""
    if len(self.files) == 1 and _COMPLETE not in self.files[0][1]:
      raise ConfigError(
        f"{self.path} has no base configuration; give it `{BASE_CONFIG}:"
        f" configs/speech.yml`, or `{BASE_CONFIG}: base.yml` for MaxText's own training on text"
      )


def package_configs() -> pathlib.Path:
  """Returns the folder of the yml files: in the repository, or inside an installed package."""
  package = pathlib.Path(__file__).parents[1]
  beside, inside = package.parent / "configs", package / "configs"
  return beside if (beside / "speech.yml").is_file() else inside


def experiments() -> list[str]:
  """Lists the experiments of the package."""
  files = glob.glob(str(package_configs() / "experiments" / "*.yml"))
  return sorted(f"configs/experiments/{os.path.basename(file)}" for file in files)


def resolve(path: str) -> str:
  """Finds the file of `path`: as written, or `configs/...` of this package from any folder.

  Raises:
    ConfigError: when there is none.
  """
  if os.path.isfile(path):
    return path
  parts = pathlib.PurePath(path).parts
  if parts[:1] == ("configs",):
    candidate = package_configs().joinpath(*parts[1:])
    if candidate.is_file():
      return str(candidate)
  raise ConfigError(
    f"configuration file {path} not found (looked in {os.getcwd()}); the package's own are:"
    f" {', '.join(experiments())}"
  )


def read_yml(path: str) -> Nodes:
  """Reads the keys of a file, with the tree of each value.

  Raises:
    ConfigError: it cannot be read, or is no `key: value` lines.
  """
  try:
    content = storage.read_bytes(path) if storage.is_url(path) else pathlib.Path(path).read_bytes()
    text = content.decode("utf-8-sig")
  except (OSError, ValueError) as error:
    raise ConfigError(f"{path} cannot be read: {error}") from error
  try:
    tree = parse_yaml(text)
  except ConfigError as error:
    raise ConfigError(f"{path} is {error}") from error
  if tree is None:
    return {}
  if not isinstance(tree, yaml.MappingNode):
    holds = "a list" if isinstance(tree, yaml.SequenceNode) else "a text"
    raise ConfigError(f"{path} holds {holds}, expected `key: value` lines")
  keys: Nodes = {}
  for name, value in tree.value:
    if not isinstance(name, yaml.ScalarNode):
      raise ConfigError(f"{path} holds a key that is no name, expected `key: value` lines")
    if name.value in keys:
      raise ConfigError(f"{path} gives {name.value} twice: give it once")
    keys[name.value] = value
  return keys


def read_chain(path: str) -> Chain:
  """Reads a configuration and the files that it builds on through `base_config`.

  Raises:
    ConfigError: for a missing or unreadable file, or a file that refers to itself.
  """
  path = resolve(path)
  files: list[tuple[str, Nodes]] = []
  seen: set[str] = set()
  current: str | None = path
  while current is not None:
    if (real := os.path.realpath(current)) in seen:
      raise ConfigError(f"{current} refers to itself through {BASE_CONFIG}")
    seen.add(real)
    keys = read_yml(current)
    base = keys.pop(BASE_CONFIG, None)
    files.insert(0, (current, keys))
    current = None if base is None else _find_base(base, current)
  return Chain(path, tuple(files))


def _find_base(node: yaml.Node, child: str) -> str:
  if not isinstance(node, yaml.ScalarNode) or not node.value:
    raise ConfigError(f"{child}: {BASE_CONFIG} is no text, expected the name of a yml file")
  places = [os.path.join(os.path.dirname(child), node.value)]
  places.append(os.path.join(configs_folder(), node.value))
  parts = pathlib.PurePath(node.value).parts
  if parts[:1] == ("configs",):  # as on the command line
    places.append(str(package_configs().joinpath(*parts[1:])))
  for place in places:
    if os.path.isfile(place):
      return place
  looked = ", ".join(places)
  raise ConfigError(f"{child}: {BASE_CONFIG} {node.value} not found; looked for {looked}")


def find_model(name: str, path: str) -> str:
  """Finds the file of a model's shape.

  Args:
    name: of a file of configs/models without its .yml, a model.yml, or a folder that holds one,
      local or a URL.
    path: the configuration that asks, beside which there may be a folder `models`.

  Raises:
    ConfigError: there is none.
  """
  if storage.is_url(name):
    return _find_remote_model(name)
  if os.path.isfile(beside := os.path.join(name, MODEL_FILE)):
    return beside
  if os.path.basename(name) == MODEL_FILE and os.path.isfile(name):
    return name
  folder = os.path.dirname(os.path.abspath(path))
  ours = str(package_configs())
  for place in (folder, os.path.dirname(folder), ours, configs_folder()):
    candidate = os.path.join(place, "models", f"{name}.yml")
    if os.path.isfile(candidate):
      return candidate
  if os.sep in name:
    raise ConfigError(
      f"model_name {name}: no {MODEL_FILE} in that folder; make it with `maxtext-ext convert"
      f" to-maxtext SOURCE {name}`, or name another"
    )
  raise ConfigError(f"model_name {name}: no models/{name}.yml; known here: {', '.join(models())}")


def _find_remote_model(url: str) -> str:
  file = url if url.endswith(f"/{MODEL_FILE}") else f"{url.rstrip('/')}/{MODEL_FILE}"
  try:
    if storage.is_file(file):
      return file
  except OSError as error:
    raise ConfigError(f"model_name {url}: {error}") from error
  raise ConfigError(
    f"model_name {url}: no {MODEL_FILE} there; expected what `maxtext-ext convert to-maxtext SOURCE"
    f" {url}` writes, or the folder of a run"
  )


def models() -> list[str]:
  """Lists the names of the package's model shapes."""
  return sorted(pathlib.Path(file).stem for file in glob.glob(f"{package_configs()}/models/*.yml"))
