"""`xraycls ssd …` and its like: the verbs of every network that TLT/TAO specs are read for; one file a verb."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import typer

from xraycls.cli.abbreviations import AbbreviatedCommand
from xraycls.cli.dataset_convert import dataset_convert
from xraycls.cli.networks import evaluate, export, inference, kmeans, prune, spec_check, train
from xraycls.cli.tao_command import TaoCommand
from xraycls.errors import XrayclsError
from xraycls.tao.networks import NETWORKS
from xraycls.tao.networks.base import TaoNetwork

VERBS: Mapping[str, Callable[..., None]] = {
    "train": train.train,
    "evaluate": evaluate.evaluate,
    "inference": inference.inference,
    "prune": prune.prune,
    "kmeans": kmeans.kmeans,
    "export": export.export,
}
"""What can be done with a network whose ``verbs`` say so."""

_OF_TAO = (*VERBS, "gen_trt_engine")
_ANYTHING = {"ignore_unknown_options": True, "allow_extra_args": True}


def add_networks(app: typer.Typer, **options: Any) -> None:
    """Give the program a group of verbs for each network of the table, by its name and its aliases."""
    for network in NETWORKS.values():
        verbs = _group(network)
        app.add_typer(verbs, name=network.name, **options)
        for alias in network.aliases:
            app.add_typer(verbs, name=alias, hidden=True)


def _group(network: TaoNetwork) -> typer.Typer:
    what = f"{network.title} from TLT/TAO specs, with the flags of TAO."
    if not network.is_trained:
        what = f"Specs of {network.title}: read and checked; training follows."
    app = typer.Typer(help=what, no_args_is_help=True)
    for name in _OF_TAO:
        if name in network.verbs:
            app.command(name, cls=_with_optional(network.optional.get(name, ())))(VERBS[name])
        else:
            app.command(name, cls=TaoCommand, hidden=True, context_settings=_ANYTHING)(_absent(network, name))
    app.command("spec-check", cls=AbbreviatedCommand)(spec_check.spec_check(network.name))
    app.command("spec_check", cls=AbbreviatedCommand, hidden=True)(spec_check.spec_check(network.name))
    app.command("dataset_convert", cls=TaoCommand, hidden=True)(dataset_convert)
    app.command("dataset-convert", cls=TaoCommand, hidden=True)(dataset_convert)
    return app


def _with_optional(names: Sequence[str]) -> type[TaoCommand]:
    """Returns a kind of command that may lack some parameters, which a network's specs can name."""

    class Command(TaoCommand):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            for parameter in self.params:
                parameter.required = parameter.required and parameter.name not in names

    return Command if names else TaoCommand


_INSTEAD: Mapping[str, str] = {
    "gen_trt_engine": "; export writes an ONNX file, and into export.json the trtexec command that builds its engine"
}
"""What does the work of a verb of TAO that isn't here."""


def _absent(network: TaoNetwork, verb: str) -> Callable[..., None]:
    """A verb of TAO that this network doesn't have here, which says so whatever its flags."""

    def command() -> None:
        there = ", ".join((*network.verbs, "spec-check", "dataset_convert"))
        instead = _INSTEAD.get(verb, "")
        raise XrayclsError(f"There is no xraycls {network.name} {verb} yet", f"{network.title} has {there}{instead}")

    command.__doc__ = "Not there yet."
    return command
