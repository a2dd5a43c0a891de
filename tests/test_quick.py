"""Which tests `make quick` runs."""

import subprocess

import pytest

from tests.quick import HOUSE, changed_files, targets


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ([], []),
        (["README.md", "docs/data.md"], []),
        (["xraycls/data/formats/coco.py"], ["tests/data"]),
        (["xraycls/errors.py"], ["tests/test_errors.py"]),
        (["tests/loaders/engines.py"], ["tests/loaders"]),
        (["tests/loaders/test_sampler.py"], ["tests/loaders/test_sampler.py"]),
        (["tests/loaders/test_sampler.py", "xraycls/loaders/plan.py"], ["tests/loaders"]),
        (["tests/loaders/test_that_was_deleted.py", "xraycls/no_such_stage/file.py"], []),
    ],
    ids=lambda value: " ".join(value) or "nothing",
)
def test_a_changed_file_stands_for_the_targets_its_stage(changed, expected):
    assert targets(changed) == sorted([*expected, HOUSE])


def test_commits_of_the_branch_edits_and_new_files_count_as_changed(tmp_path):
    def git(*arguments):
        who = ("-c", "user.name=t", "-c", "user.email=t@t")
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init", "-b", "main")
    for name in ("same", "edited", "committed"):
        (tmp_path / name).write_text("before")
    git("add", ".")
    git("commit", "-m", "first")
    git("checkout", "-b", "branch")
    (tmp_path / "committed").write_text("after")
    git("commit", "-am", "second")
    (tmp_path / "edited").write_text("after")
    (tmp_path / "new").write_text("after")
    assert sorted(changed_files(tmp_path)) == ["committed", "edited", "new"]
