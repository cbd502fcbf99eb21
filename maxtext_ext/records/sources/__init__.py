"""Where records come from: one module a format, `SOURCES` in records/conversion.py."""
