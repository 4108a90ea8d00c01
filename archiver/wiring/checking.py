"""What is wrong or odd with requests, before anything is planned: each provider is asked for its remarks.

The adapters are built as they are for work, but with an outside in which there is nothing: a remark needs no secret, no
network and no disk.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from archiver.config import Config
from archiver.core.errors import ConfigurationError, Unusable
from archiver.core.model import Ask, HttpReply, Input, SecretReference, Wish
from archiver.core.news import Remark
from archiver.core.ports import Outside, Provider
from archiver.wiring.adapters import connect, tariffs
from archiver.wiring.surroundings import elapsed, now

_UNREAD = Input(sha256="0" * 64, content_type="image/png", data=b"")


class _Nowhere:
    def send(self, *_: object, **__: object) -> HttpReply:
        raise Unusable("nothing is sent while a request is only checked")


def _no_secret(reference: SecretReference) -> str:
    raise ConfigurationError(f"{reference} is not read while a request is only checked")


def idle_provider(config: Config, name: str) -> Provider:
    """The provider called `name`, fit for everything that needs no outside."""
    outside = Outside(
        secret=_no_secret,
        now=now,
        elapsed=elapsed,
        network=config.network,
        engine=_Nowhere(),
        state_dir=Path(config.archiver.data_dir) / "providers",
    )
    provider: Provider = connect(config, "providers", name, outside)
    return provider


def remarks(config: Config, name: str, wishes: Iterable[Wish], otherwise: Wish) -> Iterator[tuple[Wish, Remark]]:
    """What a provider remarks on each wish; `otherwise` is what holds where a wish says nothing. A model with a price
    is no unknown one."""
    provider = idle_provider(config, name)
    has_price = tariffs(config)[name].prices.knows(provider.model)
    for wish in wishes:
        inputs = wish.inputs or otherwise.inputs
        ask = Ask(
            generation_id="check",
            prompt=wish.prompt,
            model=provider.model,
            size=wish.size or otherwise.size,
            n=wish.n or otherwise.n or 1,
            parameters={**otherwise.parameters, **wish.parameters},
            inputs=(_UNREAD,) * len(inputs),
        )
        for remark in provider.check(ask):
            if not (remark.about == "model" and has_price):
                yield wish, remark
