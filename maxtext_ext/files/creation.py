"""Files that are created once: the first of several processes wins, and none sees half a file.

On a disk a complete temporary file gets its name by a link, which fails where the name is taken. In
a bucket the upload has the precondition that there is no such object (`ifGenerationMatch=0`).
"""

import contextlib
import errno
import os
import secrets

from maxtext_ext.files import storage
from maxtext_ext.files.connection import explained, file_system
from maxtext_ext.files.writing import writing

# What file systems without hard links say, among them exFAT and buckets mounted with gcsfuse.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)


def create(path: str, data: bytes) -> bool:
  """Creates a small file with its folder, unless there is one of that name.

  Returns:
    whether the file has these bytes: True where it was created, False where another one is there.
    A reply may be lost after the file was stored, by a bucket or a file server; the client then
    asks again and is told that there is one. It is its own if it has its bytes.

  Raises:
    OSError: it cannot be written.
  """
  create_new = _create_object if storage.is_url(path) else _create_local
  if create_new(path, data):
    return True
  try:
    return storage.read_bytes(path) == data
  except FileNotFoundError:  # removed since
    return False


def _create_object(url: str, data: bytes) -> bool:
  with explained("write", url):
    try:
      file_system(url).pipe_file(url, data, mode="create")
    except FileExistsError:
      return False
  return True


def _create_local(path: str, data: bytes) -> bool:
  folder = os.path.dirname(path)
  with writing(path):
    os.makedirs(folder or ".", exist_ok=True)
    temporary = storage.temporary_name(path, secrets.token_hex(4))  # of this thread alone
    try:
      with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
      return _give_name(temporary, path)
    finally:
      with contextlib.suppress(FileNotFoundError):
        os.remove(temporary)


def _give_name(temporary: str, path: str) -> bool:
  """Gives a temporary file its name, unless that is taken; returns whether it has it."""
  try:
    os.link(temporary, path)
  except FileExistsError:
    return False
  except OSError as error:
    if error.errno not in _NO_LINKS:
      raise
    with storage.folder_lock(os.path.dirname(path) or "."):
      if os.path.lexists(path):
        return False
      os.replace(temporary, path)
  return True
