"""Commands `maxtext-ext lm ...`: parse options, load modules, call them."""

from typing import Annotated

import typer

from maxtext_ext.text.normalize import NORMALIZERS

lm_app = typer.Typer(help="Build language models for beam search.")


@lm_app.callback()
def describe_lm() -> None:
  """Build language models for beam search."""


@lm_app.command("build")
def build_lm(
  out: Annotated[str, typer.Argument(help="ARPA file to write, local or gs://.")],
  sources: Annotated[
    list[str] | None,
    typer.Argument(
      metavar="[SOURCE]...",
      help="Text files with a sentence in each line, and folders of ArrayRecord shards.",
    ),
  ] = None,
  order: Annotated[int, typer.Option(min=1, max=5, help="Words of the longest n-grams.")] = 3,
  prune: Annotated[
    str,
    typer.Option(
      help="0,0,1 leaves out n-grams of three and more words that occur once; 0: nothing."
    ),
  ] = "0",
  split: Annotated[str | None, typer.Option(help="Of the folders; default: train.")] = None,
  normalizer: Annotated[
    str | None,
    typer.Option(help=f"Applied to each sentence: {', '.join(NORMALIZERS)}; default: none."),
  ] = None,
  config: Annotated[
    str | None,
    typer.Option(
      help="A yml file of a run, for what is not given: its normalizer, and as source its training"
      " data."
    ),
  ] = None,
) -> None:
  """Estimate a language model of words by interpolated modified Kneser-Ney smoothing.

  The text should be spelled as the CTC model writes: the same case and characters.

  Then: maxtext-ext decode CONFIG beams=16 lm_path=OUT
  """
  from maxtext_ext.corpus.language_model import build
  from maxtext_ext.text.normalize import get_normalizer

  if not all(number.strip().isdecimal() for number in prune.split(",")):
    raise ValueError(f"--prune is {prune!r}, expected numbers such as 0,0,1")
  sources = sources or []
  if config is not None:
    from maxtext_ext.keys.settings import read

    settings = read(config)
    normalizer = normalizer or settings.normalizer
    split = split or settings.train_split
    if not sources and settings.data_dir:
      sources = [settings.data_dir]
  if not sources:
    raise ValueError("no SOURCE: give text files or folders, or --config of a run with data_dir")
  built = build(
    sources,
    out,
    order=order,
    prune=[int(number) for number in prune.split(",")],
    split=split or "train",
    normalize=get_normalizer(normalizer or "none"),
  )
  typer.echo(str(built))
