"""Every decision about time, order, failure and names, as pure functions.

What to do after an error word, when a URL must be taken for dead, when an image is lost, what a permanent key looks
like. Nothing here acts: the pipeline asks, and does. Durations are timedeltas, times aware UTC datetimes; `luck` is a
number in [0, 1) that wiring draws, so that the same inputs give the same answer.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from string import Formatter
from typing import Literal

from archiver.core.expiry import ABSURD
from archiver.core.model import Evidence, Promise
from archiver.core.tempurl import TemporaryURL, expiry, host_lifetime

DEFAULT_LIFETIME = timedelta(days=7)
#: A backfilled URL that says nothing may be a month old: it is treated as due within the hour.
UNKNOWN_AGE_LIFETIME = timedelta(hours=1)
GRACE = timedelta(hours=72)
MOST_MARGIN = timedelta(minutes=5)
MARGIN_SHARE = 0.05
#: An answer "no" counts as final only with another "no" at least this much earlier.
REFUSALS_APART = timedelta(minutes=10)
#: So many take many hours of true time: whoever has fewer may be past its end by a clock that was set wrong.
MANY_ATTEMPTS = 300
LEAST_ATTEMPTS_BEFORE_LOSS = 3
#: A backfilled image may have been made after its deadline, as its file says: it is not hurried more than others.
LEAST_LIFE = timedelta(hours=1)

DEFAULT_KEY = "{prefix}/{job}/{yyyy}/{mm}/{dd}/{id}-{sha256:12}.{ext}"
_ODD = re.compile(r"[^a-z0-9/._~-]")
KEY_FIELDS = frozenset({"prefix", "job", "yyyy", "mm", "dd", "id", "sha256", "ext"})


def gather_evidence(
    url: TemporaryURL,
    promise: Promise,
    issued: datetime,
    *,
    stated: datetime | None = None,
    otherwise: datetime | None = None,
) -> tuple[Evidence, ...]:
    """Collect every reason to believe that `url`, handed out at `issued`, dies at some time.

    `stated` is an expiry that came beside the URL (a column of a backfill file); like one in the URL, it is a misread
    number when it is more than ten years away. `otherwise` counts only when there is nothing else; it is `issued` + 7
    days when not given.
    """
    found = [
        Evidence(source="url", at=item.at, detail=item.scheme, lower_bound=item.lower_bound)
        for item in expiry(url, issued)
    ]
    host = host_lifetime(url)
    if host is not None:
        found.append(Evidence(source="host", at=issued + host, detail=url.host))
    if promise.lifetime is not None:
        found.append(Evidence(source="provider", at=issued + promise.lifetime))
    if stated is not None and abs(stated - issued) <= ABSURD:
        found.append(Evidence(source="provider", at=stated, detail="stated beside the URL"))
    return tuple(found) or (Evidence(source="default", at=otherwise or issued + DEFAULT_LIFETIME),)


def decide_deadline(evidence: Iterable[Evidence], now: datetime) -> tuple[datetime, Evidence]:
    """The time by which the image must be fetched, and the evidence that decided: the earliest one, less a margin.

    margin = min(5 min, 5 % of the remaining life); a time that has passed gets none.
    """
    first = min(evidence, key=lambda item: item.at)
    remaining = max(first.at - now, timedelta(0))
    return first.at - min(MOST_MARGIN, remaining * MARGIN_SHARE), first


def gives_up_at(evidence: Iterable[Evidence]) -> datetime:
    """When an image that cannot be fetched may be called lost, if the refusals agree: the URL's own expiry if it states
    one (never a lower bound), else the latest evidence, plus 72 h."""
    items = tuple(evidence)
    own = [item.at for item in items if item.source == "url" and not item.lower_bound]
    return (min(own) if own else max(item.at for item in items)) + GRACE


def is_lost(
    *, now: datetime, give_up: datetime, attempts: int, refused: datetime | None, refused_before: datetime | None
) -> bool:
    """Whether a pending image is lost: the time is over, at least 3 attempts were made, and the last two were refused
    (`refused_before`, then `refused`) at least 10 minutes apart. One 403 or 404 never decides."""
    if refused is None or refused_before is None or attempts < LEAST_ATTEMPTS_BEFORE_LOSS:
        return False
    return now >= give_up and refused - refused_before >= REFUSALS_APART


def next_attempt(
    word: str,
    *,
    now: datetime,
    deadline: datetime,
    attempts: int,
    luck: float,
    retry_after: float | None = None,
    created: datetime | None = None,
    at_source: bool = False,
) -> datetime:
    """When to try a fetch or a put again after an error word. Never "never": every image is tried until it is settled.

    Full jitter below a cap that shrinks as the deadline nears: `uniform(0, min(cap, 2 s * 2**n))` with
    `cap = min(15 min, max(5 s, remaining / 20))`; at least a second. Where the source says no, every 15 minutes before
    the deadline and hourly after it. What a source (`at_source`) has not sent 72 h after it, in more than 300
    attempts, is tried once in an hour or so: it may never be lost, and must cost little. `attempts` counts from 1 and
    includes the one that just failed. There never was more time than from `created` to the deadline, whatever a clock
    says that was set back.
    """
    left = deadline - now
    if created is not None:
        left = min(left, max(deadline - created, LEAST_LIFE))
    remaining = max(left.total_seconds(), 0.0)
    cap = 900.0 if now > deadline else min(900.0, max(5.0, remaining / 20))
    if at_source and now > deadline + GRACE and attempts > MANY_ATTEMPTS:
        cap = 3599.0
    if word == "throttled" and retry_after is not None:
        return now + timedelta(seconds=min(max(retry_after, 1.0), cap) + luck)
    if word in ("gone", "refused"):
        pause = cap if now < deadline else 3600.0
        return now + timedelta(seconds=pause * (0.5 + 0.5 * luck))
    base = 2.0 * 2.0 ** min(attempts, 20)
    if word == "permanent":
        # Nobody but a person can mend it; look now and then whether somebody did.
        base = max(base, 30.0)
    return now + timedelta(seconds=1.0 + luck * min(cap, base))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What becomes of a generation after an error word: a move of its state machine, and when it may be asked again."""

    move: Literal["withdraw", "fail", "doubt"]
    not_before: datetime | None = None


MOST_SUBMITS = 8


def after_submit(word: str, *, now: datetime, attempts: int, luck: float, retry_after: float | None = None) -> Verdict:
    """What to do when asking a provider did not succeed. `attempts` includes the failed one.

    Only what provably cost nothing (`transient`: never sent; `throttled`: refused without charge) is asked again, up to
    8 times with growing pauses of 5 s to 15 min. `permanent` fails. Everything else is in doubt and is never repeated.
    """
    if word in ("transient", "throttled"):
        if attempts >= MOST_SUBMITS:
            return Verdict(move="fail")
        pause = min(900.0, 5.0 * 2.0 ** (attempts - 1))
        if retry_after is not None:
            pause = min(max(retry_after, 1.0), 3600.0)
        return Verdict(move="withdraw", not_before=now + timedelta(seconds=pause * (1.0 + 0.25 * luck)))
    if word in ("permanent", "refused"):
        return Verdict(move="fail")
    return Verdict(move="doubt")


#: A gate counts these; any other word means that the other side is there and answers.
FAILURES_OF_A_GATE = frozenset({"transient", "ambiguous", "throttled"})
MOST_FAILURES_OF_A_GATE = 5
LONGEST_GATE_PAUSE = timedelta(hours=1)
FIRST_DOUBTED_PAUSE = timedelta(seconds=4)
#: A run that would end otherwise waits so long for a gate.
WORTH_WAITING = timedelta(seconds=5)
#: An image this close to its deadline is tried at a closed gate too: the pause may be longer than its life.
URGENT = timedelta(minutes=10)


def gate_pause(
    word: str, *, failures: int, luck: float, retry_after: float | None = None, is_doubted: bool = False
) -> timedelta | None:
    """How long a host, a store or a provider rests after so many failures in a row, this one included. None: not yet.

    A throttled one rests at once, for as long as it says (1 s to 1 h); any other after five failures. Without a word
    from it: `uniform(0, min(60 s, 1 s * 2**n))`, n counting from its first pause. `is_doubted`: it served something
    else before, and a throttled word may be meant for one image alone. The second in a row is believed for 4 s, the
    next for 8 s, until a pause is as long as it says.
    """
    if word == "throttled" and is_doubted:
        failures -= 1
        if not failures:
            return None
    if word == "throttled" and retry_after is not None:
        asked = min(max(timedelta(seconds=retry_after), timedelta(seconds=1)), LONGEST_GATE_PAUSE)
        return min(asked, FIRST_DOUBTED_PAUSE * 2 ** min(failures - 1, 10)) if is_doubted else asked
    earlier = failures - (1 if word == "throttled" else MOST_FAILURES_OF_A_GATE)
    return timedelta(seconds=luck * min(60.0, 2.0 ** min(earlier, 10))) if earlier >= 0 else None


def most_at_one_host(copiers: int) -> int:
    """How many of the copiers may wait for one image host while another has work, or before it has proved itself."""
    return max(1, copiers // 2)


#: How long a confirmed put shows that a store works; and how long a probe does that succeeded.
CANARY_LIFE = timedelta(minutes=15)
SPOOL_SHARE = 0.8
URL_RESERVE = 64 * 1000**2
INLINE_RESERVE = 40 * 1000**2


def may_spend(word: str | None, *, ever_worked: bool) -> bool:
    """Whether a store whose probe ended with `word` (None: well) is fit to spend for. An outage costs disk space, never
    images; a store that denies, damages, or never worked might never take them."""
    return word is None or (ever_worked and word in ("transient", "throttled"))


def probe_again(failures: int, luck: float) -> timedelta:
    """When a store is probed again after so many failed probes in a row: 30 s to 5 min."""
    return timedelta(seconds=min(300.0, 30.0 * 2.0 ** min(failures - 1, 10) * (1.0 + 0.25 * luck)))


def is_spool_full(held: int, most: int) -> bool:
    """Whether the spool holds so many bytes that nothing more is asked for: what was paid for needs the rest."""
    return held > most * SPOOL_SHARE


def disk_needed(min_free: int, *, urls: int, inline: int) -> int:
    """The bytes that must be free, with so many requests for URLs and so many images inside answers under way, the next
    request included."""
    return min_free + urls * URL_RESERVE + inline * INLINE_RESERVE


def check_key_template(template: str) -> None:
    """Raise ValueError unless every field of a key template is known and the whole `{id}` is among them.

    Only `sha256` may be cut: with a part of an id, two images could get one key.
    """
    parts = [(name, spec, conversion) for _, name, spec, conversion in Formatter().parse(template) if name is not None]
    fields = {name for name, _, _ in parts}
    unknown = sorted(fields - KEY_FIELDS)
    if unknown:
        raise ValueError(f"unknown field {{{unknown[0]}}}; known are {', '.join(sorted(KEY_FIELDS))}")
    if "id" not in fields:
        raise ValueError("a key template needs the whole {id}: without it two images could get one key")
    for name, spec, conversion in parts:
        if conversion or (spec and (name != "sha256" or not re.fullmatch(r"[0-9]{1,2}", spec))):
            raise ValueError(f"{{{name}}} stands whole in a key template; only {{sha256:12}} takes a number of digits")


def permanent_key(
    template: str, *, prefix: str, job: str, created: datetime, image_id: str, sha256: str, ext: str
) -> str:
    """The full name of an image in a store: lower-case ASCII, the date being the UTC date of the generation.

    `{sha256:12}` means the first twelve digits. The prefix keeps its case. Segments that come out empty (no prefix) or
    as `.` or `..` are left out: an HTTP client would walk up them.
    """
    date = f"{created.astimezone(UTC):%Y%m%d}"
    values: Mapping[str, str] = {
        "job": job,
        "yyyy": date[:4],
        "mm": date[4:6],
        "dd": date[6:],
        "id": image_id,
        "sha256": sha256,
        "ext": ext,
    }
    parts: list[str] = []
    for literal, name, digits in _parsed(template):
        parts.append(literal)
        if name == "prefix":
            parts.append(prefix.strip("/"))  # chosen by the user, case and all
        elif name is not None:
            parts.append(_plain(values[name][:digits]))
    return "/".join([segment for segment in "".join(parts).split("/") if segment not in ("", ".", "..")])


@lru_cache(maxsize=16)
def _parsed(template: str) -> tuple[tuple[str, str | None, int | None], ...]:
    """Literal, field and number of digits, in their order: there are few templates, and a key for every image."""
    return tuple(
        (_plain(literal), name, int(spec) if spec else None) for literal, name, spec, _ in Formatter().parse(template)
    )


def alternative_key(key: str, sha256: str) -> str:
    """The key to use when `key` holds other bytes: the digest is added before the extension."""
    folder, slash, name = key.rpartition("/")
    stem, dot, ext = name.rpartition(".")
    changed = f"{stem}~{sha256[:8]}{dot}{ext}" if dot else f"{name}~{sha256[:8]}"
    return f"{folder}{slash}{changed}"


def _plain(text: str) -> str:
    return _ODD.sub("-", text.lower())
