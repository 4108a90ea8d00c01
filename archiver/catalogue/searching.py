"""Prompts by their words, the newest first: a bounded walk, which says when it ended early.

No character of a question has a meaning. The index knows words of three characters and more; shorter ones (many Chinese
ones) are looked for in the newest prompts. What is done with the prompts that are found is the caller's matter.
"""

import json
from typing import Any

from archiver.catalogue.database import Database

#: So many are looked at in the order of a list before anything dearer is tried, and so many at most.
FIRST_LOOK, BOUND = 500, 20_000
SHORTEST_INDEXED_WORD = 3
#: Where words that each are in very many prompts never meet, the index reads the whole list of each to say so, and no
#: limit stops it. Of more prompts than `LARGE`, such words are looked for in the newest `FREQUENT` with each of them.
LARGE, FREQUENT = 1_000_000, 30_000
#: A whole prompt may be pasted as a question; SQLite refuses a thousand conditions in one statement.
MOST_SHORT_WORDS = 100
_MATCHING = "select rowid as seq from prompts where prompts match :match order by rowid desc limit :bound"


def by_words(
    database: Database, question: str, statement: str, *, limit: int, deep: bool = False
) -> tuple[list[Any], int | None]:
    """The rows of a statement about prompts with all words of a question, and how many prompts were looked at when
    there may be more than that; None: that is all.

    The statement takes the keys of generations from a `{walk}` as `g`, ends its conditions with `{likes}` and its rows
    with `:limit`. Any text is a question: what SQLite cannot take (bytes that are no text, NUL) separates words.
    """
    words = list(dict.fromkeys(question.encode("utf-8", "replace").decode().replace("\0", " ").split()))
    if not words:
        return [], None
    indexed = [word for word in words if len(word) >= SHORTEST_INDEXED_WORD]
    short = [word for word in words if len(word) < SHORTEST_INDEXED_WORD][:MOST_SHORT_WORDS]
    given: dict[str, Any] = {f"short{number}": f"%{escaped(word)}%" for number, word in enumerate(short)}
    given |= {"limit": limit, "match": " ".join('"' + word.replace('"', '""') + '"' for word in indexed)}
    likes = "".join(f" and g.prompt like :short{number} escape '\\'" for number in range(len(short)))
    walk = _MATCHING if indexed else "select seq from generations order by seq desc limit :bound"
    if deep:
        return database.rows(statement.format(walk=walk, likes=likes), given | {"bound": -1}), None
    found: list[Any] = []
    walked = statement.format(walk="select value as seq from json_each(:walked)", likes=likes)
    if (met := _newest_with_all(database, indexed)) is not None:
        seqs, looked_at = met
        found = database.rows(walked, given | {"walked": json.dumps(seqs)})
        return found, None if len(found) == limit else looked_at
    for bound in (FIRST_LOOK, BOUND):
        # Asked once: where words that are all frequent never meet, the index reads long lists to say so.
        seqs = [row["seq"] for row in database.rows(walk, given | {"bound": bound})]
        found = database.rows(walked, given | {"walked": json.dumps(seqs)})
        if len(found) == limit or len(seqs) < bound:
            return found, None
    return found, BOUND


def _newest_with_all(database: Database, words: list[str]) -> tuple[list[int], int] | None:
    """The keys of the newest prompts with all of these words, and among how many prompts these are all that there are.
    None: the index says it at once, since there are few prompts, or since one of the words leads to few."""
    (row,) = database.rows("select max(seq) as newest from generations")
    if len(words) < 2 or (row["newest"] or 0) <= LARGE:
        return None
    met, floor = set[int](), 0
    for number, word in enumerate(words):
        given = {"match": '"' + word.replace('"', '""') + '"', "bound": FREQUENT}
        seqs = [row["seq"] for row in database.rows(_MATCHING, given)]
        if len(seqs) < FREQUENT:
            return None
        met = met.intersection(seqs) if number else set(seqs)
        floor = max(floor, seqs[-1])
    return sorted(met, reverse=True), row["newest"] - floor + 1


def escaped(word: str) -> str:
    """A word for LIKE, with a backslash before what means something there."""
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
