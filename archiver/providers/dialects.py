"""How providers of tasks speak: one entry of a table for each, and the small language of paths it is written in.

A dialect says where things stand, in a request and in an answer; `tasks` does the asking. A path is written with dots,
`[]` means every item of a list: `output.results[].url`. Nothing here sends, waits or knows a key.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from archiver.core.errors import Permanent
from archiver.core.model import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One way of asking for work that is done later.

    `places` says where the words of a request go: prompt, model, version, n, size, width, height, parameters, inputs,
    webhook; what has no place is not sent, and inputs without a place are refused. A `size` that is two numbers goes to
    `width` and `height` where they have places; `times` stands between them otherwise. With `one_unsaid`, n = 1 is not
    said: not every model knows the word. `{model}` in `submit` is the model.

    Of an answer: paths are tried in their order, the first that finds something wins. `status` words in `done` and
    `failed` are compared without case; any other means that the task still runs. `polls` are addresses with `{id}`, the
    next one for when the first answers 404; where there is none, the handle is itself the address that was given.
    `result` is where the address of the result stands when it is not the one that is polled. `webhook` says how a
    notice is signed. `renews`: the provider tells the result again, perhaps with a fresh URL.
    """

    submit: str
    handle: tuple[str, ...]
    results: tuple[str, ...]
    polls: tuple[str, ...] = ()
    places: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, Json] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    authorisation: Literal["Bearer", "Key", "x-key"] = "Bearer"
    times: str = "x"
    one_unsaid: bool = False
    status: tuple[str, ...] = ("status",)
    done: frozenset[str] = frozenset({"completed", "succeeded", "success"})
    failed: frozenset[str] = frozenset({"failed", "failure", "error", "cancelled", "canceled"})
    error: tuple[str, ...] = ("error.message", "error", "message", "detail[].msg", "detail")
    request_id: tuple[str, ...] = ("request_id",)
    result: str | None = None
    webhook: Literal["unsigned", "standard"] = "unsigned"
    renews: bool = True

    def __post_init__(self) -> None:
        """Words are compared without case."""
        object.__setattr__(self, "done", frozenset(word.casefold() for word in self.done))
        object.__setattr__(self, "failed", frozenset(word.casefold() for word in self.failed))

    def authorise(self, key: str) -> dict[str, str]:
        """How this provider wants to be told the key."""
        return {"x-key": key} if self.authorisation == "x-key" else {"Authorization": f"{self.authorisation} {key}"}


_IMAGES = {"prompt": "prompt", "model": "model", "n": "n", "size": "size", "parameters": ""}
_ASYNC = "v1/images/generations/async"

DIALECTS: Mapping[str, Dialect] = {
    # The platform's announced form; its chat groups also name /tasks/{id}/status.
    "apiyi": Dialect(
        submit=_ASYNC,
        places={**_IMAGES, "webhook": "webhook_url"},
        constants={"response_format": "url"},
        handle=("task_id", "data.task_id"),
        polls=("v1/tasks/{id}", "tasks/{id}/status"),
        results=("result.data[]", "data[]"),
    ),
    # The records of tasks are gone after 24 hours: UNKNOWN.
    "dashscope": Dialect(
        submit="api/v1/services/aigc/text2image/image-synthesis",
        places={
            "prompt": "input.prompt",
            "inputs": "input.images[]",
            "model": "model",
            "n": "parameters.n",
            "size": "parameters.size",
            "parameters": "parameters",
        },
        headers={"X-DashScope-Async": "enable"},
        times="*",
        handle=("output.task_id",),
        polls=("api/v1/tasks/{id}",),
        status=("output.task_status",),
        done=frozenset({"SUCCEEDED"}),
        failed=frozenset({"FAILED", "CANCELED", "UNKNOWN"}),
        results=("output.results[]", "output.choices[].message.content[].image", "output.image_url"),
        error=("output.message", "output.code", "message", "code"),
    ),
    "replicate": Dialect(
        submit="v1/predictions",
        places={
            "prompt": "input.prompt",
            "inputs": "input.image_input[]",
            "model": "model",
            "version": "version",
            "n": "input.num_outputs",
            "size": "input.aspect_ratio",
            "width": "input.width",
            "height": "input.height",
            "parameters": "input",
            "webhook": "webhook",
        },
        constants={"webhook_events_filter": ["completed"]},
        one_unsaid=True,
        handle=("id",),
        polls=("v1/predictions/{id}",),
        results=("output",),
        request_id=("id",),
        webhook="standard",
    ),
    # Its webhooks are signed with ED25519 by keys that would have to be fetched: refused, so there is no place for one.
    "fal": Dialect(
        submit="{model}",
        places={
            "prompt": "prompt",
            "inputs": "image_urls[]",
            "n": "num_images",
            "size": "image_size",
            "width": "image_size.width",
            "height": "image_size.height",
            "parameters": "",
        },
        authorisation="Key",
        handle=("status_url",),
        result="response_url",
        results=("images[]", "image"),
    ),
    # `polling_url` is at a region's own host: it must be one of the addresses in base_url.
    "bfl": Dialect(
        submit="v1/{model}",
        places={
            "prompt": "prompt",
            "inputs": "input_image",
            "size": "aspect_ratio",
            "width": "width",
            "height": "height",
            "parameters": "",
        },
        authorisation="x-key",
        handle=("polling_url",),
        done=frozenset({"Ready"}),
        failed=frozenset({"Error", "Failed", "Request Moderated", "Content Moderated", "Task not found"}),
        results=("result.sample",),
        request_id=("id",),
    ),
    "sub2api": Dialect(
        submit=_ASYNC,
        places=_IMAGES,
        handle=("task_id", "id"),
        polls=("v1/images/tasks/{id}",),
        results=("result.data[]", "data[]"),
    ),
    # apimart, evolink, toapis, apipod, mountsea and their like, as far as they are alike.
    "relay": Dialect(
        submit="v1/images/generations",
        places={**_IMAGES, "inputs": "image_urls[]"},
        handle=("data[].task_id", "data.task_id", "task_id", "data[].id", "data.id", "id"),
        polls=("v1/tasks/{id}", "tasks/{id}/status"),
        status=("data.status", "data[].status", "status"),
        results=(
            "data.result.images[]", "result.images[]", "data.result.data[]", "result.data[]", "data[]", "images[]",
            "data.output", "output",
        ),
        error=("data.error.message", "data.error", "error.message", "error", "message"),
    ),
    # What is not set in the configuration.
    "generic": Dialect(
        submit="", places=_IMAGES, handle=("task_id", "id"), results=("result.data[]", "data[]", "output")
    ),
}  # fmt: skip


def find(document: Json, path: str) -> list[Json]:
    """Everything that stands at `path`, in order; null counts as nothing."""
    found: list[Json] = [document]
    for step in filter(None, path.split(".")):
        name, is_list = step.removesuffix("[]"), step.endswith("[]")
        found = [item[name] for item in found if isinstance(item, dict) and item.get(name) is not None]
        if is_list:
            found = [inner for item in found if isinstance(item, list) for inner in item]
    return found


def text_at(document: Json, paths: tuple[str, ...]) -> str:
    """The first text (or number) at the first path that has one; empty when there is none."""
    for path in paths:
        for value in find(document, path):
            if isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip():
                return str(value).strip()
    return ""


def pictures(document: Json, paths: tuple[str, ...]) -> list[Json]:
    """The items with images at the first path that has any, each as an item of the OpenAI Images dialect."""
    for path in paths:
        items = [item for value in find(document, path) for item in _items(value)]
        if any(isinstance(item, dict) and (item.get("url") or item.get("b64_json")) for item in items):
            return items
    return []


def _items(value: Json, depth: int = 4) -> Iterator[Json]:
    """Texts are URLs; an object with a URL (or several) is one (or several) images, any other holds images."""
    if isinstance(value, str):
        yield {"url": value}
    elif isinstance(value, list) and depth:
        for item in value:
            yield from _items(item, depth - 1)
    elif isinstance(value, dict):
        several = value.get("url")
        if isinstance(several, list):
            for url in several:
                yield {**value, "url": url}
        elif several or value.get("b64_json") or not any(_is_address(item) for item in value.values()):
            yield value  # perhaps without an image: it keeps its place
        else:
            for item in value.values():
                yield from _items(item, 1) if _is_address(item) else ()


def _is_address(value: Json) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(item, str) and _is_address(item) for item in value)
    return isinstance(value, str) and value.lower().startswith(("https://", "http://", "data:image/"))


def put(document: dict[str, Any], path: str, value: Json) -> None:
    """Write `value` at `path`, making the objects on the way. An object is merged into what stands there, and
    into the whole where the path is empty. Raises Permanent when something else stands in the way."""
    if not path:
        document.update(value if isinstance(value, dict) else {})
        return
    *way, last = path.split(".")
    for step in way:
        document = document.setdefault(step, {})
        if not isinstance(document, dict):
            raise Permanent(f"the parameter {step} stands where {path} must go")
    if isinstance(value, dict) and isinstance(inner := document.get(last), dict):
        inner.update(value)
    else:
        document[last] = value
