"""Transcribes a folder of sound files, or what a JSONL file names, into one JSONL file.

python tools/batch_inference.py configs/experiments/finetune.yml recordings/clips out/clips.jsonl

It is `maxtext-ext decode` with decode_input=, whose shards it puts together. They stay beside the
file, in OUT.parts, so that the same command continues after an interruption.
"""

import contextlib
import operator
from typing import Annotated

import typer

from maxtext_ext.audio.sounds import SUFFIXES
from maxtext_ext.compat import dispatch
from maxtext_ext.errors import AllFailedError, exit_with_one_line
from maxtext_ext.evaluate.decoded import PARTS
from maxtext_ext.evaluate.hypotheses import HypothesisWriter, read_hypotheses
from maxtext_ext.evaluate.hypothesis import ERROR
from maxtext_ext.files.outputs import require_apart, require_file_place


@exit_with_one_line
def main(
  config: Annotated[str, typer.Argument(help="A yml file, such as configs/experiments/demo.yml.")],
  source: Annotated[str, typer.Argument(help="Folder of sound, or JSONL file; local or gs://.")],
  out: Annotated[str, typer.Argument(help="JSONL file to write, local or gs://.")],
  overrides: Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Keys of the configuration: run_name=run7"),
  ] = None,
) -> None:
  """Transcribe a folder of sound files, or what a JSONL file names, into one JSONL file."""
  require_file_place(out)
  require_apart([out], [source, config])
  if out.lower().endswith(SUFFIXES):
    raise ValueError(f"{out} has the name of a sound file; expected that of a JSONL file to write")
  parts = f"{out}{PARTS}"
  keys = [f"decode_input={source}", f"output={parts}", *(overrides or [])]
  with contextlib.suppress(AllFailedError):  # of this job; `join` looks at all lines
    dispatch.decode(["batch_inference.py", config, *keys])
  join(parts, out)


def join(parts: str, out: str) -> None:
  """Writes the lines of all shards to one file, by data set and id."""
  lines = sorted(read_hypotheses(parts), key=operator.attrgetter("dataset", "id"))
  with HypothesisWriter(out) as writer:
    for line in lines:
      writer.write(line)
  failed = sum(ERROR in line.extra for line in lines)
  if failed == len(lines):
    raise AllFailedError(
      f"{out}: none of the {failed} clips can be read, first {lines[0].id}:"
      f" {lines[0].extra[ERROR]}; check SOURCE, remove {parts}, and run the command again"
    )
  typer.echo(
    f"{out}: {len(lines) - failed} transcripts"
    + (f", and {failed} clips that cannot be read" if failed else "")
  )


if __name__ == "__main__":
  app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})
  app.command()(main)
  app()
