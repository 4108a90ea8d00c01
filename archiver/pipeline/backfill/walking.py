"""Images in a JSON value of any shape: answers of APIs, chats, exports, rows of logs, each with what stands beside it.

The nearest prompt counts: in the same object, in what was sent for it, in an object around it, or the last thing that a
user said before. What was sent itself (inputs, references, the pictures in a question) is not what was generated.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from archiver.core.model import Json
from archiver.core.tempurl import TemporaryURL
from archiver.pipeline.backfill import beside
from archiver.pipeline.backfill.finds import NOTHING, Beside, in_field, in_text

DEEPEST = 40
_DENIED = re.compile(
    r"signature|thumb|avatar|watermark|preview|partial|reasoning|refusal|annotation|citation|grounding|webhook|callback|"
    r"prompt|request|referr?er|error|icon|logo|favicon|headers|cookie|stack|documentation|homepage|poster|"
    r"^(?:inputs?|mask|audio|video|usage|toolcalls|references?|referenceimages?|initimages?|useragent|profile|helpurl|docs?"
    r"|docurl|geturl|statusurl|cancelurl)$"
)
_OF_IMAGES = re.compile(r"^(?:images?|pics?|pictures?|samples?|artifacts|generations)$|image(?:link|ur[il])s?$")
_OUTPUT = re.compile(r"^outputs?$")
_PLAIN = frozenset({"url", "urls", "src", "uri", "fileuri"})
_WHOLE = re.compile(r"\s*[<(\"'`]?https?:(?://|\\+/\\+/)\S+\s*", re.IGNORECASE)
_ROLES_OF_PEOPLE = frozenset({"user", "human", "system"})


@dataclass(slots=True)
class Thread:
    """What was said so far in a chat whose messages come one by one."""

    last: str = ""
    said: dict[str, str] = field(default_factory=dict)


Found = tuple[TemporaryURL, bool, Beside]


def walk(value: Json | Mapping[str, Json], around: Beside = NOTHING, thread: Thread | None = None) -> Iterator[Found]:
    """Every URL of a value in order, whether it is an image, and what stands beside it."""
    return _walk("", value, around, thread or Thread(), 0, is_near=False)


def _walk(
    name: str, value: Json | Mapping[str, Json], around: Beside, thread: Thread, depth: int, *, is_near: bool
) -> Iterator[Found]:
    if depth > DEEPEST or (name and _DENIED.search(name)):
        return
    if isinstance(value, str):
        yield from _text(name, value, around, depth, is_near=is_near)
    elif isinstance(value, list):
        is_near = is_near or bool(_OF_IMAGES.search(name))
        inner = Thread() if any(isinstance(item, Mapping) and beside.role_of(item) for item in value) else thread
        for item in value:
            yield from _walk(name, item, around, inner, depth + 1, is_near=is_near)
    elif isinstance(value, Mapping) and name != "urls":  # of a task: where to ask again, where to cancel
        yield from _object(name, value, around, thread, depth, is_near=is_near)


def _object(
    name: str, value: Mapping[str, Json], around: Beside, thread: Thread, depth: int, *, is_near: bool
) -> Iterator[Found]:
    fields = {beside.plain(str(key)): item for key, item in value.items()}
    mime = fields.get("mimetype")
    if isinstance(mime, str) and "fileuri" in fields and not mime.lower().startswith(("image/", "application/octet")):
        return
    if isinstance(mapping := fields.get("mapping"), Mapping):
        yield from _tree(mapping, beside.of(fields, around), depth)
        return
    near = beside.of(fields, around)
    if role := beside.role_of(value):
        said = beside.words(value.get("content", value.get("parts")))
        if role in _ROLES_OF_PEOPLE:
            if role != "system":
                _remember(value, said, thread)
            return
        if not beside.of(fields).prompt and (asked := _question(value, thread)):
            near = replace(near, prompt=asked)
    is_near = is_near or bool(_OF_IMAGES.search(name))
    for inner, item in fields.items():
        yield from _walk(inner, item, near, thread, depth + 1, is_near=is_near)


def _tree(mapping: Mapping[str, Json], around: Beside, depth: int) -> Iterator[Found]:
    """A chat whose messages name their parents: the question is the nearest one above."""
    for node in mapping.values():
        message = node.get("message") if isinstance(node, Mapping) else None
        if not isinstance(message, Mapping) or beside.role_of(message) in ("", *_ROLES_OF_PEOPLE):
            continue
        said, above, steps = "", node, 0
        while not said and isinstance(above, Mapping) and steps < 1000:
            above, steps = mapping.get(str(above.get("parent"))), steps + 1
            asked = above.get("message") if isinstance(above, Mapping) else None
            if isinstance(asked, Mapping) and beside.role_of(asked) in ("user", "human"):
                said = beside.words(asked.get("content"))
        yield from _object(
            "", message, replace(around, prompt=said or around.prompt), Thread(), depth + 1, is_near=False
        )


def _remember(message: Mapping[str, Json], said: str, thread: Thread) -> None:
    thread.last = said or thread.last
    if isinstance(own := message.get("id"), str) and said:
        if len(thread.said) >= 10_000:  # a question is followed by its answer, not by ten thousand others
            thread.said.clear()
        thread.said[own] = said


def _question(message: Mapping[str, Json], thread: Thread) -> str:
    """What a message answers: its parent where it names one, else what was said last."""
    parent = message.get("parentId", message.get("parent_id"))
    said = thread.said.get(parent, "") if isinstance(parent, str) else ""
    return said or thread.last


def _text(name: str, text: str, around: Beside, depth: int, *, is_near: bool) -> Iterator[Found]:
    if len(text) < 10 or "ttp" not in text.lower():
        return
    if _WHOLE.fullmatch(text):
        named = bool(_OF_IMAGES.search(name) or _OUTPUT.search(name)) or (is_near and name in _PLAIN)
        try:
            url, is_image = in_field(text, is_named=named)
        except ValueError:
            pass
        else:
            yield url, is_image, around
            return
    if text.lstrip()[:1] in ("{", "["):
        try:
            value = json.loads(text, strict=False)
        except (ValueError, RecursionError):
            pass
        else:
            yield from _walk(name, value, around, Thread(), depth + 1, is_near=is_near)
            return
    for url, is_image, _ in in_text(text):
        yield url, is_image, around
