"""What stands beside a URL: prompt, model and times, under the names that people and programs give to their fields.

A name is read without case and signs (`created_at`, `createdAt` and `Created At` are one). Whoever names a column or a
path overrules the rest. It decides nothing about URLs.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from archiver.core.model import Json
from archiver.pipeline.backfill.finds import NOTHING, Beside

URL = (
    "url imageurl imageurls imagelink images image link links src outputurl outputurls output resulturl result"
    " downloadurl imgurl img picurl pictureurl fileurl mediaurl attachmenturl resultimageurl"
    " 图片 图片链接 图片地址 图片url 链接 地址"
).split()
PROMPT = (
    "prompt originalprompt origprompt promptoriginal promptzh prompten prompttext textprompt fullprompt finalprompt"
    " positiveprompt userprompt imageprompttext inputtext 提示词 描述"
).split()
REVISED = ("revisedprompt", "actualprompt", "optimizedprompt")
MODEL = ("model", "modelname", "modelid", "模型")
CREATED = (
    "createdat created createtime creationtime createdtime creationdate gmtcreate submittime submittedat submitat"
    " starteddatetime starttime startedat requesttime timestamp ts time datetime date finishtime completedat"
    " 创建时间 时间"
).split()
EXPIRES = (
    "expiresat expireat expiretime expirestime expirationtime urlexpiresat expiredat validuntil 过期时间"
).split()
_INSIDE = (
    "input inputs request requestbody body params parameters arguments args payload options json postdata config"
    " properties metadata task req"
).split()


@lru_cache(maxsize=4096)
def plain(name: str) -> str:
    """A name as these rules compare it."""
    return "".join(sign for sign in name.lower() if sign.isalnum())


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Columns, or paths such as `data.0.url`, that a person named."""

    url: str | None = None
    prompt: str | None = None
    model: str | None = None
    created_at: str | None = None
    expires_at: str | None = None

    def over(self, values: Mapping[str, Json], found: Beside) -> Beside:
        """What was found, but for what is named here."""
        told: dict[str, Any] = {}
        for role in ("prompt", "model", "created_at", "expires_at"):
            if (name := getattr(self, role)) is not None and (value := at(values, name)) is not None and value != "":
                told[role] = words(value) if role in ("prompt", "model") else value
                told["is_told"] = found.is_told or role.endswith("_at")
        return replace(found, **told) if told else found


def at(values: Json | Mapping[str, Json], path: str) -> Json:
    """The value of a column, or at the end of a path; None where there is none."""
    if isinstance(values, Mapping):
        if path in values:
            return values[path]
        for name in values:
            if name.lower() == path.lower():
                return values[name]
    head, dot, rest = path.partition(".")
    if isinstance(values, list) and head.isdigit() and int(head) < len(values):
        inner: Json = values[int(head)]
    elif isinstance(values, Mapping) and dot and head in values:
        inner = values[head]
        if isinstance(inner, str) and inner.lstrip()[:1] in ("{", "["):
            try:
                inner = json.loads(inner)
            except (ValueError, RecursionError):
                return None
    else:
        return None
    return at(inner, rest) if dot else inner


def of(fields: Mapping[str, Json], outer: Beside = NOTHING) -> Beside:
    """What stands in an object, by its plain names, and else what stood around it."""
    prompt = first(fields, PROMPT)
    text = words(prompt) if prompt is not None else ""
    if not text:
        text = inside(fields)
    model, created, expires = first(fields, MODEL), first(fields, CREATED), first(fields, EXPIRES)
    if not text and not outer.prompt and (revised := first(fields, REVISED)):
        text = words(revised)
    if not (text or model or created or expires):
        return outer
    return Beside(
        prompt=text or outer.prompt,
        model=model if isinstance(model, str) else outer.model,
        created_at=outer.created_at if created is None else created,
        expires_at=outer.expires_at if expires is None else expires,
        is_told=outer.is_told,
    )


def inside(fields: Mapping[str, Json]) -> str:
    """The prompt in what was sent: an `input` or `request`, or the last thing that a user said."""
    for name in ("messages", "contents"):
        if isinstance(said := fields.get(name), list) and (text := last_said(said)):
            return text
    for name in _INSIDE:
        inner = fields.get(name)
        if isinstance(inner, str) and inner.lstrip().startswith("{") and "prompt" in inner:
            try:
                inner = json.loads(inner)
            except (ValueError, RecursionError):
                continue
        if isinstance(inner, Mapping):
            named = {plain(str(key)): value for key, value in inner.items()}
            text = words(first(named, PROMPT)) or inside({key: named[key] for key in named if key != name})
            if text:
                return text
    return ""


def last_said(messages: list[Json]) -> str:
    """The last words of a user, when the list does not go on with an answer that holds what is looked for."""
    for message in reversed(messages):
        if isinstance(message, Mapping) and role_of(message) in ("user", "human", ""):
            text = words(message.get("content", message.get("parts")))
            if text:
                return text
    return ""


def role_of(message: Mapping[str, Json]) -> str:
    """Who speaks: `user`, `assistant`, ...; empty where it is not said."""
    role = message.get("role", message.get("from", message.get("sender")))
    author = message.get("author")
    if role is None and isinstance(author, Mapping):
        role = author.get("role")
    return role.lower() if isinstance(role, str) else ""


def words(value: Json) -> str:
    """The text of a value: of a list of parts all their texts. Never a URL or inline bytes, and no half characters."""
    if isinstance(value, str):
        found = value.strip()
        return "" if found.startswith(("http://", "https://", "data:")) and " " not in found else _whole(found)
    if isinstance(value, bool) or value is None:
        return ""
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, Mapping):
        return next((text for name in ("text", "content", "parts", "prompt") if (text := words(value.get(name)))), "")
    return "\n".join(text for item in value if (text := words(item)))


def first(fields: Mapping[str, Json], names: "tuple[str, ...] | list[str]") -> Json:
    """The first of these fields that says something."""
    for name in names:
        if (value := fields.get(name)) not in (None, "", [], {}):
            return value
    return None


def _whole(text: str) -> str:
    """Half of a surrogate pair is no character, and no database takes it."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
