"""The command that writes what is known into files: export, as lines, a manifest or a gallery. It changes nothing."""

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

import click

from archiver.cli.asking import open_catalogue
from archiver.cli.filtering import filter_options, make_filter
from archiver.cli.getting import free_path, into_file
from archiver.cli.printing import csv_cells, plain, say
from archiver.cli.running import Patience
from archiver.core.errors import UsageError

COLUMNS = (
    *("image_id", "generation_id", "state", "prompt", "revised_prompt", "job", "provider", "model", "role", "tags"),
    *("store", "key", "sha256", "size", "content_type", "width", "height", "verdict", "cost_usd", "parents"),
    *("deadline", "deadline_from", "attempts", "not_before", "source", "error"),
    *("created_at", "fetched_at", "archived_at"),
)
KINDS = ("csv", "jsonl", "manifest", "gallery")


@click.command()
@click.argument("target", metavar="FILE|DIR")
@click.option("--csv", "kind", flag_value="csv", help="CSV with a header, a line for each image.")
@click.option("--jsonl", "kind", flag_value="jsonl", help="JSON, a line for each image.")
@click.option("--manifest", "kind", flag_value="manifest", help="Digest and key of each object, for sha256sum -c.")
@click.option("--gallery", "kind", flag_value="gallery", help="A folder with a page that opens from the disk.")
@filter_options
@click.option("--limit", type=click.IntRange(1), help="At most so many images. Default: all.")
@click.option("--reverse", is_flag=True, help="The oldest first, and not the newest.")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@click.option("--title", default="archiver", show_default=True, help="The heading of the gallery.")
@click.option("--no-thumbnails", is_flag=True, help="The gallery shows the original images; needs no Pillow.")
@click.option(
    "--presign",
    type=Patience(),
    metavar="7d",
    help="Link full images of a private bucket by signed addresses that die then.",
)
@click.pass_context
def export(
    ctx: click.Context,
    /,
    target: str,
    kind: str | None,
    limit: int | None,
    reverse: bool,
    force: bool,
    title: str,
    no_thumbnails: bool,
    presign: timedelta | None,
    **filters: Any,
) -> None:
    """Write everything that the filters mean into a file, or a gallery into a folder.

    `-` as FILE is standard output. A file that is there is left alone; a gallery is brought up to date in its folder.
    The gallery needs Pillow for its thumbnails, loads nothing from elsewhere but the full images, and links those by
    public_base_url or by their file; signed addresses stand in it only with --presign. Exits with 0; with 1 when
    thumbnails of some images could not be made; with 2 when the target is in the way.

    \b
    Examples: archiver export images.csv --csv --since 30d
              archiver export gallery --gallery --tag shop
              archiver export SHA256SUMS --manifest --store main
    """
    chosen = kind or {".csv": "csv", ".jsonl": "jsonl"}.get(Path(target).suffix)
    if chosen is None:
        raise UsageError(f"say what to write: {', '.join(f'--{one}' for one in KINDS)}")
    if presign is not None and (chosen != "gallery" or not timedelta(seconds=1) <= presign <= timedelta(days=7)):
        raise UsageError("--presign is for --gallery, and between 1s and 7d: no signature lives longer")
    with ExitStack() as stack:
        config, catalogue = open_catalogue(ctx)
        wanted = make_filter(config, **filters)
        rows = _first(_snapshot_of(catalogue, stack).exports.images(wanted, reverse=reverse), limit)
        if chosen == "gallery":
            gallery = {"title": title, "thumbnails": not no_thumbnails, "presign": presign}
            ctx.exit(_exhibit(config, Path(target), rows, wanted.store, gallery))
        lines = _manifest(config, rows, wanted.store) if chosen == "manifest" else _WRITERS[chosen](rows)
        _write(target, lines, force)


def _first(rows: Iterator[dict[str, Any]], limit: int | None) -> Iterator[dict[str, Any]]:
    from itertools import islice

    return islice(rows, limit)


def _snapshot_of(catalogue: Any, stack: ExitStack) -> Any:
    """The catalogue, or where a long read would hold up archiver, a copy of it until `stack` ends."""
    import tempfile

    from archiver.catalogue import FILE_NAME, Catalogue
    from archiver.catalogue.viewing import readers_need_a_snapshot, snapshot

    if not readers_need_a_snapshot():
        return catalogue
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="archiver-")))
    snapshot(catalogue.path, folder / FILE_NAME)
    copy = Catalogue.open(folder, create=False)
    stack.callback(copy.close)
    return copy


def _csv(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        first = row["copies"][0] if row["copies"] else {"store": None, "key": None}
        writer.writerow(csv_cells(row | {"store": first["store"], "key": first["key"]}, COLUMNS))
        yield lines.getvalue()
        lines.seek(0)
        lines.truncate()
    yield lines.getvalue()


def _jsonl(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    for row in rows:
        yield json.dumps(row, ensure_ascii=False) + "\n"


_WRITERS = {"csv": _csv, "jsonl": _jsonl}


def _manifest(config: Any, rows: Iterable[dict[str, Any]], store: str | None) -> Iterator[str]:
    """Lines of sha256sum, each after a comment with the size. A folder's files are named relative to it."""
    from archiver import wiring
    from archiver.wiring.showing import Shown

    (name,) = wiring.choose_stores(config, (store,) if store else ())
    with Shown(config) as shown:
        root = shown.root(name)
        where, check = (str(root), "sha256sum -c") if root else (config.stores[name].url, "rclone checksum sha256")
        yield f"# archiver: store {name}, {plain(where)}; check it there with `{check}`\n"
        for row in rows:
            copy = shown.choose(row["copies"], name)
            if copy is None:
                continue
            file = shown.file(name, copy["key"])
            path = os.path.relpath(file, root) if file and root else copy["key"]
            escaped = path.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
            mark = "\\" if escaped != path else ""
            yield f"# {row['size']} bytes\n{mark}{row['sha256']}  {escaped}\n"


def _write(target: str, lines: Iterable[str], force: bool) -> None:
    if target == "-":
        for line in lines:
            click.echo(line, nl=False)
        return
    path = free_path(target, force)
    into_file(path, force, lambda file: _fill(file, lines))


def _fill(file: IO[bytes], lines: Iterable[str]) -> dict[str, Any]:
    for line in lines:
        file.write(line.encode("utf-8", "replace"))
    return {}


def _exhibit(
    config: Any, folder: Path, rows: Iterator[dict[str, Any]], store: str | None, gallery: dict[str, Any]
) -> int:
    """Make the gallery and tell of it; the exit code."""
    from archiver import wiring
    from archiver.gallery import PAGE, Thumbnailer, check_folder
    from archiver.wiring.exhibition import Exhibition

    if store is not None:
        wiring.choose_stores(config, (store,))
    check_folder(folder)
    if gallery["thumbnails"]:
        Thumbnailer.require()
    made = Exhibition(config=config, folder=folder, tell=_counter(), **gallery)
    made.make(rows, store)
    for trouble in made.troubles:
        say(plain(trouble))
    if made.failed:
        say(f"{made.failed} images have no thumbnail")
    if made.without_copy:
        say(f"{made.without_copy} images have no confirmed copy in a store of this configuration: they are left out")
    if gallery["presign"] is not None:
        say("links to full images were signed: whoever has the page sees them until they die; the page says when")
    say(f"{made.shown} images in {plain(str(folder / PAGE))}")
    return 1 if made.failed else 0


def _counter() -> Any:
    """On a terminal, how many pictures are ready."""
    import sys

    if not sys.stderr.isatty():
        return lambda _: None
    from rich.console import Console

    console = Console(stderr=True)
    status = console.status("starting")

    def tell(count: int) -> None:
        status.update(f"{count} images")

    status.start()
    click.get_current_context().call_on_close(status.stop)
    return tell
