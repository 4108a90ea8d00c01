"""A provider on loopback that speaks Google's `generateContent` for image models, and keeps a ledger.

It takes what Google documents and refuses the rest as Google does: an image in the model's name without the signature
that came with it, a ratio or a size that no model draws, parts in snake_case (relays refuse those).
"""

import base64
import json
import re
from collections.abc import Mapping
from typing import Any, Literal

from tests.doubles.http1 import Reply, Request
from tests.doubles.ledger import Mishap, MishapScript, Paid, Refused, posted

Form = Literal["inline", "url", "drafts"]

_PATH = re.compile(r"/v1beta/models/([\w.-]+):generateContent")
_RATIOS = set("1:1 2:3 3:2 3:4 4:3 4:5 5:4 9:16 16:9 21:9 1:4 4:1 1:8 8:1".split())
_TOP = {"contents", "generationConfig", "tools", "safetySettings", "systemInstruction"}
_CONFIG = {"responseModalities", "imageConfig", "candidateCount", "temperature", "topP", "topK", "seed"}
_WORDS = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED"}


class GeminiProvider(Paid):
    """`asked` are the bodies of valid requests; with `auth` the key is looked for there. For the rest see `Paid`."""

    def __init__(
        self,
        script: MishapScript = None,
        form: Form = "inline",
        auth: Literal["bearer", "google"] = "bearer",
        **settings: Any,
    ) -> None:
        super().__init__(script, **settings)
        self.form = form
        self.asked: list[dict[str, Any]] = []
        self._key = (
            ("authorization", f"Bearer {self.api_key}") if auth == "bearer" else ("x-goog-api-key", self.api_key)
        )

    def _counted(self, asked: Mapping[str, Any]) -> tuple[str, str, int, str]:
        config = asked.get("generationConfig", {})
        return _prompt(asked), asked["model"], _count(asked), config.get("imageConfig", {}).get("imageSize", "1K")

    def _document(self, request_id: str, asked: Mapping[str, Any], mishap: Mishap) -> dict[str, Any]:
        count = _count(asked) if mishap.images is None else mishap.images
        candidates = [self._candidate(request_id, asked, index, mishap) for index in range(count)]
        return {
            "candidates": candidates,
            "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 1120, "totalTokenCount": 1129},
            "modelVersion": asked["model"],
            "responseId": request_id,
        }

    def _candidate(self, request_id: str, asked: Mapping[str, Any], index: int, mishap: Mishap) -> dict[str, Any]:
        data = self.image(_prompt(asked), index)
        if mishap.data_null:
            return {"content": {"parts": None, "role": "model"}, "finishReason": "PROHIBITED_CONTENT", "index": index}
        if mishap.url_null:
            parts: list[dict[str, Any]] = [{"text": "I cannot draw that."}]
        elif self.form == "url":
            parts = [{"text": self._url(request_id, index, data), "thoughtSignature": "RXNvdGVyaWM="}]
        else:
            parts = [{"text": "Here it is."}, _inline(data) | {"thoughtSignature": "RXNvdGVyaWM="}]
        if self.form == "drafts":
            parts = [
                {"text": "First a sketch.", "thought": True},
                _inline(self.image(f"{_prompt(asked)} (thought)", index)) | {"thought": True},
                _inline(self.image(f"{_prompt(asked)} (draft)", index)),
                *parts,
            ]
        return {"content": {"parts": parts, "role": "model"}, "finishReason": "STOP", "index": index}

    def _error(self, status: int, message: str) -> bytes:
        return _refusal(status, message).body

    def _validated(self, request: Request) -> dict[str, Any]:
        path = _PATH.fullmatch(request.target)
        if path is None or request.method != "POST":
            raise Refused(_refusal(404, "Requested entity was not found."))
        if request.headers.get(self._key[0]) != self._key[1]:
            raise Refused(_refusal(401, "Request had invalid authentication credentials."))
        asked = posted(request)
        if asked is None:
            raise Refused(_refusal(400, "Invalid JSON payload received."))
        config = asked.get("generationConfig", {})
        image = config.get("imageConfig", {})
        for where, names, known in (("", asked, _TOP), ("generation_config", config, _CONFIG)):
            for name in names.keys() - known:
                raise Refused(_refusal(400, f"Invalid JSON payload received. Unknown name \"{name}\" at '{where}'"))
        _check_contents(asked.get("contents"))
        valid = {
            "responseModalities": set(config.get("responseModalities", ["IMAGE"])) <= {"IMAGE", "TEXT"},
            "candidateCount": type(_count(asked)) is int and 1 <= _count(asked) <= 10,
            "imageConfig": image.keys() <= {"aspectRatio", "imageSize"},
            "aspectRatio": image.get("aspectRatio", "1:1") in _RATIOS,
            "imageSize": image.get("imageSize", "1K") in ("1K", "2K", "4K"),
        }
        for name, good in valid.items():
            if not good:
                raise Refused(_refusal(400, f"Invalid value for {name}"))
        with self._lock:
            self.asked.append(asked)
        return {**asked, "model": path[1]}


def _check_contents(contents: Any) -> None:
    """Raises Refused unless it is a dialogue that ends with the user."""
    if not isinstance(contents, list) or not contents:
        raise Refused(_refusal(400, "contents is not specified"))
    if [content.get("role") for content in contents][-1] != "user":
        raise Refused(_refusal(400, "Please ensure that multiturn requests end with a user role"))
    for position, content in enumerate(contents, 1):
        if content.keys() != {"role", "parts"} or content["role"] not in ("user", "model") or not content["parts"]:
            raise Refused(_refusal(400, f"Invalid value at contents[{position - 1}]"))
        for number, part in enumerate(content["parts"], 1):
            match part:
                case {"text": str(text)} if text.strip() and part.keys() <= {"text", "thoughtSignature"}:
                    pass
                case {"inlineData": {"mimeType": str(mime), "data": str(data)}} if mime.startswith("image/"):
                    base64.b64decode(data, validate=True)
                    if content["role"] == "model" and "thoughtSignature" not in part:
                        where = f"in content position {position}, part position {number}"
                        raise Refused(_refusal(400, f"Image part is missing a thought_signature {where}."))
                case _:
                    raise Refused(_refusal(400, f"Invalid value at contents[{position - 1}].parts[{number - 1}]"))


def _inline(data: bytes) -> dict[str, Any]:
    return {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(data).decode()}}


def _prompt(asked: Mapping[str, Any]) -> str:
    return "\n".join(part["text"] for part in asked["contents"][-1]["parts"] if "text" in part)


def _count(asked: Mapping[str, Any]) -> int:
    count: int = asked.get("generationConfig", {}).get("candidateCount", 1)
    return count


def _refusal(status: int, message: str) -> Reply:
    error = {"code": status, "message": message, "status": _WORDS.get(status, "UNKNOWN")}
    return Reply(status, {"Content-Type": "application/json"}, json.dumps({"error": error}).encode())
