"""Speech recognition on MaxText."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from maxtext_ext.transcriber import Transcriber, Transcription

__version__ = "0.1.0"
__all__ = ["Transcriber", "Transcription"]


def __getattr__(name: str) -> Any:
  """Loads what users import from here when they do, so that the command's help stays quick."""
  if name not in __all__:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  from maxtext_ext import transcriber

  return getattr(transcriber, name)
