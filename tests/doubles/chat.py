"""A provider on loopback that answers `POST /v1/chat/completions` with images among its words, and keeps a ledger.

It takes what OpenAI documents and OpenRouter adds, and refuses the rest: an image in the model's own message, an empty
message, a stream. Each choice holds one image, in the form that the test chose.
"""

import base64
import re
from collections.abc import Mapping
from typing import Any, Literal

from tests.doubles.http1 import Request
from tests.doubles.ledger import Mishap, MishapScript, Paid, Refused, in_openai_envelope, posted

Form = Literal["data", "markdown", "bare", "images"]

_PATH = "/v1/chat/completions"
_KNOWN = {
    "model",
    "messages",
    "stream",
    "temperature",
    "max_tokens",
    "n",
    "modalities",
    "image_config",
    "top_p",
    "seed",
}
_DATA_URI = re.compile(r"data:image/(?:png|jpeg|webp|gif);base64,([A-Za-z0-9+/]+={0,2})")


class ChatProvider(Paid):
    """`dialogues` are the messages of each valid request, `shown` its images; for the rest see `Paid`."""

    def __init__(self, script: MishapScript = None, form: Form = "data", **settings: Any) -> None:
        super().__init__(script, **settings)
        self.form = form
        self.dialogues: list[list[dict[str, Any]]] = []
        self.shown: list[list[bytes]] = []
        self.asked: list[dict[str, Any]] = []

    def _counted(self, asked: Mapping[str, Any]) -> tuple[str, str, int, str]:
        return _text(asked["messages"][-1]), asked["model"], asked.get("n", 1), "auto"

    def _document(self, request_id: str, asked: Mapping[str, Any], mishap: Mishap) -> dict[str, Any]:
        count = asked.get("n", 1) if mishap.images is None else mishap.images
        choices = [
            {"index": index, "message": self._message(request_id, asked, index, mishap), "finish_reason": "stop"}
            for index in range(count)
        ]
        return {
            "id": f"chatcmpl-{request_id}",
            "object": "chat.completion",
            "created": int(self._now().timestamp()),
            "model": asked["model"],
            "choices": None if mishap.data_null else choices,
            "usage": {"prompt_tokens": 9, "completion_tokens": 1290, "total_tokens": 1299},
        }

    def _message(self, request_id: str, asked: Mapping[str, Any], index: int, mishap: Mishap) -> dict[str, Any]:
        data = self.image(_text(asked["messages"][-1]), index)
        inline = f"data:image/png;base64,{base64.b64encode(data).decode()}"
        if mishap.url_null:
            return {"role": "assistant", "content": None}
        if self.form == "images":
            images = [{"type": "image_url", "image_url": {"url": inline}}]
            return {"role": "assistant", "content": "Here it is.", "images": images}
        if self.form == "data":
            return {"role": "assistant", "content": f"Here it is.\n\n![image]({inline})"}
        url = self._url(request_id, index, data)
        shown = f"![image]({url})" if self.form == "markdown" else f"{url}。"
        return {"role": "assistant", "content": f"Here it is:\n{shown}"}

    def _error(self, status: int, message: str) -> bytes:
        return in_openai_envelope(status, message).body

    def _validated(self, request: Request) -> dict[str, Any]:
        if request.target != _PATH:
            raise Refused(in_openai_envelope(404, f"Invalid URL ({request.method} {request.path})"))
        if request.method != "POST":
            raise Refused(in_openai_envelope(405, "Not allowed", "method_not_supported"))
        if request.headers.get("authorization") != f"Bearer {self.api_key}":
            raise Refused(in_openai_envelope(401, "Incorrect API key provided.", "invalid_api_key"))
        asked = posted(request)
        if asked is None:
            raise Refused(in_openai_envelope(400, "We could not parse the JSON body of your request."))
        for name in asked.keys() - _KNOWN:
            raise Refused(in_openai_envelope(400, f"Unknown parameter: '{name}'.", "unknown_parameter", name))
        n, temperature, most = asked.get("n", 1), asked.get("temperature", 1), asked.get("max_tokens", 1)
        valid = {
            "model": isinstance(asked.get("model"), str) and bool(asked["model"]),
            "stream": asked.get("stream", False) is False,
            "n": type(n) is int and 1 <= n <= 10,
            "temperature": type(temperature) in (int, float) and 0 <= temperature <= 2,
            "max_tokens": type(most) is int and most >= 1,
            "modalities": set(asked.get("modalities", [])) <= {"image", "text"},
            "messages": isinstance(asked.get("messages"), list) and bool(asked["messages"]),
        }
        for name, good in valid.items():
            if not good:
                raise Refused(in_openai_envelope(400, f"Invalid value for '{name}'.", "invalid_value", name))
        images = _checked(asked["messages"])
        with self._lock:
            self.asked.append(asked)
            self.dialogues.append(asked["messages"])
            self.shown.append(images)
        return asked


def _checked(messages: list[Any]) -> list[bytes]:
    """The images of valid messages, in order. Raises Refused."""
    images: list[bytes] = []
    roles = [message.get("role") for message in messages if isinstance(message, dict)]
    talk = roles[1:] if roles[:1] == ["system"] else roles
    wrong = len(roles) < len(messages) or set(talk) - {"user", "assistant"} or talk[-1:] != ["user"]
    for index, message in enumerate(messages):
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list) and message["role"] == "user" and content:
            for part in content:
                match part:
                    case {"type": "text", "text": str(text)} if text.strip() and len(part) == 2:
                        pass
                    case {"type": "image_url", "image_url": {"url": str(url)}} if _DATA_URI.fullmatch(url):
                        images.append(base64.b64decode(url.partition(",")[2], validate=True))
                    case _:
                        wrong = True
        elif not (isinstance(content, str) and content.strip()):
            wrong = True
        if wrong:
            raise Refused(in_openai_envelope(400, f"Invalid 'messages[{index}]'.", "invalid_value", "messages"))
    return images


def _text(message: Mapping[str, Any]) -> str:
    content = message["content"]
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part["type"] == "text")
