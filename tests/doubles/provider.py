"""A provider of images on loopback that speaks the OpenAI images dialect and keeps a ledger of what it charged.

`POST /v1/images/generations` and `/v1/images/edits`. It validates key and body as a strict relay does, and can be
scripted to fail in every way that costs money. Its images are real PNG files on an `ImageSource`, under URLs that look
signed and expiring.
"""

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

from tests.doubles.forms import read_form
from tests.doubles.http1 import Request
from tests.doubles.ledger import Charge, Mishap, MishapScript, Paid, Refused, in_openai_envelope

__all__ = ["Charge", "ImagesProvider", "Mishap", "MishapScript"]

_PATH = "/v1/images/generations"
_EDITS = "/v1/images/edits"
_KNOWN = {"prompt", "model", "n", "size", "response_format", "quality", "style", "background", "moderation", "user"}
_KNOWN |= {"output_format", "output_compression", "input_fidelity"}


class _Invalid(Refused):
    """Refused in OpenAI's envelope."""

    def __init__(self, status: int, message: str, code: str | None = None, param: str | None = None) -> None:
        super().__init__(in_openai_envelope(status, message, code, param))


class ImagesProvider(Paid):
    """`endpoint` is the base without `/v1`, `api_key` the Bearer key, `edited` the input images of each edit; for the
    rest see `Paid`."""

    def __init__(self, script: MishapScript = None, **settings: Any) -> None:
        super().__init__(script, **settings)
        self.edited: list[list[bytes]] = []

    def _counted(self, asked: Mapping[str, Any]) -> tuple[str, str, int, str]:
        return asked["prompt"], asked["model"], asked.get("n", 1), asked.get("size", "auto")

    def _document(self, request_id: str, asked: Mapping[str, Any], mishap: Mishap) -> dict[str, Any]:
        count = asked.get("n", 1) if mishap.images is None else mishap.images
        data = [self._item(request_id, asked, index, mishap) for index in range(count)]
        return {"created": int(self._now().timestamp()), "data": None if mishap.data_null else data}

    def _error(self, status: int, message: str) -> bytes:
        return in_openai_envelope(status, message).body

    def _item(self, request_id: str, asked: Mapping[str, Any], index: int, mishap: Mishap) -> dict[str, Any]:
        data = self.image(asked["prompt"], index)
        if asked.get("response_format", "url") == "b64_json":
            return {"b64_json": base64.b64encode(data).decode()}
        url = self._url(request_id, index, data)
        return {"url": None if mishap.url_null else url}

    def _validated(self, request: Request) -> dict[str, Any]:
        """The body of a valid request. Raises _Invalid."""
        if request.target not in (_PATH, _EDITS):
            raise _Invalid(404, f"Invalid URL ({request.method} {request.path})")
        if request.method != "POST":
            raise _Invalid(405, f"Not allowed to {request.method} on {_PATH}", "method_not_supported")
        if request.headers.get("authorization") != f"Bearer {self.api_key}":
            raise _Invalid(401, "Incorrect API key provided.", "invalid_api_key")
        if request.target == _EDITS:
            return self._edited(request)
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            raise _Invalid(400, "The body must be application/json.")
        try:
            asked = json.loads(request.body)
        except ValueError:
            raise _Invalid(400, "We could not parse the JSON body of your request.") from None
        if not isinstance(asked, dict):
            raise _Invalid(400, "The body must be a JSON object.")
        _check(asked)
        return asked

    def _edited(self, request: Request) -> dict[str, Any]:
        """The fields of a valid request for an edit; its images go to `edited`. Raises _Invalid."""
        try:
            fields, files = read_form(request)
        except ValueError:
            raise _Invalid(400, "The body must be multipart/form-data.") from None
        names = {name for name, _, _ in files}
        if not files or names - {"image", "image[]"} or (len(files) > 1 and names != {"image[]"}):
            raise _Invalid(400, "Invalid value for 'image'.", "image_generation_user_error", "image")
        asked: dict[str, Any] = {**fields, "n": int(fields.get("n", "1"))}
        _check(asked)
        self.edited.append([data for _, data, _ in files])
        return asked


def _check(asked: Mapping[str, Any]) -> None:
    """Refuse a missing, unknown or impossible parameter. Raises _Invalid."""
    for name in asked.keys() - _KNOWN:
        raise _Invalid(400, f"Unknown parameter: '{name}'.", "unknown_parameter", name)
    n, size = asked.get("n", 1), asked.get("size", "auto")
    valid = {
        "prompt": isinstance(asked.get("prompt"), str) and bool(asked["prompt"].strip()),
        "model": isinstance(asked.get("model"), str) and bool(asked["model"]),
        "n": type(n) is int and 1 <= n <= 10,
        "size": isinstance(size, str) and re.fullmatch(r"auto|[1-9]\d{1,4}x[1-9]\d{1,4}", size) is not None,
        "response_format": asked.get("response_format", "url") in ("url", "b64_json"),
    }
    for name, good in valid.items():
        if not good:
            raise _Invalid(400, f"Invalid value for '{name}'.", "image_generation_user_error", name)
