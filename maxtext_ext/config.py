"""SpeechConfig: the project's keys on top of MaxText's, and `load`, which reads a configuration.

Order, later ones win: `configs/speech.yml` -> `configs/models/{model_name}.yml` -> the experiment's
yml -> `key=value` on the command line -> `M_KEY` environment variables.
"""

import difflib
import glob
import os
import pathlib
from collections.abc import Sequence
from typing import Any, Literal, Self

import omegaconf
import pydantic
import yaml
from omegaconf import OmegaConf
from pydantic import Field

from maxtext_ext import bridge
from maxtext_ext.checkpoint.training import find_weights
from maxtext_ext.run_identity import CHANGEABLE
from maxtext_ext.text.normalize import NORMALIZERS, get_normalizer
from maxtext_ext.train import parts

BASE_CONFIG = "base_config"
# A model's shape, beside its weights: what conversion and training write.
MODEL_FILE = "model.yml"
# The key that tells a speech configuration from one of MaxText's own.
SPEECH_KEY = "speech_encoder"


class ConfigError(ValueError):
  """A configuration that cannot be used; one line that says what, got, expected and remedy."""


class MixtureEntry(pydantic.BaseModel):
  """One dataset of `mixture`."""

  model_config = pydantic.ConfigDict(extra="forbid")

  name: str = Field(description="By which its epochs and dropped records are counted.")
  data_dir: str = Field(description="Folder of {split}-*.array_record files.")
  split: str = Field("", description="The split to train on; default: train_split.")
  weight: float = Field(1.0, gt=0, description="How much more often than its length tells.")


_Range = tuple[float, float]


class SpeechConfig(bridge.MaxTextConfig):
  """MaxText's configuration widened by what speech needs.

  The encoder's shape uses MaxText's own `*_for_audio` keys, the language model's shape MaxText's
  `base_*` keys; `max_target_length` is L, the token slots of a packed row.
  """

  model_name: str = Field(
    "default",
    description="A file of configs/models, without .yml; or a model.yml, or its folder.",
  )
  # Model
  speech_encoder: str = Field("qwen3_audio", description="A key of models.encoders.ENCODERS.")
  embedding_init_std: float = Field(0.02, gt=0, description="Of a token embedding made new.")
  # LoRA
  lora_rank: int = Field(0, ge=0, description="Rank of the adapters; 0: train every weight.")
  lora_alpha: float = Field(32.0, gt=0, description="An update counts lora_alpha / lora_rank.")
  lora_targets: list[str] = Field(
    ["attention", "ffn"], description="Keys of models.lora.TARGETS, or regexes of kernel names."
  )
  lora_dropout: float = Field(
    0.0, ge=0, lt=1, description="Share of an adapter's input that is dropped in training."
  )
  # What trains
  train_parts: dict[str, float] = Field(
    {},
    description=(
      f"Learning rates of the parts that train, of {', '.join(parts.PARTS)}; 0: frozen, as those"
      " not named. Empty: everything, or with lora_rank the adapters, at learning_rate."
    ),
  )
  router_aux_loss_coef: float = Field(
    0.0, ge=0, description="Weight of the loss that keeps all experts in use, if the router trains."
  )
  # Data
  data_dir: str = Field("", description="Folder of {split}-*.array_record files.")
  mixture: list[MixtureEntry] = Field(
    [], description="Datasets to train on instead of data_dir: name, data_dir, split, weight."
  )
  mixture_temperature: float = Field(
    1.0,
    gt=0,
    description="n records count weight * n^(1/temperature): 1 by length, high all alike.",
  )
  windows_per_row: int = Field(0, ge=0, description="8 s windows of a row; 0: from the data.")
  min_seconds: float = Field(0.0, ge=0, description="Shorter clips are dropped and counted.")
  max_seconds: float = Field(30.0, gt=0, description="Longer clips are dropped and counted.")
  min_characters: int = Field(0, ge=0, description="Shorter texts are dropped and counted.")
  max_characters: int = Field(0, ge=0, description="Longer texts are dropped; 0: none.")
  min_characters_per_second: float = Field(0.0, ge=0, description="Sparser texts are dropped.")
  max_characters_per_second: float = Field(
    0.0, ge=0, description="Denser texts are dropped; 0: none."
  )
  max_bad_fraction: float = Field(
    0.01, ge=0, le=1, description="More unusable records than this among those read are an error."
  )
  packing_lookahead: int = Field(512, ge=1, description="Records among which a row chooses.")
  audio_dtype: Literal["float32", "int16"] = Field(
    "int16", description="Samples on their way to the device; int16 halves the traffic."
  )
  language_in_prompt: bool = Field(
    False, description="Give the language in the prompt instead of training the model to say it."
  )
  context: str = Field("", description="Text of the system message, such as names to expect.")
  spec_augment_mels: int = Field(0, ge=0, description="Widest masked band of mel bins; 0: off.")
  spec_augment_frames: int = Field(0, ge=0, description="Widest masked span, 10 ms; 0: off.")
  speed_range: _Range = Field((1.0, 1.0), description="Factors of speed, such as [0.9, 1.1].")
  gain_db: _Range = Field((0.0, 0.0), description="Factors of loudness in dB, such as [-6, 6].")
  noise_dir: str = Field("", description="Local folder of sounds in which nobody speaks.")
  noise_snr_db: _Range = Field((5.0, 30.0), description="Power of a clip over its noise, dB.")
  noise_probability: float = Field(0.0, ge=0, le=1, description="Of a clip to get noise.")
  rir_dir: str = Field("", description="Local folder of room impulse responses.")
  rir_probability: float = Field(0.0, ge=0, le=1, description="Of a clip to be put into a room.")
  noise_only_rate: float = Field(
    0.0, ge=0, lt=1, description="Share of clips that are noise alone, to be answered with nothing."
  )
  noise_only_seconds: _Range = Field((1.0, 10.0), description="Lengths of those clips.")
  curriculum: list[tuple[float, int]] = Field(
    [], description="[until this fraction of the steps, only texts of at most so many words]."
  )
  # Evaluation on eval_split, every eval_interval steps of training and at its end
  eval_clips: int = Field(
    500, ge=0, description="Clips that are transcribed at each, always the same; 0: the loss alone."
  )
  eval_samples: int = Field(
    20, ge=0, description="Of these, so many go to TensorBoard and to samples.jsonl to be read."
  )
  normalizer: str = Field(
    "basic", description=f"Of both sides before scoring: {', '.join(NORMALIZERS)}."
  )
  early_stopping_patience: int = Field(
    0, ge=0, description="The run ends after so many without a lower eval/wer; 0: it never does."
  )
  # Decoding
  split: str = Field("test", description="The split to decode.")
  output: str = Field("", description="Folder of hypotheses; default: {run}/decoded/{split}.")
  decode_checkpoint: str = Field(
    "best",
    description=(
      "best (the lowest eval/wer), latest or a step of the run, base: load_parameters_path, or"
      " untrained: as drawn."
    ),
  )
  decode_rows: int = Field(32, ge=1, description="Clips decoded together on one device.")
  max_new_tokens: int = Field(512, ge=1, description="Longest transcript, in tokens.")
  # Length of a run
  epochs: float = Field(
    0.0, ge=0, description="Passes over the data; 0, or steps given after it: so many steps."
  )
  # Survival
  accept_changes: list[str] = Field(
    [],
    description="Of the keys that make a run what it is, those that may change when it goes on.",
  )
  on_oom: Literal["fail", "shrink"] = Field(
    "shrink", description="Out of memory: go on with the same batches in smaller pieces, or fail."
  )
  # Terminal
  verbose: bool = Field(False, description="Show MaxText's and Orbax's information lines.")

  @pydantic.model_validator(mode="after")
  def _check_together(self) -> Self:
    parts.check(self.train_parts, lora_rank=self.lora_rank, num_experts=self.num_experts)
    if self.router_aux_loss_coef and (
      self.num_experts <= 1 or parts.ROUTER not in parts.rates(self)
    ):
      raise ValueError(
        f"router_aux_loss_coef={self.router_aux_loss_coef}, and no router trains: give 0, or train"
        " the router of a model with experts"
      )
    if self.load_balance_loss_weight:
      raise ValueError(
        f"load_balance_loss_weight={self.load_balance_loss_weight} would count padding as tokens:"
        " give router_aux_loss_coef instead, which is num_experts_per_tok times as strong"
      )
    get_normalizer(self.normalizer)
    if self.early_stopping_patience and not (self.eval_interval > 0 and self.eval_clips):
      raise ValueError(
        f"early_stopping_patience={self.early_stopping_patience} counts evaluations with"
        " transcripts, and there are none: give eval_interval and eval_clips above 0"
      )
    if self.attention.startswith("cudnn_flash"):
      raise ValueError(
        f"attention={self.attention} does not keep the clips of a row apart: give autoselected or"
        " dot_product"
      )
    if unknown := sorted(set(self.accept_changes) - set(CHANGEABLE)):
      raise ValueError(
        f"accept_changes: {', '.join(unknown)} cannot change within a run; those that can are"
        f" {', '.join(CHANGEABLE)}"
      )
    if self.lora_dropout and not self.lora_rank:
      raise ValueError(f"lora_dropout={self.lora_dropout} without adapters: give lora_rank too")
    return self


def package_configs() -> pathlib.Path:
  """The folder of the yml files: in the repository, or inside an installed package."""
  here = pathlib.Path(__file__).parent
  beside, inside = here.parent / "configs", here / "configs"
  return beside if (beside / "speech.yml").is_file() else inside


def resolve(path: str) -> str:
  """The file that `path` names: as given, or `configs/...` of this package from any folder.

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
    f" {', '.join(_experiments())}"
  )


def _experiments() -> list[str]:
  files = glob.glob(str(package_configs() / "experiments" / "*.yml"))
  return sorted(f"configs/experiments/{os.path.basename(file)}" for file in files)


def _read_yaml(path: str) -> dict[str, Any]:
  try:
    loaded = OmegaConf.load(path)
  except (OSError, ValueError) as error:
    raise ConfigError(f"{path} cannot be read: {_first_line(error)}") from error
  except yaml.YAMLError as error:
    raise ConfigError(f"{path} is not yaml: {' '.join(str(error).split())}") from error
  if not isinstance(loaded, omegaconf.DictConfig):
    raise ConfigError(f"{path} holds a list, expected `key: value` lines")
  return dict(OmegaConf.to_container(loaded, resolve=False))


def read_chain(path: str) -> list[tuple[str, dict[str, Any]]]:
  """The files that `path` stands on through `base_config`, base first, with their own keys.

  Raises:
    ConfigError: for a missing or unreadable file, or a file that stands on itself.
  """
  chain: list[tuple[str, dict[str, Any]]] = []
  seen: set[str] = set()
  current: str | None = resolve(path)
  while current is not None:
    if (real := os.path.realpath(current)) in seen:
      raise ConfigError(f"{current} stands on itself through {BASE_CONFIG}")
    seen.add(real)
    keys = _read_yaml(current)
    base = keys.pop(BASE_CONFIG, None)
    chain.insert(0, (current, keys))
    current = None if base is None else _find_base(str(base), chain[0][0])
  return chain


def _find_base(base: str, child: str) -> str:
  places = [os.path.join(os.path.dirname(child), base)]
  places.append(os.path.join(bridge.MAXTEXT_CONFIGS_DIR, base))
  for place in places:
    if os.path.isfile(place):
      return place
  raise ConfigError(f"{child}: {BASE_CONFIG} {base} not found; looked for {', '.join(places)}")


def is_speech(path: str) -> bool:
  """Whether the configuration is one of ours (a file of its chain sets `speech_encoder`)."""
  return any(SPEECH_KEY in keys for _, keys in read_chain(path))


def load(path: str, overrides: Sequence[str] = ()) -> bridge.Config:
  """The configuration of a yml file and `key=value` strings.

  Raises:
    ConfigError: for an unknown key, a value of a wrong type, a missing file.
  """
  path = resolve(path)
  chain = read_chain(path)
  command = _parse_overrides(overrides)
  for source, keys in [*chain, ("the command line", command)]:
    _check_keys(keys, source)
  # Keys of an experiment: what the files above speech.yml (the first that is ours) set.
  first = next((i for i, (_, keys) in enumerate(chain) if SPEECH_KEY in keys), None)
  if first is None:
    raise ConfigError(f"{path} sets no {SPEECH_KEY}: give `base_config: ../speech.yml`")
  experiment = {k: v for _, keys in chain[first + 1 :] for k, v in keys.items()}
  asked = {**chain[first][1], **experiment, **command}
  name = os.environ.get("M_MODEL_NAME", asked.get("model_name", "default"))
  model = {}
  if name != "default":
    model_file = _find_model(str(name), path)
    model = _read_yaml(model_file)
    _check_keys(model, model_file)
    if os.path.basename(model_file) == MODEL_FILE and not asked.get("tokenizer_path"):
      model["tokenizer_path"] = os.path.dirname(model_file)
  # MaxText lets the model's file win over the experiment's; here the experiment wins, and the
  # model's file is found wherever the experiment lies.
  settled = {**model, **{k: v for k, v in experiment.items() if k in model}}
  settled.update(_machine(asked))
  # A number of steps that was said after the epochs, or nearer to the run, counts instead of them.
  layers = [*(keys for _, keys in chain[first:]), command]
  last = next((keys for keys in reversed(layers) if keys.keys() & {"steps", "epochs"}), {})
  if "epochs" not in last or _env("steps") in os.environ:
    settled["epochs"] = 0.0
  if not asked.get("run_name"):
    settled["run_name"] = pathlib.PurePath(path).stem
  settled = {k: v for k, v in settled.items() if k not in command and _env(k) not in os.environ}
  for key in command:
    if _env(key) in os.environ:
      raise ConfigError(f"{key} is given on the command line and as {_env(key)}: give it once")
  bridge.quiet(bool(asked.get("verbose", False)))
  try:
    config = bridge.initialize(path, list(overrides), SpeechConfig, settled)
  except pydantic.ValidationError as error:
    raise ConfigError(_describe(error)) from error
  except (ValueError, TypeError) as error:
    raise ConfigError(_first_line(error)) from error
  if not config.load_parameters_path:
    return config
  weights = bridge.absolute(find_weights(config.load_parameters_path))
  return bridge.replace(config, load_parameters_path=weights)


def given(path: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
  """Keys as files, command line and environment give them; `hardware` is found out if it is auto.

  For what must be known before `load`, which asks for the devices.

  Raises:
    ConfigError: for an unknown key or a missing file.
  """
  keys: dict[str, Any] = {}
  for source, own in [*read_chain(path), ("the command line", _parse_overrides(overrides))]:
    _check_keys(own, source)
    keys |= own
  keys |= {key: os.environ[_env(key)] for key in keys if _env(key) in os.environ}
  return keys | ({"hardware": _detect_hardware()} if keys["hardware"] == "auto" else {})


def _env(key: str) -> str:
  return f"M_{key.upper()}"


def _parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
  for item in overrides:
    if "=" not in item or not item.split("=", 1)[0].isidentifier():
      raise ConfigError(f"got {item!r}, expected key=value, such as steps=100")
  return dict(OmegaConf.to_container(OmegaConf.from_cli(list(overrides)), resolve=False))


def _check_keys(keys: dict[str, Any], source: str) -> None:
  known = SpeechConfig.model_fields
  for key in keys:
    if key not in known:
      near = difflib.get_close_matches(key, known, n=1)
      hint = f"; did you mean {near[0]}?" if near else ""
      raise ConfigError(f"{source}: unknown key {key}{hint}")


def _find_model(name: str, path: str) -> str:
  if os.path.isfile(beside := os.path.join(name, MODEL_FILE)):
    return beside
  if os.path.basename(name) == MODEL_FILE and os.path.isfile(name):
    return name
  folder = os.path.dirname(os.path.abspath(path))
  ours = str(package_configs())
  for place in (folder, os.path.dirname(folder), ours, bridge.MAXTEXT_CONFIGS_DIR):
    candidate = os.path.join(place, "models", f"{name}.yml")
    if os.path.isfile(candidate):
      return candidate
  if os.sep in name:
    raise ConfigError(
      f"model_name {name}: no {MODEL_FILE} in that folder; make it with `maxtext-ext convert"
      f" to-maxtext SOURCE {name}`, or name another"
    )
  known = sorted(pathlib.Path(file).stem for file in glob.glob(f"{ours}/models/*.yml"))
  raise ConfigError(f"model_name {name}: no models/{name}.yml; known here: {', '.join(known)}")


def _machine(asked: dict[str, Any]) -> dict[str, Any]:
  """MaxText's keys that say what machine this is, found out instead of asked for."""
  hardware = asked.get("hardware", "auto")
  found: dict[str, Any] = {}
  if hardware == "auto":
    hardware = found["hardware"] = _detect_hardware()
  if "skip_jax_distributed_system" not in asked:
    found["skip_jax_distributed_system"] = True  # `hosts` has done it, if there are several
  if not (asked.get("dump_hlo") or asked.get("dump_hlo_xla_flags") or os.environ.get("XLA_FLAGS")):
    # MaxText would have every run write its programs to /tmp/xla_dump, asked or not.
    found["dump_hlo_xla_flags"] = "--xla_dump_to="
  if "megablox" not in asked:
    # MaxText's own kernel for mixtures of experts; off a TPU it would be interpreted, slowly.
    found["megablox"] = hardware == "tpu"
  return found


def _detect_hardware() -> str:
  # Asking JAX would start its backend, which must not happen before jax.distributed is up.
  platforms = os.environ.get("JAX_PLATFORMS", "").split(",")[0].strip().lower()
  if platforms:
    return {"cuda": "gpu", "rocm": "gpu"}.get(platforms, platforms)
  if glob.glob("/dev/accel*") or glob.glob("/dev/vfio/[0-9]*"):
    return "tpu"
  return "gpu" if os.path.exists("/dev/nvidia0") else "cpu"


def _describe(error: pydantic.ValidationError) -> str:
  first = error.errors()[0]
  key = ".".join(str(part) for part in first["loc"])
  said = f"{key}: {first['msg']} (got {first['input']!r})" if key else first["msg"]
  more = f"; and {error.error_count() - 1} more" if error.error_count() > 1 else ""
  return f"{said.removeprefix('Value error, ')}{more}"


def _first_line(error: BaseException) -> str:
  return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
