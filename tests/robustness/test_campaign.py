"""The short form of ``make torture``: a few kills of every writer, a few damaged files for every reader."""

import os
import signal

import pytest

from tests.robustness.fuzz import Counts, Reader, fuzz
from tests.robustness.kills import Writer, kill_everywhere
from tests.robustness.readers import all_readers
from tests.robustness.writers import all_writers
from xraycls.data.files import atomic_write
from xraycls.errors import DataError

INPUTS, KILLS, KILLS_OF_A_TRAINING = 60, 3, 2


@pytest.mark.walkthrough
@pytest.mark.slow
def test_every_writer_goes_on_after_a_kill_as_if_nothing_had_been(tmp_path):
    (tmp_path / "sources").mkdir()
    for number, writer in enumerate(all_writers(tmp_path / "sources")):
        folder = tmp_path / str(number)
        folder.mkdir()
        kills = KILLS_OF_A_TRAINING if "train" in writer.name else KILLS
        found = kill_everywhere(writer, folder, kills)
        assert (writer.name, found.kills, found.bad) == (writer.name, kills, [])


@pytest.mark.walkthrough
@pytest.mark.slow
def test_every_reader_reads_a_damaged_file_or_refuses_it_in_a_sentence(tmp_path):
    for reader in all_readers(tmp_path / "readers"):
        counts = fuzz(reader, round(INPUTS * reader.weight))
        assert (reader.name, counts.bad, counts.examples) == (reader.name, {}, {})
        assert counts.inputs == counts.read + counts.refused == round(INPUTS * reader.weight)


def test_a_writer_that_loses_what_was_there_is_found(tmp_path):
    def careless(folder):
        (folder / "new").write_text("done")
        (folder / "new").rename(folder / "file")

    def in_two_steps(folder):
        if not (folder / "half").exists():
            (folder / "a").write_text("a")
            (folder / "a").rename(folder / "half")
            (folder / "b").write_text("b")
            (folder / "b").rename(folder / "whole")

    def files(folder):
        return {path.name: path.read_text() for path in folder.iterdir()}

    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    assert kill_everywhere(Writer("careless", careless, files), tmp_path / "one").bad == []
    found = kill_everywhere(Writer("in two steps", in_two_steps, files), tmp_path / "two")
    assert (found.instants, found.kills) == (4, 4)
    assert [text.partition(":")[0] for text in found.bad] == ["instant 1", "instant 2"]


def test_foreign_errors_crashes_and_long_messages_are_found(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"sound")

    def read(path):
        content = path.read_bytes()
        if content == b"sound":
            return
        if len(content) % 3 == 0:
            raise KeyError("foreign")
        if len(content) % 3 == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        raise DataError("refused")

    counts = fuzz(Reader("bad", [file], read), 40)
    assert isinstance(counts, Counts)
    assert counts.inputs == 40
    assert {"KeyError in ?", "the process died of -9"} == set(counts.bad)


def test_a_writer_of_ours_is_killed_at_its_own_instants(tmp_path):
    def write(folder):
        with atomic_write(folder / "file") as temporary:
            temporary.write_text("whole")

    def complete(folder):
        assert (folder / "file").read_text() == "whole"
        return {}

    assert kill_everywhere(Writer("atomic", write, complete), tmp_path).instants == 3
