"""Names from the configuration for the shell's TAB: stores, jobs, providers.

It asks nobody, and keeps silent when there is no configuration or something is wrong with it: a complaint in the middle
of somebody's typing helps nobody.
"""

from collections.abc import Callable
from typing import Any

import click

Completion = Callable[[click.Context, click.Parameter, str], list[str]]


def _names(of: Callable[[Any], list[str]]) -> Completion:
    def complete(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
        from archiver import wiring
        from archiver.core.errors import ArchiverError

        try:
            config = wiring.load_config(ctx.find_root().params.get("config"))
        except (ArchiverError, OSError, ValueError):
            return []
        return [name for name in of(config) if name.startswith(incomplete)]

    return complete


#: For the `shell_complete` of an option or argument.
store_names = _names(lambda config: list(config.stores))
provider_names = _names(lambda config: list(config.providers))
job_names = _names(lambda config: [job.name for job in config.jobs])
