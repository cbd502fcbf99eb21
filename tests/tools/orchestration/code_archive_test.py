import os
import pathlib
import subprocess
import tarfile

import pytest
from orchestration import code_archive

IDENTITY = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "core.hooksPath="]
AWKWARD = [" spaces ", 'quo"te', "apo'strophe", "new\nline", "عربي", "back\\slash", "-dash", "$(x)"]


def git(folder, *arguments):
  command = ["git", *IDENTITY, "-c", "protocol.file.allow=always", *arguments]
  subprocess.run(command, cwd=folder, check=True, capture_output=True)


def make_tree(folder, files):
  """Makes a work tree of git in which `files` are committed."""
  folder.mkdir(parents=True)
  git(folder, "init", "--quiet")
  for name in files:
    write(folder / name, os.fsencode(name).decode(errors="replace"))
  git(folder, "add", "--all")
  git(folder, "commit", "--quiet", "--allow-empty", "--message", "first")
  return folder


def write(path, text):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(text)


def extracted(archive, folder):
  folder.mkdir()
  subprocess.run(["tar", "-xzf", archive, "-C", folder], check=True)
  return folder


def test_lists_what_git_tracks_whatever_its_name(tmp_path):
  tree = make_tree(tmp_path / "a tree", ["a/b.py", *AWKWARD])
  write(tree / "untracked", "")
  assert code_archive.tracked_files(tree) == sorted(["a/b.py", *AWKWARD])


def test_keeps_the_bytes_of_a_name_that_is_not_utf8(tmp_path):
  name = os.fsdecode(b"caf\xe9")
  tree = make_tree(tmp_path / "tree", [name])
  assert code_archive.tracked_files(tree) == [name]
  code_archive.write_archive(tree, tmp_path / "code.tar.gz")
  assert os.listdir(os.fsencode(extracted(tmp_path / "code.tar.gz", tmp_path / "there"))) == [
    b"caf\xe9"
  ]


def test_lists_relative_to_a_folder_inside_the_work_tree(tmp_path):
  tree = make_tree(tmp_path / "tree", ["top", "sub/inner", "sub/deep/er"])
  assert code_archive.tracked_files(tree / "sub") == ["deep/er", "inner"]


def test_takes_the_working_tree_as_it_is(tmp_path):
  tree = make_tree(tmp_path / "tree", ["kept", "deleted", "sub/deleted too", "now_folder", "pipe"])
  (tree / "deleted").unlink()
  (tree / "sub" / "deleted too").unlink()
  (tree / "now_folder").unlink()
  write(tree / "now_folder" / "untracked", "")
  (tree / "pipe").unlink()
  os.mkfifo(tree / "pipe")
  write(tree / "staged", "")
  git(tree, "add", "staged")
  assert code_archive.tracked_files(tree) == ["kept", "staged"]


def test_takes_nothing_from_behind_a_folder_that_became_a_link(tmp_path):
  tree = make_tree(tmp_path / "tree", ["kept", "sub/deep/secret"])
  (tree / "sub").rename(tmp_path / "elsewhere")
  (tree / "sub").symlink_to(tmp_path / "elsewhere")
  assert code_archive.tracked_files(tree) == ["kept"]


def test_lists_a_file_in_conflict_once(tmp_path):
  tree = make_tree(tmp_path / "tree", ["file"])
  git(tree, "checkout", "--quiet", "-b", "other")
  write(tree / "file", "other")
  git(tree, "commit", "--quiet", "--all", "--message", "other")
  git(tree, "checkout", "--quiet", "-")
  write(tree / "file", "this")
  git(tree, "commit", "--quiet", "--all", "--message", "this")
  merge = subprocess.run(["git", *IDENTITY, "merge", "other"], cwd=tree, capture_output=True)
  assert merge.returncode == 1
  assert code_archive.tracked_files(tree) == ["file"]


def test_ignores_a_repository_that_a_hook_of_git_points_to(tmp_path, monkeypatch):
  other = make_tree(tmp_path / "other", ["wrong"])
  tree = make_tree(tmp_path / "tree", ["right"])
  monkeypatch.setenv("GIT_DIR", str(other / ".git"))
  monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
  assert code_archive.tracked_files(tree) == ["right"]


def test_includes_the_files_of_submodules(tmp_path):
  inner = make_tree(tmp_path / "inner", ["deep"])
  middle = make_tree(tmp_path / "middle", ["m"])
  git(middle, "submodule", "--quiet", "add", str(inner), "lib/inner")
  git(middle, "commit", "--quiet", "--message", "submodule")
  tree = make_tree(tmp_path / "tree", ["top"])
  git(tree, "submodule", "--quiet", "add", str(middle), "libs")
  git(tree, "submodule", "--quiet", "update", "--init", "--recursive")
  write(tree / "libs" / "untracked", "")
  names = [".gitmodules", "libs/.gitmodules", "libs/lib/inner/deep", "libs/m", "top"]
  assert code_archive.tracked_files(tree) == names
  git(tree, "submodule", "--quiet", "deinit", "--force", "--all")
  with pytest.raises(ValueError, match=r"submodules are not checked out: libs; run git submodule"):
    code_archive.tracked_files(tree)


def test_takes_all_but_the_results_where_there_is_no_work_tree(tmp_path, capsys):
  folder = tmp_path / "plain"
  for name in ("a", "sub/b", "out/x", "tmp/x", "sub/__pycache__/x", "venv/bin/x"):
    write(folder / name, "")
  write(folder / ".git", "gitdir: /nowhere")  # as in a copy of a work tree
  write(folder / "venv" / "pyvenv.cfg", "")
  (folder / "link").symlink_to("sub")
  assert code_archive.tracked_files(folder) == ["a", "link", "sub/b"]
  assert (
    f"note: {folder} is in no git work tree; taking all of its files" in capsys.readouterr().err
  )
  assert code_archive.untracked_files(folder) == []


def test_takes_all_files_where_git_is_not_installed(tmp_path, monkeypatch, capsys):
  tree = make_tree(tmp_path / "tree", ["a"])
  write(tree / "untracked", "")
  monkeypatch.setenv("PATH", str(tmp_path))
  assert code_archive.tracked_files(tree) == ["a", "untracked"]
  assert "note: git is not installed" in capsys.readouterr().err


@pytest.mark.parametrize("broken", ["absent", "file", "nothing tracked", "broken index"])
def test_says_why_there_is_nothing_to_take(tmp_path, broken):
  tree = make_tree(tmp_path / "tree", ["file"])
  (tree / "empty").mkdir()
  write(tree / "results" / "untracked", "")
  folder, reason = {
    "absent": (tree / "absent", "no such folder"),
    "file": (tree / "file", "no such folder"),
    "nothing tracked": (tree / "results", "git tracks none of its files; git add them, or"),
    "broken index": (tree, "git ls-files failed: .*index"),
  }[broken]
  if broken == "broken index":
    (tree / ".git" / "index").write_bytes(b"no index")
  with pytest.raises(ValueError, match=f"^{folder}: {reason}"):
    code_archive.tracked_files(folder)


def test_lists_untracked_files_but_not_ignored_ones(tmp_path):
  tree = make_tree(tmp_path / "tree", ["a"])
  write(tree / ".gitignore", "ignored\n")
  write(tree / "ignored", "")
  write(tree / "sub" / "new\nfile", "")
  assert code_archive.untracked_files(tree) == [".gitignore", "sub/new\nfile"]


def test_archive_holds_contents_links_and_executable_bits(tmp_path):
  tree = make_tree(
    tmp_path / "tree", ["plain", "sub/run.sh", *AWKWARD, "x" * 120 + "/" + "y" * 120]
  )
  (tree / "sub" / "run.sh").chmod(0o755)
  (tree / "link").symlink_to("sub/run.sh")
  (tree / "dangling").symlink_to("/nowhere")
  (tree / "twin").hardlink_to(tree / "plain")
  git(tree, "add", "--all")
  write(tree / "plain", "modified, not committed")
  os.utime(tree / "plain", (1_000_000_000, 1_000_000_000))
  assert code_archive.write_archive(tree, tmp_path / "code.tar.gz") == 6 + len(AWKWARD)
  there = extracted(tmp_path / "code.tar.gz", tmp_path / "there")
  assert (there / "plain").read_text() == (there / "twin").read_text() == "modified, not committed"
  assert (there / "plain").stat().st_mtime == 1_000_000_000
  assert (there / "sub" / "run.sh").stat().st_mode & 0o777 == 0o755
  assert os.readlink(there / "link") == "sub/run.sh"
  assert os.readlink(there / "dangling") == "/nowhere"
  assert all((there / name).read_text() == name for name in AWKWARD)


def test_same_files_make_the_same_archive_without_owners(tmp_path):
  tree = make_tree(tmp_path / "tree", ["b", "a", "c/d"])
  code_archive.write_archive(tree, tmp_path / "1.tar.gz")
  code_archive.write_archive(tree, tmp_path / "2.tar.gz")
  assert (tmp_path / "1.tar.gz").read_bytes() == (tmp_path / "2.tar.gz").read_bytes()
  with tarfile.open(tmp_path / "1.tar.gz") as tar:
    assert [entry.name for entry in tar] == ["a", "b", "c/d"]
    assert all((entry.uid, entry.gid, entry.uname, entry.gname) == (0, 0, "", "") for entry in tar)


def test_archive_does_not_hold_itself(tmp_path):
  folder = pathlib.Path(tmp_path / "plain")
  write(folder / "a", "")
  assert code_archive.write_archive(folder, folder / "code.tar.gz") == 1
  assert code_archive.write_archive(folder, folder / "code.tar.gz") == 1
