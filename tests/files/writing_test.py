"""Errors of writing name the file."""

import errno

import pytest

from maxtext_ext.files.writing import WriteError, writing


@pytest.mark.parametrize(
  ("error", "text"),
  [
    (OSError(errno.ENOSPC, "No space left on device"), "(No space left on device); make room"),
    (OSError(errno.ENOSPC, "No space left on device", "x"), "(No space left on device); make room"),
    (OSError(errno.EDQUOT, "Disk quota exceeded"), "(Disk quota exceeded); make room"),
    (OSError(errno.EIO, "Input/output error"), "(Input/output error); check the disk"),
    (RuntimeError("write() failed: No space left on device;\nat byte 0"), "at byte 0); make room"),
    (RuntimeError("open() failed: Permission denied"), "Permission denied); check the disk"),
  ],
)
def test_an_error_without_a_name_gets_one(error, text):
  with pytest.raises(WriteError) as caught, writing("out/file"):
    raise error
  assert str(caught.value).startswith("out/file: cannot write it (") and text in str(caught.value)
  assert caught.value.errno == getattr(error, "errno", errno.EIO)


@pytest.mark.parametrize(
  "error",
  [
    PermissionError(errno.EACCES, "Permission denied", "out/file.tmp"),
    OSError("out/file: may not write it (Forbidden)"),
    ValueError("something else"),
  ],
)
def test_any_other_error_stays_as_it_is(error):
  with pytest.raises(type(error)) as caught, writing("out/file"):
    raise error
  assert caught.value is error


def test_a_full_device():
  with (
    pytest.raises(WriteError, match=r"^/dev/full: cannot write it .* make room there, then run"),
    writing("/dev/full"),
    open("/dev/full", "wb") as file,
  ):
    file.write(bytes(1 << 20))
