"""Understands answers in the OpenAI Images dialect, for every adapter that gets them.

Pure functions from bytes to values: each answer is judged by what it holds, not by what was asked for, because the same
model gives URLs, base64 or a refusal depending on channel and date. It refuses to fetch, to guess at other dialects,
and to repeat a secret: text that a provider wrote passes through `clean` before it may stand in an error.
"""

import base64
import json
import re
from collections.abc import Mapping

from archiver.core.errors import Corrupt, Permanent
from archiver.core.model import Completed, Output
from archiver.core.tempurl import TemporaryURL, unescape_url
from archiver.providers.facts import facts

MESSAGE_LIMIT = 200
"""Characters of a provider's own words that an error message carries."""

_ADDRESS = re.compile(r"\b(https?)://(?:[^\s/?#\"'<>]*@)?([^\s/?#\"'<>@]*)[^\s\"'<>]*", re.IGNORECASE)
_KEY = re.compile(r"\bBearer\s+\S+|\b(?:sk|ak|pk)-[\w*.-]+|\b(?:AKIA|LTAI)\w+|[\w+/=-]{40,}", re.IGNORECASE)
_DATA_URI = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)


def parse(body: bytes) -> dict[str, object]:
    """The JSON object in `body`. Raises Corrupt when it is anything else: empty, cut off, a web page, NaN, a list."""
    text = body.lstrip()  # no copy where there is nothing to strip: it may have 100 MB
    if not text:
        raise Corrupt("the answer is empty")
    if text.startswith(b"<"):
        raise Corrupt("the answer is a web page, not JSON")
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise Corrupt("the answer is no complete JSON") from None
    if not isinstance(document, dict):
        raise Corrupt("the answer is JSON, but no object")
    return document


def images(document: Mapping[str, object]) -> Completed:
    """The outputs in `data` (or in `result.data`, where a finished task has it), each judged alone.

    An output's index is its position there. Raises Permanent when no item holds an image, with the reason of each and
    the provider's own error, when it gave one.
    """
    items = _holder(document).get("data")
    found = [_output(index, item) for index, item in enumerate(items)] if isinstance(items, list) else []
    outputs = tuple(output for output in found if isinstance(output, Output))
    if outputs:
        return Completed(outputs=outputs, request_id=_identifier(document, "id", "request_id"), facts=facts(document))
    reasons = [f"item {index} {why}" for index, why in enumerate(found) if isinstance(why, str)]
    error = _error_of(document)
    raise Permanent(f"answered without images: {'; '.join(([error] if error else []) + reasons[:10]) or 'no data'}")


def task_id(document: Mapping[str, object]) -> str | None:
    """The name of the task when the answer is no result but a promise of one: a `task_id` and no `data`."""
    return None if _holder(document).get("data") else _identifier(document, "task_id")


def complaint(body: bytes, *secrets: str) -> str:
    """What an error answer says went wrong, cleaned of `secrets` too; empty when it says nothing."""
    try:
        return _error_of(parse(body), *secrets)
    except Corrupt:
        is_page = body.lstrip().startswith(b"<")
        return "a web page" if is_page else clean(body.decode("utf-8", "replace"), *secrets)


def clean(words: str, *secrets: str) -> str:
    """Foreign text made fit for an error message.

    The given secrets, whatever looks like a key and everything of a URL behind its host are taken out, control
    characters become spaces, and what is longer than `MESSAGE_LIMIT` is cut.
    """
    for secret in filter(None, secrets):
        words = words.replace(secret, "[redacted]")
    words = _ADDRESS.sub(r"\1://\2/[redacted]", words)
    words = _KEY.sub("[redacted]", words)
    printable = "".join(character if character.isprintable() else " " for character in words)
    line = " ".join(printable.split())
    return line if len(line) <= MESSAGE_LIMIT else line[: MESSAGE_LIMIT - 1] + "…"


def _holder(document: Mapping[str, object]) -> Mapping[str, object]:
    """Where `data` is to be looked for."""
    result = document.get("result")
    return result if isinstance(result, Mapping) and not document.get("data") else document


def _error_of(document: Mapping[str, object], *secrets: str) -> str:
    error = document.get("error")
    if isinstance(error, Mapping):
        error = error.get("message") or error.get("code") or error.get("type")
    for words in (error, document.get("message"), document.get("detail")):
        if isinstance(words, str) and words.strip():
            return clean(words, *secrets)
    return ""


def _output(index: int, item: object) -> Output | str:
    """The image of one item, or why there is none."""
    if not isinstance(item, Mapping):
        return "is no object"
    url, inline, revised = item.get("url"), item.get("b64_json"), item.get("revised_prompt")
    prompt = _storable(revised) if isinstance(revised, str) else None
    why = "has neither url nor b64_json"
    if isinstance(url, str) and url.strip():
        if not url.strip().lower().startswith("data:"):
            try:
                return Output(index=index, url=TemporaryURL(unescape_url(url)), revised_prompt=prompt)
            except ValueError:
                why = "has a url that is none"
        elif not inline:
            inline = url
    if isinstance(inline, str) and inline.strip():
        data = _decode(inline)
        if data:
            return Output(index=index, data=data, revised_prompt=prompt)
        why = "has broken base64"
    if _identifier(item, "task_id"):
        why = "names a task instead of an image"
    return why


def _decode(text: str) -> bytes | None:
    """The bytes of raw base64 or of a data URI, with or without line breaks and padding. None when it is neither."""
    packed = "".join(text.split())
    prefix = _DATA_URI.match(packed)
    if prefix:
        packed = packed[prefix.end() :]
    try:
        return base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)
    except ValueError:
        return None


def _identifier(source: Mapping[str, object], *names: str) -> str | None:
    for name in names:
        value = source.get(name)
        if isinstance(value, str) and value.strip():
            return _storable(value.strip())
    return None


def _storable(text: str) -> str:
    """JSON may hold half a surrogate pair, and no database can store one: it becomes a question mark."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _refuse_constant(name: str) -> object:
    """NaN and Infinity are no JSON; Python would let them through."""
    raise ValueError(name)
