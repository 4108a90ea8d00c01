"""What carries URLs, one trap at a time: kinds, escapings, encodings, broken and overlong lines, what is no image."""

import gzip
import io
import json
import random
import sqlite3
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from archiver.core.errors import UsageError
from archiver.lines import encoded
from archiver.pipeline.backfill import KINDS
from archiver.pipeline.backfill.beside import Columns
from archiver.pipeline.backfill.finds import Find, Passed
from archiver.pipeline.backfill.kinds import Source, read
from tests.backfill.planting import DECOYS, Gardener

OSS = (
    "https://dashscope-result-bj.oss-cn-beijing.aliyuncs.com/1d/a.png"
    "?Expires=1795165200&OSSAccessKeyId=LTAIx&Signature=ab%2Bc%3D"
)
DISCORD = "https://cdn.discordapp.com/attachments/1/2/g.png?ex=65d903de&is=65c68ede&hm=aa&"


def items(name: str, data: str | bytes, **settings: Any) -> list[Any]:
    """Everything that a source of this name and content yields."""
    stream = io.BytesIO(data.encode() if isinstance(data, str) else data)
    return list(read(Source(name=name, path=None, stream=stream, **settings)))


def found(name: str, data: str | bytes, **settings: Any) -> list[tuple[int, str, str]]:
    """Line, URL and prompt of what was taken."""
    every = items(name, data, **settings)
    return [(item.number, item.url.reveal(), item.beside.prompt) for item in every if isinstance(item, Find)]


@pytest.mark.parametrize(
    "carried",
    [
        f"看这里：{OSS}，还有",
        f"({OSS}).",
        f"'{OSS}'; next",
        f"<{OSS}>",
        f"[a]({OSS})",
        f"![a]({OSS} 'title')",
        f"「{OSS}」",
        f"{OSS}。",
        OSS.replace("&", "&amp;"),
        OSS.replace("&", "\\u0026").replace("/", "\\/"),
        OSS.replace("&", "\\\\u0026"),
        OSS.replace("&", "%26"),
        json.dumps(json.dumps({"url": OSS})),
    ],
)
def test_escapings_and_punctuation(carried: str) -> None:
    """X01: the URL is the one that was served, byte for byte; Discord's last `&` stays."""
    assert [url for _, url, _ in found("x.txt", f"text {carried} and {DISCORD}\n")] == [OSS, DISCORD]


def test_decoys_alone_are_no_find() -> None:
    """Not in text, not in JSON, not in a log; and each is passed over once."""
    for name, text in (
        ("x.md", "\n".join(f"see [this]({url}) or <{url}>, {url}." for url in DECOYS)),
        ("x.json", json.dumps([{"note": url, "image": {"avatar": url}, "title": "t"} for url in DECOYS])),
        ("x.log", "\n".join(f"2026-11-20 09:00:00 INFO GET {url} 200" for url in DECOYS)),
    ):
        assert found(name, text) == []


def test_columns_and_paths_that_a_person_names() -> None:
    """They overrule the rest; a line without is broken; a CSV without the column says which there are."""
    columns = Columns(url="image_link", prompt="caption", created_at="when")
    lines = f"image_link,caption,when,prompt\n{OSS},a cat,2026-11-01,no\n,none,,\n"
    first, broken = items("x.csv", lines, columns=columns)
    assert (first.beside.prompt, first.beside.created_at, first.values) == ("a cat", "2026-11-01", {"prompt": "no"})
    assert (broken.number, broken.reason) == (3, "no image_link in this line")
    (missing,) = items("x.csv", "url,b\n1,2\n", columns=columns)
    assert "`image_link` among them; it names url, b" in missing.reason
    nested = json.dumps({"data": [{"prompt": "deep", "link": OSS}]})
    path = Columns(url="data.0.link", prompt="data.0.prompt")
    assert found("x.jsonl", nested + "\n", columns=path) == [(1, OSS, "deep")] == found("x.json", nested, columns=path)


def test_tables_without_a_header_and_cells_with_several() -> None:
    """A list for `rclone copyurl`; semicolons; a list of URLs in a cell, as JSON or behind each other."""
    assert found("rclone.csv", f"{OSS},a.png\n{DISCORD},b.png\n") == [(1, OSS, ""), (2, DISCORD, "")]
    assert found("x.csv", f"id;prompt;image_url\n1;a, b;{OSS}\n") == [(2, OSS, "a, b")]
    cell = json.dumps([OSS, DISCORD]).replace('"', '""')
    both = found("x.csv", f'prompt,image_urls\np,"{cell}"\nq,{OSS}|{DISCORD}\n')
    assert both == [(2, OSS, "p"), (2, DISCORD, "p"), (3, OSS, "q"), (3, DISCORD, "q")]


@pytest.mark.parametrize(
    ("name", "code"),
    [("utf-16", "utf-16"), ("utf-16-le", "utf-16-le"), ("gb18030", "gb18030"), ("utf-8-sig", "utf-8-sig")],
)
def test_encodings_are_seen(name: str, code: str) -> None:
    """By their mark or their bytes; nothing is reported."""
    assert (
        items(name, f"url,prompt\n{OSS},一只猫坐在月球上，电影感\n".encode(code))[0].beside.prompt
        == "一只猫坐在月球上，电影感"
    )
    assert len(items(name, f"url,prompt\n{OSS},一只猫\n".encode(code))) == 1


def test_bad_bytes_lose_nothing_but_themselves() -> None:
    """A line that is no UTF-8 is reported with its number, and its image is taken all the same."""
    data = f"url,prompt\n{DISCORD},一只猫\n{OSS},na".encode() + b"\xefve\n"
    one, two, broken = items("x.csv", data)
    assert (one.beside.prompt, two.beside.prompt, two.url.reveal()) == ("一只猫", "na\ufffdve", OSS)
    assert broken.number == 3 and "not UTF-8" in broken.reason
    assert found("x.csv", data[-len(OSS) - 8 :], encoding="latin-1") == []
    assert items("x.csv", data, encoding="latin-1")[1].beside.prompt == "naïve"
    with pytest.raises(UsageError, match="no encoding 'klingon'"):
        items("x.csv", data, encoding="klingon")


def test_a_cut_gzip_gives_what_is_there() -> None:
    """Whole members behind each other are read as one; of a cut one, the lines before the cut come."""
    lines = [
        json.dumps({"url": f"{OSS}{n}", "prompt": random.Random(n).randbytes(400).hex()}) + "\n" for n in range(400)
    ]
    whole = gzip.compress("".join(lines[:200]).encode()) + gzip.compress("".join(lines[200:]).encode())
    assert len(found("x.jsonl.gz", whole)) == 400
    cut = items("x.jsonl.gz", whole[:-2000])
    assert len([item for item in cut if isinstance(item, Find)]) > 380
    assert any("cut or damaged here" in item.reason for item in cut if not isinstance(item, Find))


def test_a_broken_document_gives_what_stands_before_and_after() -> None:
    """A list that is cut: the records before the cut with their prompts, and what follows as plain text."""
    cut = (
        f'[{{"url":"{OSS}","prompt":"a"}},\n{{"prompt":"b","url":"{DISCORD}"}},\noops, see https://img.relay.cn/c.png ]'
    )
    every = items("x.json", cut)
    assert [(item.url.reveal(), item.beside.prompt, item.number) for item in every if isinstance(item, Find)] == [
        (OSS, "a", 1),
        (DISCORD, "b", 2),
        ("https://img.relay.cn/c.png", "", 3),
    ]
    assert [item.number for item in every if not isinstance(item, Find | Passed)] == [3]


def test_a_line_longer_than_the_limit_is_searched_and_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is never held as a whole; URLs at its seams are found; the lines around it are as ever."""
    monkeypatch.setattr(encoded, "LONGEST_LINE", 200_000)
    seed = random.randrange(10**6)
    print("seed", seed)
    rng, urls, long = random.Random(seed), [image.url for image in Gardener(seed).images(4)], ""
    for place, url in enumerate(urls):  # the pieces end at 200,000 and then every 2**20: inside each of these URLs
        seam = 200_000 + place * encoded.PIECE * 16
        long += "A" * (seam - len(long) - rng.randrange(10, len(url) - 5)) + f" {url} "
    lines = f'{{"url":"{OSS}","prompt":"before"}}\n{long}\n{{"url":"{DISCORD}","prompt":"after"}}\n'
    every = items("x.jsonl", lines)
    takes = [item for item in every if isinstance(item, Find)]
    assert sorted(item.url.reveal() for item in takes) == sorted([OSS, DISCORD, *urls])
    assert [(item.number, item.reason[:11]) for item in every if not isinstance(item, Find)] == [(2, "longer than")]
    assert {(item.number, item.beside.prompt) for item in takes} == {(1, "before"), (2, ""), (3, "after")}


class Endless(io.RawIOBase):
    """A stream of so many equal pieces that nobody holds."""

    def __init__(self, start: bytes, piece: bytes, count: int) -> None:
        self._pieces: Iterator[bytes] = iter([start, *(piece for _ in range(count))])
        self._held = b""

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """The next bytes."""
        self._held = self._held or next(self._pieces, b"")
        count = min(len(buffer), len(self._held))
        buffer[:count], self._held = self._held[:count], self._held[count:]
        return count


@pytest.mark.parametrize(
    ("name", "start", "piece", "least"),
    [
        ("one-line.txt", b"", b"A" * 1_000_000, 0),
        (
            "one.json",
            b'{"log":{"version":"1","entries":[{}',
            b',{"n":"%s","image_url":"%s"}' % (b"A" * 200_000, OSS.encode()),
            190,
        ),
        ("rows.csv", b"url,prompt\n", b"%s,%s\n" % (OSS.encode(), b"A" * 200_000), 190),
    ],
)
def test_memory_stays_bounded(name: str, start: bytes, piece: bytes, least: int) -> None:
    """A line of 40 MB and documents of as much, in less than half of it, however many come behind."""
    tracemalloc.start()
    count = 0
    try:
        stream = io.BufferedReader(Endless(start, piece, 200 if least else 100))
        for item in read(Source(name=name, path=None, stream=stream)):
            count += isinstance(item, Find)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count >= least
    assert peak < 64 * 1024**2


def test_an_sqlite_file_is_asked_and_nothing_else(tmp_path: Path) -> None:
    """Without a question the tables are named; what would write is refused; nothing appears beside the file."""
    path = tmp_path / "mj.db"
    db = sqlite3.connect(path)
    db.execute("create table task (id integer, prompt text, image_url text, data blob)")
    db.execute("insert into task values (1, 'a cat', ?, ?)", (OSS, json.dumps({"images": [{"url": DISCORD}]}).encode()))
    db.commit()
    db.close()

    def ask(query: str | None) -> list[Any]:
        with path.open("rb") as stream:
            return list(read(Source(name="mj.db", path=path, stream=stream, query=query)))

    with pytest.raises(UsageError, match="its tables: task"):
        ask(None)
    for bad in (
        "drop table task",
        "pragma table_info(task)",
        "select * from nothing",
        "attach 'x' as y",
        "select load_extension('x')",
    ):
        with pytest.raises(UsageError):
            ask(bad)
    (first,) = ask("select image_url, prompt, id from task")
    assert (first.url.reveal(), first.beside.prompt, first.values) == (OSS, "a cat", {"id": 1})
    assert [item.url.reveal() for item in ask("select data from task")] == [DISCORD]
    assert [each.name for each in tmp_path.iterdir()] == ["mj.db"]
    with pytest.raises(UsageError, match="--query is for an SQLite file"):
        items("x.csv", "url\n", query="select 1")


def test_dumps_of_three_programs() -> None:
    """MySQL, PostgreSQL with COPY, and SQLite's shell with its way to write a newline."""
    mysql = "-- MySQL dump\nCREATE TABLE `t` (\n `id` int,\n `prompt` text,\n `image_url` text\n);\n"
    mysql += (
        f"INSERT INTO `t` VALUES (1,'it\\'s; (a) \\\"cat\\\"','{OSS}'),(2,NULL,NULL),\n (3,'two\nlines','{DISCORD}');\n"
    )
    assert found("a.sql", mysql) == [(7, OSS, 'it\'s; (a) "cat"'), (8, DISCORD, "two\nlines")]
    postgres = f"COPY public.t (id, prompt, url) FROM stdin;\n1\ta\\tcat\t{OSS}\nbroken\n\\.\n"
    assert found("b.sql", postgres) == [(2, OSS, "a\tcat")]
    lite = f"CREATE TABLE t(prompt text, url text);\nINSERT INTO t VALUES(replace('a\\nb','\\n',char(10)),'{OSS}');\n"
    assert found("c.sql", lite) == [(2, OSS, "a\nb")]


def test_a_kind_that_a_person_names(tmp_path: Path) -> None:
    """It overrules the content; the command offers the kinds that there are."""
    from archiver.cli import taking_in

    assert taking_in.KINDS == KINDS
    assert found("x", f'{{"url":"{OSS}"}}', kind="text") == [(1, OSS, "")]
    assert found("x", f"a\tprompt\t{OSS}\n", kind="tsv")[0][1] == OSS
