from maxtext_ext.files import checksum


def test_known_answers(tmp_path):
  """CRC32C of 32 zero bytes is 0x8a9136aa (RFC 3720, B.4); Cloud Storage has it big-endian."""
  path = tmp_path / "x"
  path.write_bytes(bytes(32))
  assert checksum.of_file(str(path)) == "ipE2qg=="
  path.write_bytes(b"")
  assert checksum.of_file(str(path)) == "AAAAAA=="


def test_long_files_are_read_in_parts(tmp_path):
  path = tmp_path / "x"
  path.write_bytes(bytes(range(256)) * 20_000)
  whole = checksum.of_file(str(path))
  with path.open("r+b") as file:
    file.seek(4_000_000)
    file.write(b"\xff")
  assert checksum.of_file(str(path)) != whole
