"""What was seen in the stores, held against the rows: in temporary tables, so that a million copies and a hundred
thousand foreign objects need no memory.

Nothing here changes the catalogue or waits for those who work on it: the tables belong to one connection, lie in a file
of their own, and are gone with it. One thread does it.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from archiver.catalogue.database import Database
from archiver.core.auditing import OF_COPIES, OF_THE_SPOOL, WORDS, Finding, own_folders
from archiver.core.model import ObjectHead

PAGE = 500
_TABLES = {
    "audit_seen": "store text, key text, size integer, etag text, primary key (store, key)",
    "audit_records": "store text, key text, state text, primary key (store, key)",
    "audit_lines": "store text, record text, image_id text, key text, sha256 text,"
    " primary key (image_id, store, record, key, sha256)",
    "audit_findings": "image_id text, word text, store text, key text, detail text, has_hope integer, fate text,"
    " primary key (image_id, word, store, key)",
}
_BAD_COPY = f"word in ({', '.join(repr(word) for word in OF_COPIES)})"
_BAD_SPOOL = f"word in ({', '.join(repr(word) for word in OF_THE_SPOOL)})"
#: The plus keeps SQLite from the index by store, which would sort all copies of the store for every page.
_COPIES = """
    select c.image_id, c.store, c.key, c.sha256, c.size, c.etag, c.state, (
        c.state = 'missing' or s.key is null or s.size <> c.size
        or (s.etag is not null and c.etag is not null and lower(trim(s.etag, '"')) <> lower(trim(c.etag, '"')))
    ) as is_suspect
    from copies as c left join temp.audit_seen as s on s.store = c.store and s.key = c.key
    where c.image_id > :after and +c.store = :store and c.key is not null and c.state in ('confirmed', 'missing')
        and (:every or is_suspect)
    order by c.image_id limit :page
"""
_FOREIGN = """
    select s.key, s.size from temp.audit_seen as s
    where s.store = :store and s.key > :after
        and not exists (select 1 from json_each(:folders) where substr(s.key, 1, length(value)) = value)
        and not exists (
            select 1 from copies where copies.store = s.store and copies.key = s.key and copies.state <> 'wanted'
        )
    order by s.key limit :page
"""
_OWNERS = """
    select json_extract(maybe.value, '$[0]') as key, i.id as image_id, coalesce(
        (c.state = 'wanted' and i.state in ('pending', 'spooled')) or c.key = json_extract(maybe.value, '$[0]'), 0
    ) as is_under_way
    from json_each(?1) as maybe join images as i on i.id = json_extract(maybe.value, '$[1]')
        left join copies as c on c.image_id = i.id and c.store = ?2
"""
_UNRECORDED = """
    insert or ignore into temp.audit_findings (image_id, word, store, key, detail, has_hope)
    select c.image_id, 'unrecorded', c.store, c.lineage_key, case r.state
        when 'gone' then 'the lineage record is gone' else 'the lineage record does not tell of this copy' end, 0
    from copies as c join temp.audit_records as r on r.store = c.store and r.key = c.lineage_key
    where c.store = :store and c.state = 'confirmed' and (r.state = 'gone' or (r.state = 'read' and not exists (
        select 1 from temp.audit_lines as l where l.image_id = c.image_id and l.store = c.store
            and l.record = c.lineage_key and l.key = c.key and l.sha256 = c.sha256
    )))
"""
_HOPELESS = f"""
    from (select distinct image_id from temp.audit_findings where {_BAD_COPY} or {_BAD_SPOOL}) as f
        join images as i on i.id = f.image_id
    where i.state in ('stored', 'spooled', 'missing')
        and not exists (select 1 from temp.audit_findings where image_id = i.id and (has_hope or fate = 'repaired'))
        and not (i.state = 'spooled' and i.spool is not null
            and not exists (select 1 from temp.audit_findings where image_id = i.id and {_BAD_SPOOL}))
        and not exists (select 1 from copies as c where c.image_id = i.id and c.state = 'confirmed' and not exists (
            select 1 from temp.audit_findings where image_id = i.id and store = c.store and {_BAD_COPY}
        ))
"""


class Audit:
    """Notes of one check."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self) -> None:
        """Forget what an earlier check noted."""
        self._database.keep()
        for name, columns in _TABLES.items():
            self._database.rows(f"create temp table if not exists {name} ({columns}) without rowid")
            self._database.scratch(f"delete from temp.{name}")
        self._database.rows("create index if not exists temp.audit_words on audit_findings (word)")

    def saw(self, store: str, heads: Iterable[ObjectHead]) -> None:
        """Note some of what a store lists."""
        rows = [(store, head.key, head.size, head.etag) for head in heads]
        self._database.scratch("insert or replace into temp.audit_seen values (?, ?, ?, ?)", rows)

    def forget_seen(self, store: str) -> None:
        """The listing broke off: it proves nothing."""
        self._database.scratch("delete from temp.audit_seen where store = ?", [(store,)])

    def copies(self, store: str, *, every: bool) -> Iterator[list[Mapping[str, Any]]]:
        """Copies that a store must hold, page by page: those that its listing does not bear out, or with `every` all of
        them."""
        yield from self._pages(_COPIES, "image_id", store=store, every=every)

    def unnamed(self, store: str, prefix: str) -> Iterator[list[Mapping[str, Any]]]:
        """Objects below the prefix that no row names, page by page; archiver's own folders left out."""
        yield from self._pages(_FOREIGN, "key", store=store, folders=json.dumps(own_folders(prefix)))

    def owners(self, store: str, maybe: Sequence[tuple[str, str]]) -> dict[str, tuple[str, bool]]:
        """Of (key, possible id): by key, the image that it belongs to, and whether a row names it by now or its worker
        is about to say so."""
        found: dict[str, tuple[str, bool]] = {}
        for row in self._database.rows(_OWNERS, (json.dumps(maybe), store)):
            if row["key"] not in found or row["is_under_way"]:
                found[row["key"]] = row["image_id"], bool(row["is_under_way"])
        return found

    def name_records(self, store: str) -> None:
        """Note every lineage record that tells of a copy in a store."""
        self._database.scratch(
            "insert or ignore into temp.audit_records select distinct store, lineage_key, 'named' from copies"
            " where store = ? and state = 'confirmed' and lineage_key is not null",
            [(store,)],
        )

    def records(self, store: str, *, every: bool) -> Iterator[list[Mapping[str, Any]]]:
        """Lineage records that must be there, page by page: those that the listing does not show, or all of them."""
        statement = """
            select r.key, s.key is not null as is_seen from temp.audit_records as r
                left join temp.audit_seen as s on s.store = r.store and s.key = r.key
            where r.store = :store and r.key > :after and (:every or s.key is null) order by r.key limit :page
        """
        yield from self._pages(statement, "key", store=store, every=every)

    def judge_record(self, store: str, key: str, state: str, lines: Iterable[tuple[str, str, str]] = ()) -> None:
        """A record is `gone`, or was `read`: its lines are (image, key, sha256)."""
        rows = [(store, key, *line) for line in lines]
        self._database.scratch("insert or ignore into temp.audit_lines values (?, ?, ?, ?, ?)", rows)
        statement = "update temp.audit_records set state = ? where store = ? and key = ?"
        self._database.scratch(statement, [(state, store, key)])

    def find_unrecorded(self, store: str) -> None:
        """Note the copies whose record is gone, or does not tell of them."""
        self._database.scratch(_UNRECORDED, [{"store": store}])

    def spooled(self) -> Iterator[list[Mapping[str, Any]]]:
        """Images whose bytes must be in the spool, page by page: the file, its digest, and whether a URL is known.
        Those that have no file and a confirmed copy are brought back from that."""
        statement = """
            select id, generation_id, spool, sha256, exists (select 1 from urls where seq = images.seq) as has_url
            from images where id > :after and state = 'spooled' and (spool is not null or not exists (
                select 1 from copies where image_id = images.id and state = 'confirmed'
            )) order by id limit :page
        """
        yield from self._pages(statement, "id")

    def absent_stores(self, known: Iterable[str]) -> list[tuple[str, int]]:
        """Stores with confirmed copies that the configuration does not name, and how many copies."""
        statement = """
            select store, count(*) as copies from copies where state = 'confirmed'
                and store not in (select value from json_each(?)) group by store
        """
        return [(row["store"], row["copies"]) for row in self._database.rows(statement, (json.dumps(sorted(known)),))]

    def shows_life(self, store: str, prefix: str) -> bool:
        """Whether a listing showed anything at all of ours."""
        folders = json.dumps(own_folders(prefix))
        statement = """
            select 1 from temp.audit_seen as s where s.store = ?1 and (
                exists (select 1 from json_each(?2) where substr(s.key, 1, length(value)) = value)
                or exists (select 1 from copies where copies.store = s.store and copies.key = s.key)
            ) limit 1
        """
        return bool(self._database.rows(statement, (store, folders)))

    def note(self, findings: Iterable[Finding]) -> None:
        """Note findings. One about a copy or a spooled image only while the row still says what was held against it."""
        rows = [
            (item.image_id, item.word, item.store, item.key, item.detail, item.has_hope)
            for item in findings
            if self._still(item)
        ]
        self._database.scratch("insert or ignore into temp.audit_findings values (?, ?, ?, ?, ?, ?, null)", rows)

    def _still(self, item: Finding) -> bool:
        if item.word in OF_COPIES:
            statement = """
                select 1 from copies where image_id = ? and store = ? and key = ? and state <> 'wanted'
                    and exists (select 1 from images where id = image_id and state <> 'forgotten')
            """
            return bool(self._database.rows(statement, (item.image_id, item.store, item.key)))
        if item.word in OF_THE_SPOOL:
            statement = "select 1 from images where id = ? and state = 'spooled' and coalesce(spool, '') = ?"
            return bool(self._database.rows(statement, (item.image_id, item.key)))
        return True

    def images(self) -> Iterator[list[str]]:
        """Images of which a copy or the file in the spool is not well, page by page."""
        statement = f"""
            select distinct image_id from temp.audit_findings
            where image_id > :after and ({_BAD_COPY} or {_BAD_SPOOL}) order by image_id limit :page
        """
        for page in self._pages(statement, "image_id"):
            yield [row["image_id"] for row in page]

    def unrecorded(self, store: str) -> Iterator[list[tuple[str, str]]]:
        """Copies of a store that have no lineage record, page by page: image and the record that should tell of it."""
        statement = """
            select image_id, key from temp.audit_findings
            where image_id > :after and store = :store and word = 'unrecorded' order by image_id limit :page
        """
        for page in self._pages(statement, "image_id", store=store):
            yield [(row["image_id"], row["key"]) for row in page]

    def settle(self, fates: Mapping[str, str], words: Sequence[str], store: str | None = None) -> None:
        """Say what became of findings of these words, by image (and of one store)."""
        statement = """
            update temp.audit_findings set fate = ?1 where image_id = ?2 and word in (select value from json_each(?3))
                and (?4 is null or store = ?4)
        """
        rows = [(fate, image_id, json.dumps(list(words)), store) for image_id, fate in fates.items()]
        self._database.scratch(statement, rows)

    def take_back(self, store: str, word: str) -> int:
        """Forget findings of one kind: they were no proof. Returns how many there were."""
        where = "where word = ? and store = ?"
        count = self._database.rows(f"select count(*) as n from temp.audit_findings {where}", (word, store))[0]["n"]
        self._database.scratch(f"delete from temp.audit_findings {where}", [(word, store)])
        return int(count)

    def counts(self) -> dict[str, int]:
        """How many findings there are of each word, in the order of `WORDS`."""
        rows = self._database.rows("select word, count(*) as n from temp.audit_findings group by word")
        found = {row["word"]: row["n"] for row in rows}
        return {word: found[word] for word in WORDS if word in found}

    def fates(self) -> dict[tuple[str, str], int]:
        """The same, by what became of them too (empty: nothing was done)."""
        statement = "select word, coalesce(fate, '') as fate, count(*) as n from temp.audit_findings group by 1, 2"
        return {(row["word"], row["fate"]): row["n"] for row in self._database.rows(statement)}

    def first(self, limit: int) -> list[dict[str, Any]]:
        """The first findings of each word, with the `count` of all of its kind."""
        counts = self.counts()
        statement = """
            select word, ? as count, store, image_id, key, detail, fate from temp.audit_findings indexed by audit_words
            where word = ? order by store, image_id, key limit ?
        """
        return [
            {name: None if value == "" else value for name, value in dict(row).items()}
            for word, count in counts.items()
            for row in self._database.rows(statement, (count, word, limit))
        ]

    def hopeless(self) -> int:
        """How many images that were safe have no good copy anywhere, as far as was looked."""
        return int(self._database.rows(f"select count(*) as n {_HOPELESS}")[0]["n"])

    def _pages(self, statement: str, by: str, **parameters: Any) -> Iterator[list[Mapping[str, Any]]]:
        after = ""
        while page := self._database.rows(statement, {"after": after, "page": PAGE, **parameters}):
            after = page[-1][by]
            yield page
