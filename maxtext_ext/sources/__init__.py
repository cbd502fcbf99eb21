"""Sources of records, a module for each format; `formats.SOURCES` lists them."""
