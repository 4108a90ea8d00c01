"""The page of the gallery, put together from its template, its style and its scripts, which lie beside this file.

Prompts are written by strangers: as data they can end no script and start no markup, and the page's own policy runs
nothing but the scripts that were put into it here.
"""

import base64
import dataclasses
import hashlib
import html
import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from importlib import resources
from typing import Any

MARK = b'<meta name="generator" content="archiver gallery">'
SCRIPTS = ("words.js", "gallery.js", "detail.js", "start.js")
#: What could end a script, open a comment or, in older readers of JavaScript, end a line.
_HARMLESS = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}


def pieces(pictures: Iterable[Any], *, title: str, made: datetime, hosts: Iterable[str]) -> Iterator[str]:
    """The page, piece by piece: the pictures (dataclasses) are asked for one at a time."""
    style, script = _text("gallery.css"), "\n".join(_text(name) for name in SCRIPTS)
    values = {
        "policy": html.escape(policy(style, script, hosts)),
        "title": html.escape(title),
        "made": html.escape(f"archiver gallery, {made:%Y-%m-%d %H:%M} UTC"),
        "style": style,
        "script": script,
    }
    before, _, after = _text("page.html").partition("{{images}}")
    yield _filled(before, values)
    yield from as_json(pictures)
    yield _filled(after, values)


def policy(style: str, script: str, hosts: Iterable[str]) -> str:
    """The Content-Security-Policy: this style, these scripts, and images beside the page or from `hosts`."""
    images = " ".join(["'self'", "file:", *sorted(set(hosts))])
    return (
        f"default-src 'none'; img-src {images}; style-src {_hash(style)};"
        f" script-src {_hash(script)}; base-uri 'none'; form-action 'none'"
    )


def as_json(pictures: Iterable[Any]) -> Iterator[str]:
    """A JSON list that can stand in a script element, one picture a line."""
    yield "[\n"
    for number, picture in enumerate(pictures):
        text = json.dumps(dataclasses.asdict(picture), ensure_ascii=False, separators=(",", ":"))
        # A lone half of a surrogate pair has no UTF-8.
        yield (",\n" if number else "") + text.translate(_HARMLESS).encode("utf-8", "replace").decode()
    yield "\n]"


def _text(name: str) -> str:
    return resources.files("archiver.gallery").joinpath(name).read_text("utf-8")


def _filled(template: str, values: dict[str, str]) -> str:
    """In one pass, so that a title that looks like a hole stays a title."""
    parts = template.split("{{")
    filled = [parts[0]]
    for part in parts[1:]:
        name, _, rest = part.partition("}}")
        filled += [values[name], rest]
    return "".join(filled)


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
