"""The tests that `make quick` runs, on one line: the house test and those of the stages that differ from main."""

import subprocess
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
HOUSE = "tests/test_house.py"
"""The rules of imports and sizes: always run."""


def targets(changed: Iterable[str], root: Path = ROOT) -> list[str]:
    """Paths to give to pytest for files that changed (relative to the checkout, as git names them).

    A changed test is run itself; any other file of ``xraycls/<stage>/`` or ``tests/<stage>/`` runs all of
    ``tests/<stage>/``, and ``xraycls/<name>.py`` runs ``tests/test_<name>.py``. Paths that don't exist are left out.
    """
    paths = {HOUSE}
    for name in changed:
        match Path(name).parts:
            case ("tests", *_, file) if file.startswith("test_"):
                paths.add(name)
            case ("xraycls" | "tests", stage, _, *_):
                paths.add(f"tests/{stage}")
            case ("xraycls", file):
                paths.add(f"tests/test_{file}")
    return sorted(path for path in paths if (root / path).exists() and Path(path).parent.as_posix() not in paths)


def changed_files(root: Path = ROOT) -> list[str]:
    """Files that differ from where the branch left main, those that are not committed or not tracked included."""

    def git(*arguments: str) -> list[str]:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
        return done.stdout.splitlines()

    base = git("merge-base", "HEAD", "main") or git("merge-base", "HEAD", "origin/main") or ["HEAD"]
    return [*git("diff", "--name-only", base[0]), *git("ls-files", "--others", "--exclude-standard")]


if __name__ == "__main__":
    print(*targets(changed_files()))
