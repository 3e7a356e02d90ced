"""`completion`: click's own scripts, which ask this program what fits."""

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    add_completion_class,
    get_completion_class,
)

from app.analysis.job_spec import SAMPLE_PREFIX
from app.cli.common import COMMAND, DONE
from app.cli.examples import COMPLETION_EXAMPLES
from app.cli.interface import Command

SHELLS = ("bash", "zsh", "fish")
VARIABLE = f"_{COMMAND.upper()}_COMPLETE"


@click.command(
    cls=Command,
    epilog=COMPLETION_EXAMPLES,
    short_help="Print a script that completes this command in a shell",
)
@click.argument("shell", type=click.Choice(SHELLS), help="bash, zsh or fish")
@click.pass_context
def completion(context: click.Context, shell: str) -> int:
    """Print a script that completes commands, options and sample networks."""
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(context.find_root().command, {}, COMMAND, VARIABLE).source(), nl=False)
    return DONE


class ModelParameter(click.ParamType[str]):
    """A model's file, or a sample's name, both of which the shell completes."""

    name = "model"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        """The samples that begin so; files, which the shell looks for itself."""
        from sample_models import MODELS

        names = [f"{SAMPLE_PREFIX}{name}" for name in MODELS]
        samples = [CompletionItem(name) for name in names if name.startswith(incomplete)]
        return [CompletionItem(incomplete, type="file"), *samples]


@add_completion_class
class Bash(BashComplete):
    """Bash, which takes `sample:NAME` and `--mode=NAME` for three words each."""

    _begun = ""  # what comes before the last of such words

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the cursor, and the one at it, put together again."""
        args, incomplete = super().get_completion_args()
        words: list[str] = []
        separated = False
        for word in [*args, incomplete]:
            if words and (separated or word in (":", "=")):
                words[-1] += word
            else:
                words.append(word)
            separated = word in (":", "=")
        self._begun = (
            words[-1].removesuffix(incomplete) if incomplete not in (":", "=") else words[-1]
        )
        return words[:-1], words[-1]

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """What bash puts in place of the last word only."""
        return f"{item.type},{item.value.removeprefix(self._begun)}"
