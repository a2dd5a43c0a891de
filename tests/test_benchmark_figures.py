"""The script on the cost of intervals compares like with like."""

import sys

import pytest

from benchmarks import figures


def test_a_row_a_size(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["figures", "--cases", "300", "500", "--resamples", "20"])
    figures.main()
    shown = capsys.readouterr().out
    assert "300" in shown
    assert "500" in shown


def test_a_line_a_size_of_several_findings(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["figures", "--findings", "3", "--cases", "300", "--resamples", "20"])
    figures.main()
    assert "300 predictions of 3 findings, 20 resamples" in capsys.readouterr().out


def test_time_is_that_of_the_work():
    row = figures.measure(400, 20)
    assert row["times"] == pytest.approx(row["scikit_learn"] / row["seconds"])
