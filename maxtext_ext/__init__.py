"""Speech recognition on MaxText."""

__version__ = "0.1.0"
