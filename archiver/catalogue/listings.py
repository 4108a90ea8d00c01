"""Lists of images by what people ask for: filters, an order, words of prompts. Bounded work, whatever is asked.

A list is walked in its order, a little way first; then by the rarest of its filters, when an index knows few images for
it; and else no further than `BOUND`, which the answer says. It changes nothing, and reveals no temporary URL.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from archiver.catalogue.database import Database, as_text
from archiver.catalogue.reports import half_life
from archiver.catalogue.searching import BOUND, FIRST_LOOK, by_words

_WAITS = "state in ('pending', 'spooled')"
_ANSWERED = "state = 'completed'"
_OF_GENERATIONS = "cross join images on images.generation_id = generations.id"
SORTS = ("created", "deadline", "size", "cost")
_DETAILS = """
    select i.seq, i.id as image_id, i.generation_id, i.state, g.prompt, g.job, g.provider, g.model,
        i.deadline, i.deadline_from, i.attempts, i.not_before, i.sha256, i.size, i.content_type, i.width, i.height,
        i.verdict, i.source, i.error, i.created_at, i.fetched_at, i.archived_at, i.role, g.tags,
        g.cost_micro / 1e6 / (select count(*) from images as every where every.generation_id = g.id) as cost_usd,
        (select key from copies where image_id = i.id and state = 'confirmed' order by store limit 1) as key
    from images as i join generations as g on g.id = i.generation_id
    where i.seq in (select value from json_each(:seqs))
"""
_OF_PROMPTS = """
    select i.seq from ({walk}) as walk cross join generations as g on g.seq = walk.seq
    cross join images as i on i.generation_id = g.id where true{likes} order by g.seq desc, i.idx limit :limit
"""
# Few: sorted by their deadlines. Many: walked by deadline, which soon comes to so many.
_AT_RISK = f"""
    from images indexed by {{index}} where {{where}}state = 'pending'
        and {half_life("images")} <= strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What an image must be to be listed; None and empty mean: whatever it is.

    `store` holds a confirmed copy; of `tags` its generation has all; `due` is the latest deadline of an image that is
    pending; `cost_over` is what its generation cost more than, in micro-USD.
    """

    states: tuple[str, ...] = ()
    job: str | None = None
    provider: str | None = None
    model: str | None = None
    store: str | None = None
    tags: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    due: datetime | None = None
    min_size: int | None = None
    max_size: int | None = None
    cost_over: int | None = None

    def parameters(self) -> dict[str, Any]:
        """The values, by the names that the statements use."""
        found = {name: getattr(self, name) for name in ("job", "provider", "model", "store", "cost_over")}
        found |= {name: as_text(at) if (at := getattr(self, name)) else None for name in ("since", "until", "due")}
        found |= {"min_size": self.min_size or 0, "max_size": 2**62 if self.max_size is None else self.max_size}
        return found | {f"tag{number}": tag for number, tag in enumerate(self.tags)}

    @property
    def is_sized(self) -> bool:
        """Whether it asks for a size."""
        return self.min_size is not None or self.max_size is not None

    def created(self) -> str:
        """The condition on the time of birth."""
        clauses = ["created_at >= :since"] if self.since else []
        return " and ".join(clauses + (["created_at < :until"] if self.until else []))

    def conditions(self, sort: str) -> list[str]:
        """All conditions on an image `i` and its generation `g`."""
        found = [f"g.{name} = :{name}" for name in ("job", "provider", "model") if getattr(self, name) is not None]
        found += [f"i.state in ({_quoted(self.states)})"] if self.states else []
        found += [f"i.{clause}" for clause in self.created().split(" and ") if clause]
        found += [
            f"exists (select 1 from generation_tags where tag = :tag{number} and seq = g.seq)"
            for number in range(len(self.tags))
        ]
        if self.store is not None:
            found.append(
                "exists (select 1 from copies where image_id = i.id and store = :store and state = 'confirmed')"
            )
        if self.due is not None:
            found.append("i.state = 'pending' and i.deadline <= :due")
        if self.is_sized or sort == "size":
            found.append("i.size between :min_size and :max_size")
        if sort == "deadline" and not self.states:
            found.append(f"i.{_WAITS}")
        if self.cost_over is not None or sort == "cost":
            found.append("g.cost_micro > :cost_over" if self.cost_over is not None else "g.cost_micro is not null")
        return found

    def ways(self) -> Iterator[tuple[str, str]]:
        """Ways that an index knows: what to count, and what comes after `select images.seq from` to have the images."""
        if self.states:
            yield self._of_images(f"images where state in ({_quoted(self.states)})")
        if self.since or self.until:
            yield self._of_images(f"images where {self.created()}")
        if self.due is not None:
            yield self._of_images(f"images where {_WAITS} and state = 'pending' and deadline <= :due")
        if self.is_sized:
            yield self._of_images("images where size between :min_size and :max_size")
        if self.store is not None:
            of_store = "store = :store and confirmed_at is not null"
            yield (
                f"copies where {of_store}",
                f"copies cross join images on images.id = copies.image_id where {of_store}",
            )
        for number in range(len(self.tags)):
            yield (
                f"generation_tags where tag = :tag{number}",
                f"generation_tags cross join generations using (seq) {_OF_GENERATIONS} where tag = :tag{number}",
            )
        if self.job is not None:
            yield self._of_generations("generations.job = :job")
        names = [name for name in ("provider", "model") if getattr(self, name) is not None]
        if names:
            wanted = " and ".join(f"generations.{name} = :{name}" for name in names)
            yield self._of_generations(f"generations.{_ANSWERED} and {wanted}")
        if self.cost_over is not None:
            yield self._of_generations(f"generations.{_ANSWERED} and generations.cost_micro > :cost_over")

    @staticmethod
    def _of_images(source: str) -> tuple[str, str]:
        return source, source

    @staticmethod
    def _of_generations(where: str) -> tuple[str, str]:
        return f"generations where {where}", f"generations {_OF_GENERATIONS} where {where}"


class Listings:
    """Lists of images."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def images(
        self, wanted: Filter, *, sort: str = "created", reverse: bool = False, limit: int, deep: bool = False
    ) -> tuple[list[dict[str, Any]], int | None]:
        """Images in an order of `SORTS`: the newest, the largest, the dearest, the soonest deadline first.

        With the rows comes how many images were looked at, when there may be more than they show; None: that is all.
        Sorted by deadline are those that wait, unless states are named.
        """
        down = (sort != "deadline") != reverse
        parameters = wanted.parameters() | {"limit": limit}
        walk = _walk(wanted, sort, "desc" if down else "asc")
        statement = _chosen(wanted, sort, "desc" if down else "asc")
        if deep:
            return self._details(self._seqs(statement, walk, parameters | {"bound": -1})), None
        first = self._seqs(statement, walk, parameters | {"bound": FIRST_LOOK})
        if len(first) == limit or self._length(walk, parameters, FIRST_LOOK) < FIRST_LOOK:
            return self._details(first), None
        lengths = [(self._length(f"select 1 from {counted} limit :bound", parameters, BOUND), way)
                   for counted, way in wanted.ways()]  # fmt: skip
        fewest, way = min(lengths, default=(BOUND, ""))
        if fewest < BOUND:
            return self._details(self._seqs(statement, f"select images.seq from {way}", parameters)), None
        found = self._seqs(statement, walk, parameters | {"bound": BOUND})
        is_all = len(found) == limit or self._length(walk, parameters, BOUND) < BOUND
        return self._details(found), None if is_all else BOUND

    def search(self, question: str, *, limit: int, deep: bool = False) -> tuple[list[dict[str, Any]], int | None]:
        """Images, in any state, whose prompts have all these words (or parts of words), the newest prompt first; and,
        as in `images`, how many prompts were looked at.

        No character of a question has a meaning; see `catalogue.searching`.
        """
        found, looked_at = by_words(self._database, question, _OF_PROMPTS, limit=limit, deep=deep)
        return self._details([row["seq"] for row in found]), looked_at

    def at_risk(self, limit: int) -> list[dict[str, Any]]:
        """Rows of the view `at_risk`, the soonest deadline first."""
        few = _AT_RISK.format(index="images_risk", where="")
        is_few = self._length(f"select 1 {few} limit :bound", {}, BOUND) < BOUND
        source = few if is_few else _AT_RISK.format(index="images_due", where=f"{_WAITS} and ")
        ids = [row[0] for row in self._database.rows(f"select id {source} order by deadline, seq limit ?", (limit,))]
        # One by one: of several, SQLite would first sort the whole view.
        one = "select * from at_risk where image_id = ?"
        return [dict(row) for image_id in ids for row in self._database.rows(one, (image_id,))]

    def losses(self, since: datetime | None, limit: int) -> list[dict[str, Any]]:
        """Rows of the view `losses` of images that were made since, the newest first."""
        statement = (
            "select * from losses where image_id in ("
            " select id from images indexed by images_lost where state = 'lost' and created_at >= :since"
            " order by created_at desc, id desc limit :limit) order by created_at desc, image_id desc"
        )
        given = {"since": as_text(since) if since else "", "limit": limit}
        return [dict(row) for row in self._database.rows(statement, given)]

    def _length(self, walk: str, parameters: dict[str, Any], bound: int) -> int:
        found: int = self._database.rows(f"select count(*) from ({walk})", parameters | {"bound": bound})[0][0]
        return found

    def _seqs(self, statement: str, walk: str, parameters: dict[str, Any]) -> list[int]:
        return [row[0] for row in self._database.rows(statement.format(walk=walk), parameters)]

    def _details(self, seqs: Sequence[int]) -> list[dict[str, Any]]:
        rows = {row["seq"]: dict(row) for row in self._database.rows(_DETAILS, {"seqs": json.dumps(list(seqs))})}
        found = [rows[seq] for seq in seqs if seq in rows]
        for row in found:
            del row["seq"]
            row["tags"] = json.loads(row["tags"])
        return found


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)  # states of our own machines


def _walk(wanted: Filter, sort: str, way: str) -> str:
    """The images in the order of the list, as an index has them, up to `:bound`."""
    if sort == "size":
        source = f"images where size between :min_size and :max_size order by size {way}, seq {way} limit :bound"
    elif sort == "deadline":
        where = f"state in ({_quoted(wanted.states)})" if wanted.states else _WAITS
        if set(wanted.states) <= {"pending", "spooled"}:  # else all that waits would be sorted for every list
            source = f"images indexed by images_due where {_WAITS} and {where}"
        else:
            source = f"images where {where}"
        source += f" order by deadline {way}, seq {way} limit :bound"
    elif sort == "cost":
        over = " and cost_micro > :cost_over" if wanted.cost_over is not None else ""
        dear = f"{_ANSWERED} and cost_micro is not null{over} order by cost_micro {way}, seq {way} limit :bound"
        source = f"(select id from generations where {dear}) as generations {_OF_GENERATIONS}"
    else:
        where = f"where {wanted.created()}" if wanted.created() else ""
        source = f"images {where} order by created_at {way}, seq {way} limit :bound"
    return f"select images.seq from {source}"


def _chosen(wanted: Filter, sort: str, way: str) -> str:
    """Of the images of a `{walk}`, those that are wanted, in the order of the list."""
    conditions = wanted.conditions(sort)
    order = {
        "size": f"i.size {way}, i.seq {way}",
        "deadline": f"i.deadline {way}, i.seq {way}",
        "cost": f"g.cost_micro {way}, g.seq {way}, i.idx",
        "created": f"i.created_at {way}, i.seq {way}",
    }[sort]
    needs_generation = any("g." in text for text in (*conditions, order))
    generation = "cross join generations as g on g.id = i.generation_id" if needs_generation else ""
    return (
        f"select i.seq from ({{walk}}) as walk cross join images as i on i.seq = walk.seq {generation}"
        f" where {' and '.join(conditions) or 'true'} order by {order} limit :limit"
    )
