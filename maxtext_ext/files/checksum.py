"""Checksums of whole files."""

import base64

import google_crc32c

from maxtext_ext.files import storage

_BLOCK = 1 << 20  # bytes


def of_file(path: str) -> str:
  """CRC32C of a file, in base64 as Google Cloud Storage shows it."""
  crc = 0
  with storage.open_read(path) as file:
    while block := file.read(_BLOCK):
      crc = google_crc32c.extend(crc, block)
  return base64.b64encode(crc.to_bytes(4, "big")).decode()
