"""What the program writes commands no terminal, and a reader that leaves stops no work."""

import errno
import io
import logging
import subprocess
import sys

import pytest

from xraycls.cli import main
from xraycls.cli.terminal import PrintableStream, standard_streams
from xraycls.errors import LONGEST, DataError, XrayclsError, shown
from xraycls.progress import console

NASTY = "a\x1b[31m\nb\x9d\u202e\udc80c"
ESCAPED = r"a\x1b[31m\nb\x9d\u202e\x80c"


class Broken(io.StringIO):
    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def write(self, text: str) -> int:
        raise OSError(self.number, "broken")


def run(*arguments: str, **options):
    command = [sys.executable, "-m", "xraycls", *arguments]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False, **options)


def test_messages_are_one_line_of_bounded_length():
    assert shown(NASTY) == ESCAPED
    error = DataError(f"{NASTY} {'x' * 3_000_000}", hint=NASTY)
    assert str(error).splitlines() == [str(error)]
    assert len(error.message) < LONGEST + 100
    assert "3,000,000" not in str(error)
    assert error.hint == ESCAPED


def test_prints_and_tables_show_control_characters_as_escapes(capsys):
    with standard_streams(quiet=False):
        print(NASTY)  # noqa: T201
        console(stderr=False).print(NASTY, markup=False, soft_wrap=True)
        logging.getLogger("xraycls").warning("%s", NASTY)
    out, err = capsys.readouterr()
    assert out == 2 * (ESCAPED.replace(r"\n", "\n") + "\n")  # lines of a print are its own
    assert err == f"WARNING  {ESCAPED}\n"


def test_what_the_parser_says_of_an_argument_is_escaped(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["mod\x1b[31mels"])
    assert r"mod\x1b[31mels" in capsys.readouterr().err


def test_a_log_file_of_tao_holds_escapes(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(
            ["ssd", "train", "-e", f"{tmp_path}/\x1b[31mspec.txt", "-r", str(tmp_path), "--log-file", f"{tmp_path}/log"]
        )
    log = (tmp_path / "log").read_text()
    assert r"\x1b[31mspec.txt" in log
    assert "\x1b" not in log + capsys.readouterr().err


@pytest.mark.parametrize("number", [errno.EPIPE, errno.EIO])
def test_a_reader_that_has_left_stops_nothing(number):
    stream = PrintableStream(Broken(number), "Standard output")
    print("one", file=stream)
    stream.rich_proxied_file.write("two")


def test_a_full_disk_behind_standard_output_is_one_sentence():
    with pytest.raises(XrayclsError, match=r"^Standard output could not be written: broken\.$"):
        PrintableStream(Broken(errno.ENOSPC), "Standard output").write("one")
    PrintableStream(Broken(errno.ENOSPC), "").write("errors can't be told")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /dev/full")
def test_a_full_or_closed_standard_output_is_told_once():
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = run("models", "--json", stdout=full)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr == "Error: Standard output could not be written: No space left on device.\n"
    done = run("models", stdout=None, preexec_fn=lambda: __import__("os").close(1))
    assert done.returncode == 0
    assert done.stderr.startswith("WARNING  Standard output is closed")
