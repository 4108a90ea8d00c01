"""Remarks on requests before they are paid for, as commands show them."""

from collections.abc import Iterable
from typing import Any

from archiver.cli.printing import counted, plain, say, short
from archiver.core.errors import UsageError
from archiver.core.model import Wish

#: What is said of more requests than these helps nobody.
MOST_SHOWN = 20


def tell(config: Any, provider: str, wishes: Iterable[Wish], otherwise: Wish, before: str = "") -> int:
    """Say what is wrong or odd with requests to one provider, each thing once. Returns how many of them would fail for
    sure. Nobody is asked, and nothing is spent."""
    from archiver.wiring.checking import remarks

    said: dict[str, list[str]] = {}
    failing: set[str] = set()
    for wish, remark in remarks(config, provider, wishes, otherwise):
        said.setdefault(f"{remark.level}: {remark.text}", []).append(wish.prompt)
        if remark.level == "error":
            failing.add(wish.prompt)
    for text, prompts in list(said.items())[:MOST_SHOWN]:
        of = f'"{short(prompts[0])}"' + (f" and {len(prompts) - 1} more" if len(prompts) > 1 else "")
        say(f"{before}{plain(text)} ({of})")
    if len(said) > MOST_SHOWN:
        say(f"{before}and {len(said) - MOST_SHOWN} more such remarks")
    return len(failing)


def wish_of(job: Any) -> Wish:
    """What a job wants where its prompts say nothing."""
    return Wish(prompt="", size=job.size, n=job.n, parameters=job.parameters, inputs=job.inputs)


def refuse(config: Any, provider: str, wishes: Iterable[Wish], otherwise: Wish) -> None:
    """The same, before money is spent. Raises UsageError when one of them would fail for sure."""
    failing = tell(config, provider, wishes, otherwise)
    if failing:
        raise UsageError(
            f"{provider} would refuse {counted(failing, 'prompt')}; nothing was asked for, and nothing is spent"
        )
