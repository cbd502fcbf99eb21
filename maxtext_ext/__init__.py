"""Speech recognition on MaxText."""

from typing import TYPE_CHECKING, Any

from maxtext_ext.version import __version__

if TYPE_CHECKING:
  from maxtext_ext.transcriber import Transcriber, Transcription

_LAZY = ("Transcriber", "Transcription")
__all__ = ["Transcriber", "Transcription", "__version__"]


def __getattr__(name: str) -> Any:
  """Loads the public names on first use, so that the command's help stays quick."""
  if name not in _LAZY:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  from maxtext_ext import transcriber

  return getattr(transcriber, name)
