"""Spellings of long options that older programs took: ``--base_model``, ``--epoch`` and ``--l`` for ``--label``."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

from xraycls.errors import UsageError

# The flags of the system that this one replaces, by their present names.
ALIASES = {"--epoch": "--epochs", "--nvidiadali": "--dali"}


class AbbreviatedCommand(TyperCommand):
    """A command whose long options may be cut short as long as one option alone begins that way."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Spell abbreviated options out, then parse as usual.

        Raises:
            UsageError: an abbreviation that several options begin with.
        """
        parameters = [[*p.opts, *p.secondary_opts] for p in self.get_params(ctx)]
        names = [[name for name in spelt if name.startswith("--")] for spelt in parameters]
        return super().parse_args(ctx, spelt_out(args, names))


def spelt_out(arguments: list[str], options: list[list[str]]) -> list[str]:
    """Arguments with every abbreviated long option in full.

    The rule is that of ``argparse`` (``allow_abbrev``): an exact name wins, what follows ``--`` is left alone, and a
    beginning that no option has is left to the parser to complain about.

    Args:
        arguments: as given, ``--name value`` or ``--name=value``.
        options: the long names of each option; two names of one option are not ambiguous.

    Raises:
        UsageError: names the options that the abbreviation could mean.
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return [_spelt_out(a, options) if a.startswith("--") else a for a in arguments[:end]] + arguments[end:]


def _spelt_out(argument: str, options: list[list[str]]) -> str:
    given, equals, value = argument.partition("=")
    if any(given in names for names in options):
        return argument
    meant = [near[0] for names in options if (near := [name for name in names if name.startswith(given)])]
    if len(meant) > 1:
        raise UsageError(f"{given} is ambiguous: it could mean {', '.join(meant)}", "Type one more letter")
    return meant[0] + equals + value if meant else argument


def normalised(arguments: list[str]) -> list[str]:
    """Flags with dashes and of today's names: ``--base_model=VGG16`` becomes ``--base-model=VGG16``."""
    found = []
    for argument in arguments:
        if argument.startswith("--"):
            flag, equals, value = argument.partition("=")
            flag = flag.replace("_", "-")
            argument = ALIASES.get(flag, flag) + equals + value
        found.append(argument)
    return found
