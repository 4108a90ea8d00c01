"""A folder of exports as people have them: ten formats and more, with planted URLs, every escaping, and decoys.

`make` writes it and tells what was planted. Nothing in it is archiver's own format.
"""

import base64
import gzip
import html
import json
import sqlite3
from collections.abc import Callable
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any

from tests.backfill.planting import Gardener, Planted

CHINA = timezone(timedelta(hours=8))
QUERY = "select image_url as url, prompt, submit_time as created_at from mj_task where status = 'SUCCESS'"


def make(folder: Path, seed: int, count: int = 1000) -> list[Planted]:
    """Write the files; what is in them. Some images stand in two files, and count once."""
    folder.mkdir(parents=True, exist_ok=True)
    garden = Gardener(seed)
    planted: list[Planted] = []
    share = count // len(MAKERS)
    for place, maker in enumerate(MAKERS):
        images = garden.images(share if place else count - share * (len(MAKERS) - 1))
        maker(folder, images, garden)
        planted += images
    bare = planted[::97]  # a list of URLs alone, of images that other files know better
    (folder / "00-urls.txt").write_text("".join(f"{image.url}\n" for image in bare), "utf-8")
    return planted


def spreadsheet(folder: Path, images: list[Planted], garden: Gardener) -> None:
    """CSV of Excel in China: GB18030, CRLF, its own names of columns, avatars beside."""
    rows = ["编号,提示词,图片链接,头像,创建时间"]
    for n, image in enumerate(images):
        prompt = image.prompt.replace('"', '""')
        made, avatar = image.made.astimezone(CHINA), f"https://cdn.shop.example/avatars/{n}.png"
        rows.append(f'{n},"{prompt}",{image.url},{avatar},{made:%Y-%m-%d %H:%M:%S}')
    (folder / "a-sheet.csv").write_bytes("\r\n".join(rows).encode("gb18030"))


def tabs(folder: Path, images: list[Planted], garden: Gardener) -> None:
    """TSV in UTF-16 with a mark, gzipped."""
    rows = ["id\tprompt\timage_url\tpage"]
    rows += [f"{n}\t{image.prompt}\t{image.url}\t{garden.decoy()}" for n, image in enumerate(images)]
    (folder / "b-table.tsv.gz").write_bytes(gzip.compress("\n".join(rows).encode("utf-16")))


def lines(folder: Path, images: list[Planted], garden: Gardener) -> None:
    """JSONL of an application: a request beside its answer, the answer as a string of JSON, once more escaped."""
    out = []
    for n, image in enumerate(images):
        answer = json.dumps({"created": int(image.made.timestamp()), "data": [{"url": image.url}]}).replace("/", "\\/")
        if n % 3 == 0:
            answer = answer.replace("&", "\\u0026")
        row: dict[str, Any] = {
            "ts": image.made.isoformat(),
            "endpoint": "https://api.openai.com/v1/images/generations",
            "request": {"prompt": image.prompt, "image": "https://uploads.example/mine.png"},
            "response": json.loads(answer) if n % 2 else answer,
        }
        out.append(json.dumps({"level": "info", "message": json.dumps(row)} if n % 5 == 0 else row))
        out.append(json.dumps({"level": "debug", "url": garden.decoy(), "msg": f"GET {garden.decoy()} 200"}))
    (folder / "c-app.jsonl").write_text("\n".join(out) + "\n", "utf-8")


def answers(folder: Path, images: list[Planted], garden: Gardener) -> None:
    """Raw answers of APIs, pretty-printed, all in one file behind each other."""
    shapes: list[Callable[[Planted], Any]] = [
        lambda i: {"created": int(i.made.timestamp()), "data": [{"revised_prompt": i.prompt, "url": i.url}]},
        lambda i: {
            "id": "p1",
            "model": "black-forest-labs/flux",
            "input": {"prompt": i.prompt},
            "output": [i.url],
            "created_at": i.made.isoformat(),
            "urls": {"get": "https://api.replicate.com/v1/predictions/p1"},
        },
        lambda i: {
            "request_id": "r",
            "output": {
                "task_id": "t",
                "task_status": "SUCCEEDED",
                "submit_time": f"{i.made.astimezone(CHINA):%Y-%m-%d %H:%M:%S.000}",
                "results": [{"orig_prompt": i.prompt, "actual_prompt": "rewritten", "url": i.url}],
            },
            "usage": {"image_count": 1},
        },
        lambda i: {
            "prompt": i.prompt,
            "candidates": [
                {"content": {"parts": [{"text": "Here:"}, {"fileData": {"mimeType": "image/png", "fileUri": i.url}}]}}
            ],
        },
        lambda i: {
            "request": {"messages": [{"role": "user", "content": [{"type": "text", "text": i.prompt}]}]},
            "response": {
                "choices": [
                    {
                        "message": {
                            "role": "assistant",
                            "content": f"Done!\n\n![image]({i.url})\n\n[docs](https://docs.apiyi.com/faq)",
                        }
                    }
                ]
            },
        },
        lambda i: {
            "data": None,
            "images": [{"url": None}, {"url": i.url, "thumbnail_url": i.url + "x_thumb.png"}],
            "prompt": i.prompt,
        },
    ]
    text = "\n".join(
        json.dumps(shapes[n % len(shapes)](image), indent=2, ensure_ascii=n % 2 == 0) for n, image in enumerate(images)
    )
    (folder / "d-answers.json").write_text(text, "utf-8")


def archive(folder: Path, images: list[Planted], garden: Gardener) -> None:
    """HAR of a browser: the call with its answer, the picture itself, and what the page loaded besides."""
    entries: list[dict[str, Any]] = []
    for n, image in enumerate(images):
        answer = json.dumps({"data": [{"url": image.url}]})
        content: dict[str, Any] = {"mimeType": "application/json", "text": answer}
        if n % 2:
            content |= {"text": base64.b64encode(answer.encode()).decode(), "encoding": "base64"}
        sent = {"mimeType": "application/json", "text": json.dumps({"model": "gpt-image-2", "prompt": image.prompt})}
        call = {"method": "POST", "url": "https://api.relay.cn/v1/images/generations", "postData": sent}
        entries.append(
            {
                "startedDateTime": image.made.isoformat(),
                "request": call,
                "response": {"status": 200, "content": content},
            }
        )
        picture = {"status": 200, "content": {"mimeType": "image/png", "size": 5}}
        entries.append({"request": {"method": "GET", "url": image.url}, "response": picture})
        entries.append({"request": {"method": "GET", "url": f"https://site.example/pics/{n}.png"}, "response": picture})
        page = {
            "mimeType": "text/html",
            "text": f"<img src='https://site.example/hero-{n}.jpg'><a href='{garden.decoy()}'>",
        }
        entries.append({"request": {"method": "GET", "url": garden.decoy()}, "response": {"content": page}})
    (folder / "e-browser.har").write_text(
        json.dumps({"log": {"version": "1.2", "entries": entries}}, indent=1), "utf-8"
    )


def notes(folder: Path, images: list[Planted], garden: Gardener) -> None:
    """Markdown that a person kept: prompts above, in the words of the picture, in full-width punctuation."""
    out = [
        "# Pictures",
        "",
        f"![build](https://img.shields.io/badge/build-passing-green.svg) see <{garden.decoy()}>.",
        "",
    ]
    for n, image in enumerate(images):
        if n % 5 == 0:
            out += [f"**Prompt:** {image.prompt}", "", f"![image]({image.url})", ""]
        elif n % 5 == 1:
            out += [f"## {n}", "", f"![{image.prompt}]({image.url})", ""]
        elif n % 5 == 2:
            out += [
                f"提示词：{image.prompt}",
                f"图片在这里：{image.url}。头像 https://cdn.shop.example/avatars/a.png",
                "",
            ]
        elif n % 5 == 3:
            out += [f"Prompt: {image.prompt}", f"It is here ({image.url}), and here <{html.escape(image.url)}>.", ""]
        else:
            out += [
                "### User",
                "",
                image.prompt,
                "",
                "### Assistant",
                "",
                f'<img src="{html.escape(image.url)}" alt="x">',
                "",
            ]
    (folder / "f-notes.md").write_text("\n".join(out), "utf-8")


def chatgpt(folder: Path, images: list[Planted], garden: Gardener) -> None:
    """conversations.json: messages in a tree, each with its parent."""
    chats = []
    for n, image in enumerate(images):
        mapping = {
            "root": {"id": "root", "message": None, "parent": None, "children": ["q"]},
            "a": {
                "id": "a",
                "parent": "q",
                "message": {
                    "author": {"role": "assistant"},
                    "create_time": image.made.timestamp(),
                    "content": {"content_type": "text", "parts": [f"Here it is: ![Generated image]({image.url})"]},
                    "metadata": {"citations": [{"url": garden.decoy()}]},
                },
            },
            "q": {
                "id": "q",
                "parent": "root",
                "message": {
                    "author": {"role": "user"},
                    "content": {"content_type": "text", "parts": [image.prompt]},
                },
            },
        }
        chats.append({"title": f"chat {n}", "create_time": image.made.timestamp(), "mapping": mapping})
    (folder / "conversations.json").write_text(json.dumps(chats), "utf-8")


def lobe(folder: Path, images: list[Planted], garden: Gardener) -> None:
    """An export of lobe-chat: all messages in one list, answers naming their question, times in milliseconds."""
    messages: list[dict[str, Any]] = []
    for n, image in enumerate(images):
        at = int(image.made.timestamp() * 1000)
        messages.append({"id": f"q{n}", "role": "user", "content": image.prompt, "createdAt": at, "sessionId": "s"})
        messages.append(
            {"id": f"x{n}", "role": "user", "content": f"like https://uploads.example/my-{n}.png", "createdAt": at}
        )
        text = f"![]({image.url})\n\n> [下载]({garden.decoy()})"
        messages.append({"id": f"a{n}", "role": "assistant", "content": text, "createdAt": at, "parentId": f"q{n}",
                         "meta": {"avatar": "https://cdn.shop.example/avatars/bot.png"}})  # fmt: skip
    document = {"exportType": "all", "state": {"messages": messages, "sessions": []}, "version": 7}
    (folder / "lobe-chat.json").write_text(json.dumps(document, ensure_ascii=False, indent=2), "utf-8")


def log(folder: Path, images: list[Planted], garden: Gardener) -> None:
    """Logs of an application and of a web server in one file, with a line in Latin-1 and one of another kind."""
    out: list[bytes] = [b"caf\xe9 opened https://cafe.example/menu.html"]
    for n, image in enumerate(images):
        stamp = f"{image.made.astimezone(CHINA):%Y-%m-%d %H:%M:%S,123}"
        answer = json.dumps({"prompt": image.prompt, "data": [{"url": image.url}]})
        if n % 4 == 0:
            line = (
                f"{stamp} INFO image: prompt={json.dumps(image.prompt, ensure_ascii=False)} url={image.url} cost=0.04"
            )
        elif n % 4 == 1:
            line = f"{stamp} DEBUG http: reply {answer.replace('&', chr(92) + 'u0026').replace('/', chr(92) + '/')}"
        elif n % 4 == 2:
            line = f"[{stamp}] worker: body={json.dumps(answer)}, see {garden.decoy()}."
        else:
            line = f"{stamp} INFO saved prompt={json.dumps(image.prompt)} to '{image.url}', next"
        out.append(line.encode())
        access = f'10.0.0.1 - - [20/Nov/2026:09:00:{n % 60:02} +0800] "GET /gallery/{n}.png HTTP/1.1" 200 5'
        access += f' "https://site.example/pics/{n}.png" "Mozilla/5.0 (+https://bot.example/info.html)"'
        out.append(access.encode())
    (folder / "g-app.log").write_bytes(b"\n".join(out) + b"\n")


def dump(folder: Path, images: list[Planted], garden: Gardener) -> None:
    """A dump of MySQL: rows behind each other, quotes and JSON escaped by backslashes."""

    def quoted(text: str) -> str:
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace('"', '\\"').replace("\n", "\\n") + "'"

    head = "-- MySQL dump 10.13\nCREATE TABLE `task` (\n  `id` int NOT NULL,\n  `prompt` text,\n  `result` json,\n"
    head += "  `avatar` varchar(99),\n  PRIMARY KEY (`id`)\n) ENGINE=InnoDB;\n"
    rows = []
    for n, image in enumerate(images):
        result = json.dumps({"images": [{"url": image.url}], "page": garden.decoy()})
        rows.append(f"({n},{quoted(image.prompt)},{quoted(result)},'https://cdn.shop.example/avatars/{n}.png')")
    text = head + "".join(
        f"INSERT INTO `task` VALUES {','.join(rows[at : at + 20])};\n" for at in range(0, len(rows), 20)
    )
    (folder / "h-dump.sql").write_text(text, "utf-8")


def database(folder: Path, images: list[Planted], garden: Gardener) -> None:
    """The SQLite file of a Midjourney proxy, for `QUERY`."""
    with sqlite3.connect(folder / "mj.db") as db:
        db.execute("create table mj_task (id integer, prompt text, image_url text, submit_time integer, status text)")
        rows = [(n, i.prompt, i.url, int(i.made.timestamp() * 1000), "SUCCESS") for n, i in enumerate(images)]
        rows.append((-1, "failed", garden.decoy(), 0, "FAILURE"))
        db.executemany("insert into mj_task values (?, ?, ?, ?, ?)", rows)
    db.close()


MAKERS = (spreadsheet, tabs, lines, answers, archive, notes, chatgpt, lobe, log, dump, database)
