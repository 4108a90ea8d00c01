"""The command that tries everything before it is needed: doctor."""

from typing import Any

import click

from archiver.cli.printing import json_option, plain, print_rows
from archiver.core.errors import UsageError

SHOWN = ("subject", "check", "verdict", "text", "advice")


@click.command()
@click.option("--store", "stores", multiple=True, metavar="NAME", help="Only this store; may be repeated.")
@click.option("--provider", "providers", multiple=True, metavar="NAME", help="Only this provider; may be repeated.")
@click.option("--offline", is_flag=True, help="Ask nobody: nothing leaves this machine.")
@click.option("--deep", is_flag=True, help="Read the whole catalogue, every index and reference; may take long.")
@json_option
@click.pass_context
def doctor(
    ctx: click.Context, stores: tuple[str, ...], providers: tuple[str, ...], offline: bool, deep: bool, as_json: bool
) -> None:
    """Try this machine, the configuration, the catalogue, each provider and each store, and say what to do.

    One line for each check: ok, warn or bad. A provider is asked for its address alone, without a key, and nothing is
    ever paid for. A store is tried with one object, `_canary/probe` below its prefix: put, read, overwritten (which
    must fail), listed, signed. Nothing else is changed.

    \b
    Exit codes: 0 all is well, or only warnings; 1 something is bad, archiving goes on;
    2 the configuration or a secret is wrong; 3 archiving cannot work.
    Example: archiver doctor --store main
    """
    from archiver import wiring
    from archiver.doctor import Patient, examine, exit_code

    def load() -> Any:
        config = wiring.load_config(ctx.obj["config"])
        for kind, named, known in (("store", stores, config.stores), ("provider", providers, config.providers)):
            for name in named:
                if name not in known:
                    raise UsageError(f"there is no {kind} {name!r}; known are: {', '.join(known) or 'none'}")
        return config

    wiring.set_up_logging("ERROR")
    patient = Patient(load=load, stores=stores, providers=providers, offline=offline, deep=deep)
    findings = []
    for finding in examine(patient):
        findings.append(finding)
        if not as_json:
            advice = f"; {finding.advice}" if finding.advice else ""
            line = f"{finding.subject}: {finding.check}: {finding.text}{advice}"
            click.echo(f"{finding.verdict:<4}  {plain(line)}")
    if as_json:
        print_rows([{name: getattr(finding, name) for name in SHOWN} for finding in findings], {}, as_json=True)
    ctx.exit(exit_code(findings))
