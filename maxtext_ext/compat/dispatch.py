"""Dispatch of `python3 -m MaxText.train` and `.decode`: speech here, text in MaxText itself.

Errors are raised; a command turns them into one line with `exit_with_one_line`.
"""

from collections.abc import Sequence

from maxtext_ext import preflight
from maxtext_ext.errors import leaving_at_interrupt
from maxtext_ext.keys.settings import Settings, read, refuse_repeats
from maxtext_ext.keys.yml import Chain, read_chain
from maxtext_ext.progress import say

_OF_MAXTEXT = "src/maxtext/configs/"  # it finds its own files by their place in its repository
_STARTING = "starting JAX and MaxText ..."


def train(argv: Sequence[str]) -> None:
  """Trains a speech configuration here, and hands any other to MaxText's own trainer.

  Args:
    argv: the program's name, a yml file, `key=value` strings.
  """
  path = _config_path(argv)
  chain = None if path is None or path.startswith(_OF_MAXTEXT) else read_chain(path)
  if chain is None or not chain.is_speech:
    from maxtext_ext import bridge

    if chain is not None:
      chain.require_base()
    bridge.train_text_only(argv)
    return
  settings = _read(chain, argv[2:])
  preflight.check_training(settings)
  say(f"train: {settings.run_name}, to {preflight.run_folder(settings)}; {_STARTING}")
  with leaving_at_interrupt():
    preflight.check_input(settings, settings.train_split)
    from maxtext_ext.train.loop import run

  if status := run(settings).status:
    raise SystemExit(status)


def decode(argv: Sequence[str]) -> None:
  """Decodes the split or input of a speech configuration; `argv` as for `train`."""
  path = _config_path(argv)
  if path is None:
    raise ValueError("MaxText.decode: give a yml file first, such as configs/experiments/demo.yml")
  settings = _read(path, argv[2:])
  preflight.check_decoding(settings)
  what = settings.decode_input or f"split {settings.split}"
  say(f"decode: {what} with {settings.run_name}; {_STARTING}")
  with leaving_at_interrupt():
    preflight.check_input(settings, settings.split)
    from maxtext_ext.decode.decode import run

  run(settings)


def _read(config: str | Chain, overrides: Sequence[str]) -> Settings:
  refuse_repeats(overrides)
  return read(config, overrides)


def _config_path(argv: Sequence[str]) -> str | None:
  return argv[1] if len(argv) > 1 and argv[1].endswith(".yml") else None
