"""The command that a web server hands a webhook to: notice."""

import sys
from typing import Any

import click

from archiver.cli.completing import provider_names
from archiver.cli.printing import plain
from archiver.cli.running import open_for_work
from archiver.core.errors import ArchiverError, UsageError

MOST_BYTES = 64 * 1024 * 1024


def parse_headers(texts: tuple[str, ...]) -> dict[str, str]:
    """`Name: value` lines as headers. Raises UsageError."""
    found: dict[str, str] = {}
    for text in texts:
        name, colon, value = text.partition(":")
        if not colon or not name.strip():
            raise UsageError(f'{plain(text)!r} is no header; write for example "webhook-id: msg_1"')
        found[name.strip().lower()] = value.strip()
    return found


@click.command()
@click.argument("provider", metavar="PROVIDER", shell_complete=provider_names)
@click.option("--header", "headers", multiple=True, metavar="NAME: VALUE", help="A header of it; may be repeated.")
@click.pass_context
def notice(ctx: click.Context, provider: str, headers: tuple[str, ...]) -> None:
    """Take in a webhook: its body on standard input, byte for byte, and its headers.

    It is verified where the provider signs; then the work that it names is asked for, and its images are archived.
    Nothing else in it is believed: an address that stands in a webhook is never fetched.

    \b
    Exit codes: 0 its images are archived; 1 it is not genuine, names work that was never asked for, or an image
    waits; 2 there is no such provider, or it sends no webhooks; 4 an image was lost.

    \b
    Example: archiver notice replicate --header "webhook-id: $ID" --header "webhook-timestamp: $TIME"
               --header "webhook-signature: $SIGNATURE" < body.json
    """
    from archiver import wiring
    from archiver.cli import progress
    from archiver.pipeline.crew import Crew

    said = parse_headers(headers)
    config = wiring.load_config(ctx.obj["config"])
    if provider not in config.providers:
        known = ", ".join(config.providers) or "none"
        raise UsageError(f"there is no provider {plain(provider)!r}; known are: {known}")
    body = sys.stdin.buffer.read(MOST_BYTES + 1)
    if len(body) > MOST_BYTES:
        raise UsageError(f"the body is longer than {MOST_BYTES} bytes")
    house = open_for_work(ctx, config)
    port = house.pipeline.providers[provider]
    generation = house.pipeline.polling.notice(port, _handle(provider, port, said, body))
    if generation is None:
        raise ArchiverError(f"{provider} was never given the work that this webhook names")
    crew: Any = Crew(house.pipeline, copies=house.config.archiver.copies, generations=[generation], patience=False)
    signals = progress.work(crew)
    ctx.exit(progress.close_with(crew, [generation], signals))


def _handle(name: str, provider: Any, headers: dict[str, str], body: bytes) -> str:
    """The handle that a genuine webhook names. Raises ArchiverError."""
    from archiver.core.ports import Notified

    if not isinstance(provider, Notified):
        raise UsageError(f"provider {name} sends no webhooks")
    handle = provider.verify_webhook(headers, body)
    if handle is None:
        raise ArchiverError(f"this is no webhook of {name}: signature, time or task are not as they must be")
    return handle
