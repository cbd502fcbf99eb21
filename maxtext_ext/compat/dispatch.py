"""What `python3 -m MaxText.train` and `.decode` do: speech here, text in MaxText itself."""

from collections.abc import Sequence

from maxtext_ext.errors import exit_with_one_line


@exit_with_one_line
def train(argv: Sequence[str]) -> None:
  """Trains a speech configuration here, and hands any other to MaxText's own trainer.

  Args:
    argv: the program's name, a yml file, `key=value` strings.
  """
  path = _config_path(argv)
  from maxtext_ext import bridge
  from maxtext_ext.config import is_speech

  # MaxText finds its own files by their place in its repository.
  if path is None or path.startswith("src/maxtext/configs/") or not is_speech(path):
    bridge.train_text_only(argv)
    return
  from maxtext_ext.train.loop import main

  main(path, argv[2:])


@exit_with_one_line
def decode(argv: Sequence[str]) -> None:
  """Decodes the split of a speech configuration; `argv` as for `train`."""
  path = _config_path(argv)
  if path is None:
    raise ValueError("MaxText.decode: give a yml file first, such as configs/experiments/demo.yml")
  from maxtext_ext.decode.run import main

  main(path, argv[2:])


def _config_path(argv: Sequence[str]) -> str | None:
  return argv[1] if len(argv) > 1 and argv[1].endswith(".yml") else None
