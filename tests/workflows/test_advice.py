"""A run whose model waits for its pictures says what to do, once."""

from pathlib import Path

import pytest

from xraycls.data.table import SampleTable
from xraycls.training.config import TrainConfig
from xraycls.training.reporter import Silent
from xraycls.workflows.advice import LoaderAdvice


class Listener(Silent):
    def __init__(self):
        self.messages, self.epochs = [], 0

    def message(self, text):
        self.messages.append(text)

    def epoch(self, row, improved):
        self.epochs += 1


def told(rows, source="folder", **settings):
    listener = Listener()
    config = TrainConfig(**{"data": Path("films/chest_xray"), "size": 224} | settings)
    advice = LoaderAdvice(listener, config, SampleTable((), ("a", "b"), Path("x"), source))
    for waiting, seconds in rows:
        advice.epoch({"waiting": waiting, "seconds": seconds}, False)
    assert listener.epochs == len(rows)
    return listener.messages


def test_it_is_said_once_with_the_commands_that_help():
    (line,) = told([(0.1, 60), (0.71, 60), (0.8, 60)])
    assert line == (
        "The loader took 71% of the epoch; prepare the data once with: xraycls data prepare films/chest_xray"
        " films/chest_xray-prepared --size 320, then train with --data films/chest_xray-prepared"
    )


def test_a_csv_keeps_its_folder_of_images():
    (line,) = told([(0.5, 60)], data=Path("labels.csv"), images=Path("png"))
    assert "xraycls data prepare labels.csv labels-prepared --size 320 --images png," in line


@pytest.mark.parametrize(
    ("rows", "source", "settings"),
    [
        ([(0.1, 60)], "folder", {}),
        ([(0.9, 0.5)], "folder", {}),
        ([(0.9, 60)], "prepared", {}),
        ([(0.9, 60)], "medmnist", {}),
        ([(0.9, 60)], "phantom", {"data": None}),
    ],
)
def test_otherwise_it_is_silent(rows, source, settings):
    assert told(rows, source, **settings) == []
