"""Ways back from the archive: get, the bytes of an image, and url, an address that shows it."""

import hashlib
import sys
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import click

from archiver.cli.asking import open_catalogue
from archiver.cli.completing import store_names
from archiver.cli.printing import plain, say
from archiver.cli.running import Patience
from archiver.core.errors import ArchiverError, Corrupt, UsageError

store_option = click.option(
    "--store", metavar="NAME", shell_complete=store_names, help="From this store. Default: the first that has it."
)
_PIECE = 1024 * 1024


def _copies(config: Any, catalogue: Any, image_id: str, store: str | None) -> list[dict[str, Any]]:
    """The confirmed copies of an image in stores that are configured. Raises UsageError when there is none."""
    story = catalogue.reports.image(image_id)
    if story is None:
        raise UsageError(f"there is no image {plain(image_id)!r}; `archiver images` lists them")
    if store is not None and store not in config.stores:
        raise UsageError(f"there is no store {plain(store)!r}; known are: {', '.join(config.stores) or 'none'}")
    wanted = [store] if store is not None else list(config.stores)
    confirmed = {copy["store"]: copy for copy in story["copies"] if copy["state"] == "confirmed"}
    if found := [confirmed[name] for name in wanted if name in confirmed]:
        return found
    where = f"in {store}" if store is not None else "in any store of this configuration"
    raise UsageError(f"image {image_id} is {story['state']} and has no confirmed copy {where}")


@click.command()
@click.argument("image_id", metavar="ID")
@click.option("-o", "--output", "target", required=True, metavar="FILE", help="Where to; `-` is standard output.")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@store_option
@click.pass_context
def get(ctx: click.Context, image_id: str, target: str, force: bool, store: str | None) -> None:
    """Bring the bytes of an archived image back, from a store into a file.

    The digest is verified before the file gets its name, or before the first byte is printed; where one store fails,
    the next is asked. A file that is there is left alone. Exits with 1 when no store gives the right bytes, with 2 when
    there is no such image or the file is there.

    \b
    Examples: archiver get 01kag2m5x8f3w9y7b1q0z4c6de -o moon.png
              archiver get 01kag2m5x8f3w9y7b1q0z4c6de -o - | feh -
    """
    config, catalogue = open_catalogue(ctx)
    copies = _copies(config, catalogue, image_id.lower(), store)
    if target == "-":
        with tempfile.TemporaryFile() as file:
            _bring(config, copies, file)
            file.seek(0)
            while piece := file.read(_PIECE):
                sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
        return
    path = free_path(target, force)
    used = into_file(path, force, lambda file: _bring(config, copies, file))
    say(f"{plain(target)}: {used['size']} bytes from {used['store']}, sha256 {used['sha256']}")


def free_path(target: str, force: bool) -> Path:
    """Where a file may be written. Raises UsageError for a folder, for a file that is there (unless `force`), and where
    there is no folder for it."""
    path = Path(target)
    if path.is_dir():
        raise UsageError(f"{plain(target)} is a folder; name a file")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {plain(str(path.parent))}")
    if path.exists() and not force:
        raise UsageError(f"{plain(target)} is there already; --force replaces it")
    return path


def into_file(path: Path, force: bool, fill: Callable[[IO[bytes]], dict[str, Any]]) -> dict[str, Any]:
    """Fill a new file beside `path` and give it the name when it is whole."""
    import os

    handle, name = tempfile.mkstemp(prefix=".archiver-", dir=path.parent)
    part = Path(name)
    try:
        with os.fdopen(handle, "wb+") as file:
            used = fill(file)
            file.flush()
            os.fsync(file.fileno())
        if not force:
            try:
                path.touch(mode=0o600, exist_ok=False)  # claims the name: somebody else may have made it meanwhile
            except FileExistsError:
                raise UsageError(f"{plain(str(path))} is there already; --force replaces it") from None
        part.replace(path)
        return used
    finally:
        part.unlink(missing_ok=True)


def _bring(config: Any, copies: list[dict[str, Any]], file: IO[bytes]) -> dict[str, Any]:
    """Write the bytes of the first copy that is what it must be. Raises ArchiverError when none is."""
    from archiver.wiring.reading import open_store

    troubles = []
    for copy in copies:
        file.seek(0)
        file.truncate()
        digest = hashlib.sha256()
        try:
            with open_store(config, copy["store"]) as store:
                for piece in store.open(copy["key"]):
                    digest.update(piece)
                    file.write(piece)
            if digest.hexdigest() != copy["sha256"]:
                raise Corrupt(f"{copy['store']}: {copy['key']} holds other bytes than were archived")
        except ArchiverError as error:
            troubles.append(str(error))
            continue
        for trouble in troubles:
            say(plain(trouble))
        return copy
    raise ArchiverError("; ".join(troubles))


@click.command()
@click.argument("image_id", metavar="ID")
@click.option(
    "--expires", type=Patience(), default="1h", show_default=True, metavar="1h", help="How long a signed address lives."
)
@store_option
@click.pass_context
def url(ctx: click.Context, image_id: str, expires: timedelta, store: str | None) -> None:
    """Print an address that shows an archived image: the public one where the store has `public_base_url`, else one
    that is signed now and dies after `--expires` (at most 7 days).

    It is printed and nowhere kept; whoever has a signed address sees the image. That the address works is not tried.
    Exits with 1 when the store cannot sign, with 2 when there is no such image.

    \b
    Example: archiver url 01kag2m5x8f3w9y7b1q0z4c6de --expires 10m
    """
    from archiver.wiring.reading import open_store

    if not timedelta(seconds=1) <= expires <= timedelta(days=7):
        raise UsageError("--expires is between 1s and 7d: no signature lives longer")
    config, catalogue = open_catalogue(ctx)
    copy = _copies(config, catalogue, image_id.lower(), store)[0]
    public = config.stores[copy["store"]].settings.get("public_base_url")
    if public:
        click.echo(f"{str(public).rstrip('/')}/{quote(copy['key'], safe='/~')}")
        return
    with open_store(config, copy["store"]) as opened:
        click.echo(opened.presign(copy["key"], expires))
