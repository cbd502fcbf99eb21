"""Where records come from: one module a format, `SOURCES` in conversion/options.py."""
