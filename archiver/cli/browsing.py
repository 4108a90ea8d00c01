"""The command that opens the catalogue in a browser: browse. It needs no secret until a picture is asked for."""

from collections.abc import Mapping
from typing import Any

import click

from archiver.cli.asking import open_catalogue
from archiver.cli.printing import say


@click.command()
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="Listen there. Default: a free one.")
@click.option("--no-open", is_flag=True, help="Only print the address, and open no browser.")
@click.pass_context
def browse(ctx: click.Context, port: int, no_open: bool) -> None:
    """Look through the catalogue in a browser: pictures, facets, ready questions, and SQL that can only read.

    It serves this machine alone (127.0.0.1) until Ctrl-C; temporary URLs cannot be read there.
    Needs Datasette, and says how to install it. Exits with 0 after Ctrl-C, with 2 without Datasette, with 3 when the
    port is taken.

    \b
    Example: archiver browse --port 8001
    """
    from archiver import browse as shell
    from archiver.browse.pictures import Pictures
    from archiver.gallery import Thumbnailer
    from archiver.wiring.showing import Shown

    shell.require()
    config, catalogue = open_catalogue(ctx)
    with shell.listen(port) as sock, Shown(config) as stores, Thumbnailer() as thumbnailer:

        def find(image_id: str) -> tuple[bytes, str | None] | None:
            story = catalogue.reports.image(image_id)
            confirmed = [one for one in story["copies"] if one["state"] == "confirmed"] if story else []
            copy = stores.choose(confirmed)
            return (stores.whole(copy["store"], copy), story["content_type"]) if copy else None

        def public(row: Mapping[str, Any]) -> str | None:
            store = str(row.get("store"))
            return stores.public(store, str(row["key"])) if store in config.stores else None

        def ready(address: str) -> None:
            click.echo(address)
            say("Ctrl-C ends it")
            if not no_open:
                click.launch(address)

        shell.serve(catalogue.path, Pictures(find=find, public=public, thumbnailer=thumbnailer), sock, ready)
