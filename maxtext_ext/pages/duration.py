"""Readable durations for pages and tables."""


def format_duration(seconds: float) -> str:
  """Formats seconds: 3723 -> "1 h 2 min", 90 -> "1.5 min", 9 -> "9.0 s"."""
  if round(seconds / 60) >= 60:
    minutes = round(seconds / 60)
    return f"{minutes // 60:,} h {minutes % 60} min"
  return f"{seconds / 60:.1f} min" if round(seconds, 1) >= 60 else f"{seconds:.1f} s"
