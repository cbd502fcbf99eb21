"""Console script `maxtext-ext`: parses options, loads modules, calls them.

Each command imports what it needs itself, so that `--help` and a mistyped option answer at once.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from maxtext_ext.cli_config import config
from maxtext_ext.cli_data import data_app
from maxtext_ext.cli_evaluate import evaluate
from maxtext_ext.cli_launch import launch_app
from maxtext_ext.cli_lm import lm_app
from maxtext_ext.cli_plan import plan
from maxtext_ext.cli_transcribe import transcribe
from maxtext_ext.errors import TRACEBACK_VARIABLE, exit_with_one_line
from maxtext_ext.escape import printable
from maxtext_ext.files.limits import raise_open_files
from maxtext_ext.version import __version__

app = typer.Typer(
  pretty_exceptions_enable=False,
  rich_markup_mode="rich",
  context_settings={"help_option_names": ["-h", "--help"]},
  epilog=f"Errors are one line; set {TRACEBACK_VARIABLE}=1 for the traceback.",
)
app.add_typer(data_app, name="data")
app.add_typer(launch_app, name="launch")
app.add_typer(lm_app, name="lm")
convert_app = typer.Typer(help="Convert checkpoints and adapters, and compare with references.")
app.add_typer(convert_app, name="convert")


def _require_yml(path: str) -> str:
  if not path.endswith(".yml"):
    raise typer.BadParameter(f"got {path!r}, expected a .yml file as the first argument")
  return path


def _complete_config(incomplete: str) -> list[str]:
  from maxtext_ext.keys.completion import complete_config

  return complete_config(incomplete)


def _complete_override(ctx: typer.Context, incomplete: str) -> list[str]:
  from maxtext_ext.keys.completion import complete_override

  return complete_override(ctx.params.get("overrides") or (), incomplete)


ConfigPath = Annotated[
  str,
  typer.Argument(
    metavar="CONFIG",
    help="A yml file, such as configs/experiments/demo.yml.",
    callback=_require_yml,
    autocompletion=_complete_config,
  ),
]
Overrides = Annotated[
  list[str] | None,
  typer.Argument(
    metavar="[KEY=VALUE]...",
    help="Keys that override the file's: steps=2000",
    autocompletion=_complete_override,
  ),
]


def _print_version(wanted: bool) -> bool:
  if wanted:
    typer.echo(__version__)
    raise typer.Exit
  return wanted


@app.callback()
def describe(
  _version: Annotated[
    bool,
    typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
  ] = False,
) -> None:
  """Speech recognition on MaxText: convert recordings, fine-tune, decode and evaluate."""


@app.command()
def train(config: ConfigPath, overrides: Overrides = None) -> None:
  """Train a model; resumes from the run's latest checkpoint.

  A configuration without speech is passed to MaxText's own trainer.
  """
  from maxtext_ext.compat import dispatch

  dispatch.train(["maxtext-ext train", config, *(overrides or [])])


@app.command()
def decode(config: ConfigPath, overrides: Overrides = None) -> None:
  """Transcribe a split, a JSONL file or a folder of sound files.

  Such as split=test, or decode_input=gs://bucket/calls output=gs://bucket/text. The same command
  continues after an interruption; several may write into one output folder.
  """
  from maxtext_ext.compat import dispatch

  dispatch.decode(["maxtext-ext decode", config, *(overrides or [])])


app.command()(config)
app.command()(plan)
app.command()(evaluate)
app.command()(transcribe)


@convert_app.callback()
def describe_convert() -> None:
  """Convert checkpoints and adapters, and compare with references."""


@convert_app.command("to-maxtext")
def convert_to_maxtext(
  source: Annotated[
    list[str],
    typer.Argument(
      help="A folder with config.json and safetensors, or a hub id; NAME=SOURCE for each of"
      " several checkpoints that form one model, and projector=KIND for a new one."
    ),
  ],
  out: Annotated[str, typer.Argument(help="New folder, local or gs://.")],
  dtype: Annotated[
    Literal["stored", "float32", "bfloat16"],
    typer.Option(help="Type of the parameters; stored: unchanged."),
  ] = "stored",
  scan_layers: Annotated[
    bool, typer.Option(help="Stack the decoder's layers, for scan_layers=true.")
  ] = True,
  allow_nonfinite: Annotated[
    bool, typer.Option("--allow-nonfinite", help="Convert NaN and infinite weights too.")
  ] = False,
) -> None:
  """Convert a Hugging Face checkpoint for training and decoding with MaxText.

  Several checkpoints, such as an encoder and a language model, may form one model. Parts that none
  of them has, such as the projector, are initialised randomly.

  Then: maxtext-ext train CONFIG model_name=OUT load_parameters_path=OUT
  """
  from maxtext_ext import preflight
  from maxtext_ext.checkpoint.families import is_kind, parse_sources

  sources = parse_sources(source)
  for name, path in sources.items():
    if not is_kind(name, path):
      preflight.require_source(path)
  from maxtext_ext.checkpoint.convert import to_maxtext

  options = {"dtype": dtype, "scanned": scan_layers, "allow_nonfinite": allow_nonfinite}
  _convert(to_maxtext, sources, out, **options)


@convert_app.command("to-hf")
def convert_to_hf(
  checkpoint: Annotated[
    str, typer.Argument(metavar="CKPT", help="A converted checkpoint, or a run trained from one.")
  ],
  out: Annotated[str, typer.Argument(help="The new folder, local or gs://.")],
  names: Annotated[
    str | None,
    typer.Option(
      help="original or native, for Qwen3-Omni also with -fused; default: as in the source."
    ),
  ] = None,
  base: Annotated[
    str | None, typer.Option(help="For a run: its converted base checkpoint.")
  ] = None,
  dtype: Annotated[
    Literal["recorded", "float32", "bfloat16"],
    typer.Option(help="Type of the tensors; recorded: as in the source checkpoint."),
  ] = "recorded",
) -> None:
  """Convert a checkpoint to Hugging Face's layout, for transformers and vLLM.

  A model that several checkpoints made gets a folder for each, and one for the adapters of a LoRA
  run.
  """
  from maxtext_ext import preflight

  preflight.require_folder(checkpoint, base)
  from maxtext_ext.checkpoint.export import to_hf

  _convert(to_hf, checkpoint, out, naming=names, base=base, dtype=dtype)


def _convert(function: Callable[..., Any], source: Any, out: str, **options: Any) -> None:
  """Calls a conversion with a progress bar, and prints its report."""
  from rich.console import Console
  from rich.progress import Progress

  from maxtext_ext.checkpoint.keymap import KeyTableError

  console = Console(stderr=True)
  with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
    task = bar.add_task("converting", total=1.0)

    def show(done: int, total: int) -> None:
      bar.update(task, completed=done, total=total)

    try:
      report = function(source, out, progress=show, **options)
    except KeyTableError as error:
      for problem in error.problems:
        typer.echo(f"  {problem}", err=True)
      raise ValueError(f"{error.summary}: the lines above; nothing was written") from error
  typer.echo(
    f"{out}: {report.family}, {report.naming} names, {report.tensors} tensors,"
    f" {report.nbytes / 1e9:.2f} GB, output head {report.head}"
  )
  for part, origin in report.origins.items():
    typer.echo(f"  {part}: {printable(origin)}")
  for name in report.skipped:
    typer.echo(f"  skipped: {printable(name)}")
  for name, count in report.nonfinite.items():
    typer.echo(f"  NaN or infinite: {count} in {printable(name)}")


@convert_app.command("merge-adapter")
def merge_lora(
  run: Annotated[str, typer.Argument(help="The folder of a LoRA run; local or a URL.")],
  out: Annotated[str, typer.Argument(help="New checkpoint with full weights.")],
  base: Annotated[
    str, typer.Option(help="Path of the base weights, if they were moved; it is remembered.")
  ] = "",
) -> None:
  """Merge a LoRA run's adapters into their base weights."""
  from maxtext_ext import preflight

  preflight.require_folder(run)
  from maxtext_ext.checkpoint.merge import merge_adapter

  merge_adapter(run, out, base=base)
  typer.echo(f"{out}: full weights; use it like a converted checkpoint")


@convert_app.command("export-adapter")
def export_lora(
  run: Annotated[str, typer.Argument(help="The folder of a LoRA run; local or a URL.")],
  out: Annotated[str, typer.Argument(help="The new folder, for PEFT and vLLM.")],
  base_name: Annotated[
    str | None, typer.Option(help="The model it belongs to: Qwen/Qwen3-ASR-1.7B-hf")
  ] = None,
) -> None:
  """Export a LoRA run's adapters in PEFT's format."""
  from maxtext_ext import preflight

  preflight.require_folder(run)
  from maxtext_ext.checkpoint.merge import export_adapter

  export_adapter(run, out, base_name=base_name)
  typer.echo(f"{out}: adapter_config.json and adapter_model.safetensors")


@convert_app.command("import-adapter")
def import_lora(
  adapter: Annotated[str, typer.Argument(help="The folder that PEFT saved.")],
  base: Annotated[str, typer.Argument(help="The converted checkpoint that it belongs to.")],
  run: Annotated[str, typer.Argument(help="The new run: {base_output_directory}/{run_name}")],
  allow_nonfinite: Annotated[
    bool, typer.Option("--allow-nonfinite", help="Import NaN and infinite values too.")
  ] = False,
) -> None:
  """Create a LoRA run from a PEFT adapter, to train further, decode or merge."""
  from maxtext_ext import preflight

  preflight.require_folder(adapter, base)
  from maxtext_ext.checkpoint.merge import import_adapter

  lora = import_adapter(adapter, base, run, allow_nonfinite=allow_nonfinite).lora
  targets = ",".join(lora.targets)
  typer.echo(f"{run}: train further with load_parameters_path={base} scan_layers as there, and")
  typer.echo(f"  lora_rank={lora.rank} lora_alpha={lora.alpha:.17g} 'lora_targets=[{targets}]'")


@convert_app.command("check")
def check_checkpoint(
  checkpoint: Annotated[
    str, typer.Argument(metavar="CKPT", help="A converted checkpoint, or the folder of a run.")
  ],
  reference: Annotated[
    Path,
    typer.Argument(help="An .npz file of logits, written by benchmarks/parity/hf_reference.py."),
  ],
  tolerance: Annotated[
    float, typer.Option(help="Largest relative error of a clip's logits.", min=0.0)
  ] = 1e-4,
) -> None:
  """Compare a checkpoint's logits with a reference; exit status 1 beyond the tolerance."""
  from maxtext_ext import preflight

  preflight.require_folder(checkpoint)
  preflight.require_file(reference)
  from maxtext_ext.checkpoint.check import check, print_errors

  if not print_errors(check(checkpoint, reference), tolerance):
    raise typer.Exit(1)


@app.command()
def demo(
  data: Annotated[
    Path | None, typer.Option(help='Your own JSON lines: {"audio": path, "text": ...}')
  ] = None,
  out: Annotated[
    Path | None, typer.Option(help="Folder for all output; by default that of the model.")
  ] = None,
  model: Annotated[
    str, typer.Option(help="Family of the model, a key of demo.families.FAMILIES.")
  ] = "qwen3_asr",
) -> None:
  """Run the demo: convert, train, decode and report the word error rate; 10 minutes on a CPU."""
  from maxtext_ext.demo import demo as engine

  engine.main("" if out is None else str(out), None if data is None else str(data), model=model)


@app.command()
def doctor(
  json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
  timeout: Annotated[
    float, typer.Option(help="Time limit of the JAX test, which may hang, in seconds.", min=1.0)
  ] = 300.0,
  expect: Annotated[
    Literal["tpu", "gpu"] | None, typer.Option(help="Accelerator that must be present.")
  ] = None,
) -> None:
  """Check versions, devices and a tiny training; exit status 1 if there are problems."""
  from maxtext_ext.doctor.examine import examine

  if not examine(timeout, expected=expect or "", as_json=json):
    raise typer.Exit(1)


@exit_with_one_line
def main(argv: Sequence[str] | None = None) -> None:
  """Runs a command; exits with 2 for errors that the user can fix, 130 after Ctrl-C."""
  args = list(sys.argv[1:] if argv is None else argv) or ["--help"]
  raise_open_files()
  try:
    sys.exit(app(args, prog_name="maxtext-ext", standalone_mode=False))
  except typer.TyperException as error:  # a mistyped command or option
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "maxtext-ext"
    message = error.format_message().replace("Value error, ", "")  # of pydantic, inside Typer
    raise ValueError(f"{message} (see {command} --help)") from error


if __name__ == "__main__":
  main()
