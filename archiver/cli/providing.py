"""The commands about providers: providers list, providers test."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import click

from archiver.cli.completing import provider_names, store_names
from archiver.cli.printing import json_option, output_options, plain, print_listing, print_rows, say, short, size_text
from archiver.core.errors import UsageError

TRIAL_PROMPT = "a red circle on white paper"
TRIAL_TAG = "providers-test"
#: US dollars. A trial that costs more, or whose price nobody knows, must be confirmed.
DEAR = Decimal("0.10")


@click.group()
def providers() -> None:
    """Show the providers, or try one."""


@providers.command("list")
@output_options
@click.pass_context
def providers_list(ctx: click.Context, output: str) -> None:
    """List the providers: address, pace, price of an image, and how it went last. Nobody is asked. Exits with 0 also
    when there are none, with 2 when the configuration is wrong.

    \b
    Example: archiver providers list
    """
    from contextlib import closing

    from archiver import wiring
    from archiver.catalogue import FILE_NAME

    config = wiring.load_config(ctx.obj["config"])
    recent: dict[str, Any] = {}
    if (config.archiver.data_dir / FILE_NAME).exists():
        with closing(wiring.open_catalogue(config)) as catalogue:
            recent = catalogue.providers.recent(config.providers)
    rows = [_described(config, name) | recent.get(name, _UNTRIED) for name in config.providers]
    shown = {**dict.fromkeys(_COLUMNS, plain), "last_error": short}
    print_listing(rows, shown, output, names=_NAMES)


_UNTRIED = dict.fromkeys(("last_success_at", "last_error", "last_error_at"))
_COLUMNS = (
    "provider",
    "kind",
    "model",
    "address",
    "concurrency",
    "pace",
    "lifetime",
    "price_usd",
    "price_from",
    "last_success_at",
    "last_error",
)
_NAMES = (*_COLUMNS[:6], "burst", "on_unknown", *_COLUMNS[6:], "last_error_at")


def _described(config: Any, name: str) -> dict[str, Any]:
    from archiver.settings import duration_text
    from archiver.wiring.checking import idle_provider

    section, provider = config.providers[name], idle_provider(config, name)
    addresses = section.settings.get("base_url") or ()
    lifetime = provider.promise.lifetime
    price_usd, source = _price(config, name, provider.model, None)
    if price_usd is None and any(_price(config, name, provider.model, size)[0] for size in ("1K", "2K", "4K")):
        source = "by size"
    return {
        "provider": name,
        "kind": section.kind,
        "model": provider.model,
        "address": addresses if isinstance(addresses, str) else " ".join(map(str, addresses)),
        "concurrency": provider.concurrency,
        "pace": section.pace,
        "burst": section.burst,
        "on_unknown": section.on_unknown,
        "lifetime": lifetime and duration_text(lifetime),
        "price_usd": price_usd,
        "price_from": source,
    }


def _price(config: Any, name: str, model: str, size: str | None) -> tuple[float | None, str]:
    """What one image costs today in US dollars, and who says so."""
    from archiver import wiring
    from archiver.core.pricing import Order

    order = Order(model=model, on=wiring.now().date(), size=size)
    price = wiring.tariffs(config)[name].price(order)
    return (None, "unknown") if price is None else (price.cost(1) / 1e6, price.source)


@providers.command("test")
@click.argument("name", shell_complete=provider_names)
@click.option("--prompt", default=TRIAL_PROMPT, show_default=True, help="What to ask for.")
@click.option(
    "--store",
    "stores",
    multiple=True,
    metavar="NAME",
    shell_complete=store_names,
    help="Where the image goes; may be repeated.",
)
@click.option("--yes", is_flag=True, help="Also when it costs more than $0.10, or nobody knows how much.")
@click.option("--dry-run", is_flag=True, help="Show what would be asked and what it costs, spend nothing.")
@json_option
@click.pass_context
def providers_test(
    ctx: click.Context, name: str, prompt: str, stores: tuple[str, ...], yes: bool, dry_run: bool, as_json: bool
) -> None:
    """Make one cheap call, for one image of the smallest size, and show what came of it: the shape of the answer, how
    long it took, what says when its URL dies, the price. The image is archived like any other.

    \b
    Exit codes: 0 an image came and is archived; 1 none came, or it waits; 2 there is no such provider, or the
    price must be confirmed with --yes: nothing was asked; 3 no store could keep it; 4 the image was lost.

    \b
    Example: archiver providers test apiyi
    """
    from archiver import wiring
    from archiver.cli import checking
    from archiver.cli.generating import see_through
    from archiver.cli.running import check_secrets, open_for_work

    config = wiring.load_config(ctx.obj["config"])
    if name not in config.providers:
        raise UsageError(f"there is no provider {name!r}; known are: {', '.join(config.providers) or 'none'}")
    into = wiring.choose_stores(config, stores)
    wish = _trial_wish(config, name, prompt)
    checking.refuse(config, name, [wish], wish)
    model = _say_price(config, name, wish, may_be_dear=yes, is_dry=dry_run)
    check_secrets(config, [name], into)
    if dry_run:
        return
    house = open_for_work(ctx, config)
    draft = _draft(config, name, model, wish, into)
    house.catalogue.generations.add([draft], wiring.now())
    close = see_through(house, [draft.id])
    rows = list(_findings(house.catalogue, draft.id))
    print_rows([_as_one(rows)] if as_json else rows, _FINDING, as_json=as_json)
    ctx.exit(close())


_FINDING = {"what": plain, "found": plain}


def _as_one(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The findings as one object; what may be found more than once is a list."""
    one: dict[str, Any] = {row["what"]: row["found"] for row in rows}
    return one | {what: [row["found"] for row in rows if row["what"] == what] for what in ("image", "expires", "key")}


def _trial_wish(config: Any, name: str, prompt: str) -> Any:
    """One image of the smallest size that the model is known to make, else of the provider's choice."""
    from archiver.core.known_models import find_model
    from archiver.core.model import Wish
    from archiver.wiring.checking import idle_provider, remarks

    known = find_model(idle_provider(config, name).model)
    chosen = Wish(prompt=prompt, size=known.smallest if known else None, n=1)
    if any(remark.level == "error" for _, remark in remarks(config, name, [chosen], chosen)):
        return Wish(prompt=prompt, n=1)
    return chosen


def _say_price(config: Any, name: str, wish: Any, *, may_be_dear: bool, is_dry: bool) -> str:
    """Tell what a trial is expected to cost. Raises UsageError when that must be confirmed. Returns the model."""
    from archiver.wiring.checking import idle_provider

    model = idle_provider(config, name).model
    price, source = _price(config, name, model, wish.size)
    cost = f"${price:.4g} ({source})" if price is not None else "an unknown amount"
    would = "(dry-run) would ask" if is_dry else "asking"
    size = f"of size {wish.size}" if wish.size else "of the size that it chooses"
    say(f'{would} {name} for one image {size}, "{plain(wish.prompt)}": {plain(cost)}')
    is_dear = price is None or Decimal(str(price)) > DEAR
    if is_dear and not may_be_dear and not is_dry:
        raise UsageError("say --yes if that is meant; nothing was asked for")
    return model


def _draft(config: Any, name: str, model: str, wish: Any, stores: tuple[str, ...]) -> Any:
    from archiver import wiring
    from archiver.catalogue import Draft

    return Draft(
        id=wiring.new_id(),
        origin="generate",
        prompt=wish.prompt,
        provider=name,
        model=model,
        size=wish.size,
        n=1,
        stores=stores,
        tags=(TRIAL_TAG,),
        settings=wiring.request_settings(config, name),
    )


def _findings(catalogue: Any, generation_id: str) -> Iterator[dict[str, Any]]:
    """What the catalogue knows of a trial, a line each."""
    trial = catalogue.providers.trial(generation_id)
    names = catalogue.materials.images(generation_id)
    images = [story for name in names if (story := catalogue.reports.image(name)) is not None]
    shapes = {"b64" if story["deadline_from"] == "inline" else "url" for story in images}
    found: list[tuple[str, Any]] = [
        ("generation", generation_id),
        ("state", trial["state"]),
        ("shape", ", ".join((["task"] if trial["was_task"] else []) + sorted(shapes)) or None),
        ("latency_s", trial["latency_s"] and round(trial["latency_s"], 3)),
        ("request_id", trial["request_id"]),
        ("price_usd", trial["cost_usd"]),
        ("error", trial["error"]),
    ]
    for story in images:
        found += _of_image(story)
    yield from ({"what": what, "found": value} for what, value in found)


def _of_image(story: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "image", story["image_id"]
    yield "image_state", story["state"]
    yield "image_type", story["content_type"]
    yield "image_size", size_text(story["size"])
    if story["width"]:
        yield "image_pixels", f"{story['width']}x{story['height']}"
    for item in story["evidence"]:
        decided = " (decided)" if item["source"] == story["deadline_from"] else ""
        hint = f" {item['detail']}" if item["detail"] else ""
        bound = ", at least" if item["lower_bound"] else ""
        yield "expires", f"{item['at']} says the {item['source']}{hint}{bound}{decided}"
    yield "deadline", f"{story['deadline']} ({story['deadline_from']})"
    for copy in story["copies"]:
        if copy["key"]:
            yield "key", f"{copy['store']}: {copy['key']}"
