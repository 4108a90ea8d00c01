"""A provider of tasks on loopback that speaks any of the dialects, and keeps a ledger of what it charged.

Its answers are the recorded ones of `tests/data/answers/tasks.json` with ids and URLs filled in; which requests it
takes (address, credentials, headers, where the prompt stands) is written here from the documentation, so that it agrees
with nobody's reading of a table. Its images are real PNG files on an `ImageSource`, signed anew at every answer.
"""

import base64
import contextlib
import copy
import hashlib
import hmac
import itertools
import json
import re
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import unquote, urlencode

from tests.doubles.http1 import Reply, Request
from tests.doubles.ledger import Charge
from tests.doubles.pngs import png
from tests.doubles.source import ImageSource
from tests.doubles.wire import Fault, FaultScript, Seen, Wire

RECORDED: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "data" / "answers" / "tasks.json").read_text("utf-8")
)
WEBHOOK_SECRET = "whsec_" + base64.b64encode(b"double-webhook-secret-24").decode()


@dataclass(frozen=True, slots=True)
class Form:
    """What one dialect takes: the addresses (patterns), the header with the key, where prompt and number stand."""

    submit: str
    status: str
    key: tuple[str, str] = ("authorization", "Bearer ")
    prompt: tuple[str, ...] = ("prompt",)
    number: tuple[str, ...] = ("n",)
    result: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    accepted: int = 200
    most: int = 10


FORMS = {
    "apiyi": Form("/v1/images/generations/async", "/v1/tasks/(.+)"),
    "dashscope": Form(
        "/api/v1/services/aigc/text2image/image-synthesis",
        "/api/v1/tasks/(.+)",
        prompt=("input", "prompt"),
        number=("parameters", "n"),
        headers=(("x-dashscope-async", "enable"),),
    ),
    "replicate": Form(
        "/v1/predictions",
        "/v1/predictions/(.+)",
        prompt=("input", "prompt"),
        number=("input", "num_outputs"),
        accepted=201,
    ),
    "fal": Form(
        "/fal-ai/flux/dev",
        "/fal-ai/flux/requests/([^/]+)/status",
        key=("authorization", "Key "),
        number=("num_images",),
        result="/fal-ai/flux/requests/([^/]+)",
    ),
    "bfl": Form("/v1/flux-pro", r"/v1/get_result\?id=(.+)", key=("x-key", ""), most=1),
    "sub2api": Form("/v1/images/generations/async", "/v1/images/tasks/(.+)", accepted=202),
    "relay": Form("/v1/images/generations", "/v1/tasks/(.+)"),
    "generic": Form("/render/jobs", "/render/jobs/([^/]+)"),
}
MODELS = {"fal": "fal-ai/flux/dev", "bfl": "flux-pro", "replicate": "black-forest-labs/flux-schnell"}
GENERIC: dict[str, Any] = {
    "submit_path": "render/jobs",
    "poll_path": "render/jobs/{id}",
    "handle_at": "job.ref",
    "status_at": "job.state",
    "done_words": "finished",
    "failed_words": "broken",
    "results_at": "files[].href",
    "error_at": "job.reason",
}
#: What a section of the configuration says to ask in a dialect, without address and key.
TASK_SETTINGS: dict[str, dict[str, Any]] = {
    dialect: {
        "dialect": dialect,
        "model": MODELS.get(dialect, "nano-banana-pro"),
        **(GENERIC if dialect == "generic" else {}),
    }
    for dialect in FORMS
}


@dataclass(slots=True)
class _Task:
    prompt: str
    n: int
    polls: int = 0
    told: int = 0


class TaskProvider:
    """`endpoint` is the base address, `api_key` the key, `charges` the ledger, `tasks` by id, `source` the image host.

    A task runs for `running` polls, and ends as `end` says: `done`, `failed`, or `vanished` (nobody knows it any more).
    `is_sync` answers with the result at once. `empty` is done without images. URLs die `lifetime` after the answer that
    told them; with `enforce` the image host refuses them then, by the clock `now`. `only_status` serves the second
    address of the dialect `apiyi` alone. Unless `fresh`, URLs are bare and always the same. `asked` has
    the body of every accepted request.
    """

    def __init__(
        self,
        dialect: str,
        *,
        running: int = 1,
        end: Literal["done", "failed", "vanished"] = "done",
        is_sync: bool = False,
        empty: bool = False,
        fault: FaultScript = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        lifetime: timedelta = timedelta(hours=1),
        enforce: bool = False,
        only_status: bool = False,
        fresh: bool = True,
    ) -> None:
        self.dialect = dialect
        self.api_key = "sk-doubletaskkey00000001"
        self.running, self.end, self.is_sync, self.empty = running, end, is_sync, empty
        self.charges: list[Charge] = []
        self.asked: list[dict[str, Any]] = []
        self.tasks: dict[str, _Task] = {}
        self.polls: Counter[str] = Counter()
        self.source = ImageSource(now if enforce else None)
        self.fresh = fresh
        self._form = FORMS[dialect]
        self._status = "/tasks/([^/]+)/status" if only_status else self._form.status
        self._now, self._lifetime = now, lifetime
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._wire = Wire(self._answer, lambda request: request.path, now, fault)
        self._open = contextlib.ExitStack()
        self.endpoint = f"http://{self._wire.authority}"

    def __enter__(self) -> Self:
        self._open.enter_context(self.source)
        self._open.enter_context(self._wire)
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        self._open.__exit__(kind, e, trace)

    @property
    def settings(self) -> dict[str, Any]:
        """What a section of the configuration says to ask here, without the key."""
        return TASK_SETTINGS[self.dialect]

    @property
    def requests(self) -> list[Seen]:
        """Every request so far; the key is the path."""
        return self._wire.seen

    def script(self, fault: FaultScript) -> None:
        """Replace the script of faults from the next request on."""
        self._wire.script(fault)

    def down(self) -> None:
        """Cut all connections of the API and refuse new ones."""
        self._wire.listener.down()

    def up(self) -> None:
        """End an outage."""
        self._wire.listener.up()

    @staticmethod
    def image(prompt: str, index: int) -> bytes:
        """The PNG that image `index` (from 0) of `prompt` is."""
        return png(f"{prompt}/{index}")

    def webhook(self, ident: str, secret: str = WEBHOOK_SECRET) -> tuple[dict[str, str], bytes]:
        """The headers and the body that the provider sends when a task is done. Its URLs lead nowhere."""
        if self.dialect == "apiyi":
            body = {"task_id": ident, **RECORDED["apiyi"]["done"], "error": None}
        else:
            body = RECORDED[self.dialect]["done"]
        raw = json.dumps(self._filled(body, ident, ["https://elsewhere.example/stolen.png"])).encode()
        if self.dialect != "replicate":
            return {"content-type": "application/json"}, raw
        stamp = str(int(self._now().timestamp()))
        key = base64.b64decode(secret.removeprefix("whsec_"))
        mark = base64.b64encode(hmac.digest(key, f"msg_{ident}.{stamp}.".encode() + raw, hashlib.sha256)).decode()
        return {
            "webhook-id": f"msg_{ident}",
            "webhook-timestamp": stamp,
            "webhook-signature": f"v1,old= v1,{mark}",
        }, raw

    def _answer(self, request: Request, fault: Fault) -> Reply | None:
        name, prefix = self._form.key
        if request.headers.get(name) != prefix + self.api_key:
            return _json(401, {"error": {"message": "Invalid key", "type": "authentication_error"}})
        if fault.status is not None:
            return _json(fault.status, {"error": {"message": "scripted", "code": fault.code}})
        if request.method == "POST" and request.path == self._form.submit:
            return self._take(request)
        for pattern, is_result in ((self._status, False), (self._form.result, True)):
            if request.method == "GET" and pattern and (match := re.fullmatch(pattern, request.target)):
                return self._tell(unquote(match[1]), is_result=is_result)
        return _json(404, {"error": {"message": f"Invalid URL ({request.method} {request.path})"}})

    def _take(self, request: Request) -> Reply:
        try:
            asked = json.loads(request.body)
            prompt, n = _at(asked, self._form.prompt), _at(asked, self._form.number) or 1
        except (ValueError, AttributeError):
            return _json(400, {"error": {"message": "The body must be a JSON object."}})
        said = all(request.headers.get(name) == value for name, value in self._form.headers)
        if not isinstance(prompt, str) or not prompt or type(n) is not int or not 1 <= n <= self._form.most or not said:
            return _json(400, {"error": {"message": "Invalid request."}, "code": "InvalidParameter"})
        with self._lock:
            ident = f"task-{next(self._ids):06d}"
            self.tasks[ident] = _Task(prompt, n)
            self.asked.append(asked)
            self.charges.append(Charge(ident, prompt, str(asked.get("model", "")), n, "auto", n * 40_000, self._now()))
        if self.is_sync:
            return _json(200, {"created": 1, "data": [{"url": url} for url in self._urls(ident)]})
        return _json(self._form.accepted, self._filled(RECORDED[self.dialect]["submit"], ident, []))

    def _tell(self, ident: str, *, is_result: bool) -> Reply:
        recorded = RECORDED[self.dialect]
        task = self.tasks.get(ident)
        if task is None or (self.end == "vanished" and task.polls >= self.running):
            if task is not None and "vanished" in recorded:
                return _json(200, self._filled(recorded["vanished"], ident, []))
            return _json(404, {"error": {"message": "task not found"}, "detail": "Not Found"})
        with self._lock:
            self.polls[ident] += 1
            task.polls += not is_result
            is_running = task.polls <= self.running
        if is_running:
            return _json(200, self._filled(recorded["running"], ident, []))
        if self._form.result and not is_result:
            return _json(200, self._filled(recorded["finished"], ident, []))
        if self.end == "failed":
            return _json(422 if is_result else 200, self._filled(recorded["failed"], ident, []))
        urls = [] if self.empty else self._urls(ident)
        return _json(200, self._filled(recorded["done"], ident, urls))

    def _urls(self, ident: str) -> list[str]:
        """The images of a task, signed anew: what was told before is refused from now on."""
        task = self.tasks[ident]
        with self._lock:
            task.told += 1
            told = task.told
        urls = []
        for index in range(task.n):
            expires = int((self._now() + self._lifetime).timestamp())
            query = {"Expires": expires, "OSSAccessKeyId": "LTAIdouble", "Signature": f"sig{told}="}
            path = f"/results/{ident}-{index}.png{f'?{urlencode(query)}' if self.fresh else ''}"
            urls.append(self.source.add(path, self.image(task.prompt, index)))
        return urls

    def _filled(self, template: Any, ident: str, urls: list[str]) -> Any:
        """A recorded answer with ids and URLs; the innermost list around the URL has one item for each."""
        if isinstance(template, dict):
            return {name: self._filled(value, ident, urls) for name, value in template.items()}
        if isinstance(template, list):
            text = json.dumps(template)
            if "{url}" in text and not any(isinstance(item, dict) and _has_list(item) for item in template):
                return [self._filled(copy.deepcopy(template[0]), ident, [url]) for url in urls]
            return [self._filled(item, ident, urls) for item in template]
        if isinstance(template, str):
            if template == "{url}":
                return urls[0] if urls else None
            return template.replace("{id}", ident).replace("{base}", self.endpoint)
        return template


def _has_list(item: dict[str, Any]) -> bool:
    """Whether a list inside holds the URL."""
    return any(isinstance(value, list) and "{url}" in json.dumps(value) for value in item.values())


def _at(document: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        document = document.get(step) if isinstance(document, dict) else None
    return document


def _json(status: int, document: Any) -> Reply:
    return Reply(status, {"Content-Type": "application/json"}, json.dumps(document).encode())
