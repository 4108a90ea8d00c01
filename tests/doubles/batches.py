"""A provider of batches on loopback, in OpenAI's dialect or Google's, that keeps a ledger of what it charged.

It takes what the documentation names and nothing else: a file by the Files API, a batch that names it, questions, and
the download of an output. What a batch costs is written when it is made, at half the price, for every request that was
answered. Its images are real PNG files, in base64.
"""

import base64
import contextlib
import itertools
import json
import re
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Literal, Self

from tests.doubles.http1 import Reply, Request
from tests.doubles.ledger import Charge
from tests.doubles.pngs import png
from tests.doubles.wire import Fault, FaultScript, Seen, Wire

End = Literal["done", "expired", "failed", "cancelled"]
_WORDS = {
    "openai": {"running": "in_progress", "done": "completed"},
    "gemini": {"running": "BATCH_STATE_RUNNING", "done": "BATCH_STATE_SUCCEEDED"},
}
_TOKEN = b"--"


class _No(Exception):
    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


@dataclass(slots=True)
class Batch:
    """One that was ordered: its name (ours), its lines, and how often it was asked for."""

    ident: str
    name: str
    lines: list[dict[str, Any]]
    created: datetime
    polls: int = 0
    is_made: bool = False
    files: dict[str, str] = field(default_factory=dict)


class BatchDouble:
    """`endpoint` is the base address, `api_key` the key, `charges` the ledger, `batches` by their handles.

    A batch runs for `running` questions, and ends as `end` says; of one that is not `done`, the first `made` requests
    were answered. Of the prompts in `errors` there is an error, of those in `refused` an answer without an image, of
    those in `silent` no line. `is_listed` says whether batches can be listed. `image` makes the bytes of one.
    """

    price_micro = 40_000

    def __init__(
        self,
        dialect: Literal["openai", "gemini"],
        *,
        running: int = 1,
        end: End = "done",
        made: int = 0,
        fault: FaultScript = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        image: Callable[[str, int], bytes] | None = None,
    ) -> None:
        self.dialect = dialect
        self.api_key = "sk-doublebatchkey0000001"
        self.running, self.end, self.made = running, end, made
        self.errors: set[str] = set()
        self.refused: set[str] = set()
        self.silent: set[str] = set()
        self.is_listed = True
        self.charges: list[Charge] = []
        self.batches: dict[str, Batch] = {}
        self.files: dict[str, bytes] = {}
        self.polls: Counter[str] = Counter()
        self._image = image or self.image
        self._now = now
        self._ids = itertools.count(1)
        self._lock = threading.RLock()
        self._wire = Wire(self._answer, lambda request: request.path, now, fault)
        self._open = contextlib.ExitStack()
        self.endpoint = f"http://{self._wire.authority}"

    def __enter__(self) -> Self:
        self._open.enter_context(self._wire)
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        self._open.__exit__(kind, e, trace)

    @property
    def settings(self) -> dict[str, Any]:
        """What a section of the configuration says to ask here, without address and key."""
        model = "gpt-image-1" if self.dialect == "openai" else "gemini-3-pro-image-preview"
        return {"dialect": self.dialect, "model": model}

    @property
    def requests(self) -> list[Seen]:
        """Every request so far; the key is the path."""
        return self._wire.seen

    def script(self, fault: FaultScript) -> None:
        """Replace the script of faults from the next request on."""
        self._wire.script(fault)

    def down(self) -> None:
        """Cut all connections and refuse new ones."""
        self._wire.listener.down()

    def up(self) -> None:
        """End an outage."""
        self._wire.listener.up()

    @staticmethod
    def image(prompt: str, index: int) -> bytes:
        """The PNG that image `index` (from 0) of `prompt` is."""
        return png(f"{prompt}/{index}")

    def _answer(self, request: Request, fault: Fault) -> Reply | None:
        try:
            if fault.status:
                raise _No(fault.status, "scripted")
            with self._lock:
                self._authorised(request)
                found = self._openai(request) if self.dialect == "openai" else self._gemini(request)
        except _No as no:
            error = {"error": {"message": str(no), "code": no.status}}
            return Reply(no.status, {"Content-Type": "application/json"}, json.dumps(error).encode())
        if isinstance(found, bytes):
            return Reply(200, {"Content-Type": "application/octet-stream"}, found)
        return Reply(200, {"Content-Type": "application/json"}, json.dumps(found).encode())

    def _authorised(self, request: Request) -> None:
        name, prefix = ("authorization", "Bearer ") if self.dialect == "openai" else ("x-goog-api-key", "")
        if request.headers.get(name) != prefix + self.api_key:
            raise _No(401, "no such key")

    # OpenAI

    def _openai(self, request: Request) -> dict[str, Any] | bytes:
        match request.method, request.path.strip("/").split("/"):
            case "POST", ["v1", "files"]:
                parts = _parts(request, "multipart/form-data")
                if parts.get("purpose") != b"batch" or "file" not in parts:
                    raise _No(400, "a file with the purpose batch is wanted")
                return {"id": self._keep("file-", parts["file"]), "object": "file", "purpose": "batch"}
            case "POST", ["v1", "batches"]:
                asked = json.loads(request.body)
                if set(asked) - {"output_expires_after"} != {
                    "input_file_id", "endpoint", "completion_window", "metadata"
                } or (asked["endpoint"], asked["completion_window"]) != ("/v1/images/generations", "24h"):  # fmt: skip
                    raise _No(400, "no such batch can be ordered")
                lines = self._lines(asked["input_file_id"])
                for line in lines:
                    good = set(line) == {"custom_id", "method", "url", "body"}
                    if not good or line["method"] != "POST" or line["url"] != asked["endpoint"]:
                        raise _No(400, "a line is wrong")
                made = self._order("batch_", asked["metadata"]["archiver_batch"], lines)
                return self._told_by_openai(made)
            case "GET", ["v1", "batches"]:
                self._listable()
                return {"object": "list", "data": [self._told_by_openai(each) for each in self.batches.values()]}
            case "GET", ["v1", "batches", ident]:
                return self._told_by_openai(self._asked_for(ident))
            case "GET", ["v1", "files", ident, "content"]:
                return self._file(ident)
        raise _No(404, "there is nothing here")

    def _told_by_openai(self, batch: Batch) -> dict[str, Any]:
        word = _WORDS["openai"].get(self._word(batch), self._word(batch))
        at = int(batch.created.timestamp())
        files = {"output_file_id": batch.files.get("output"), "error_file_id": batch.files.get("error")}
        ended = {f"{word}_at": at} if batch.is_made else {}
        errors = {"data": [{"code": "invalid", "message": "the file is wrong"}]} if word == "failed" else None
        counts = {"total": len(batch.lines), "completed": 0, "failed": 0}
        named = {"id": batch.ident, "object": "batch", "status": word, "created_at": at, "errors": errors}
        return {**named, "metadata": {"archiver_batch": batch.name}, "request_counts": counts, **files, **ended}

    # Google

    def _gemini(self, request: Request) -> dict[str, Any] | bytes:
        path = request.path
        if request.method == "POST" and path == "/upload/v1beta/files":
            if request.headers.get("x-goog-upload-protocol") != "multipart":
                raise _No(400, "which protocol?")
            parts = _parts(request, "multipart/related")
            described = json.loads(parts["0"])["file"]
            if described.keys() != {"displayName", "mimeType"}:
                raise _No(400, "unknown name in file")
            return {"file": {"name": self._keep("files/", parts["1"]), **described, "state": "ACTIVE"}}
        if request.method == "POST" and re.fullmatch(r"/v1beta/models/[^/]+:batchGenerateContent", path):
            batch = json.loads(request.body)["batch"]
            if batch.keys() != {"displayName", "inputConfig"} or batch["inputConfig"].keys() != {"fileName"}:
                raise _No(400, "unknown name in batch")
            lines = self._lines(batch["inputConfig"]["fileName"])
            if any(line.keys() != {"key", "request"} or "contents" not in line["request"] for line in lines):
                raise _No(400, "a line is wrong")
            return self._told_by_gemini(self._order("", batch["displayName"], lines))
        if request.method == "GET" and path == "/v1beta/batches":
            self._listable()
            return {"operations": [self._told_by_gemini(each) for each in self.batches.values()]}
        if request.method == "GET" and (found := re.fullmatch(r"/v1beta/batches/([^/]+)", path)):
            return self._told_by_gemini(self._asked_for(found[1]))
        if request.method == "GET" and (found := re.fullmatch(r"/download/v1beta/(files/[^/]+):download", path)):
            if request.query != (("alt", "media"),):
                raise _No(400, "alt=media is wanted")
            return self._file(found[1])
        raise _No(404, "there is nothing here")

    def _told_by_gemini(self, batch: Batch) -> dict[str, Any]:
        word = _WORDS["gemini"].get(self._word(batch), f"BATCH_STATE_{self._word(batch).upper()}")
        time = batch.created.isoformat().replace("+00:00", "Z")
        metadata = {"state": word, "displayName": batch.name, "createTime": time, "batchStats": {"requestCount": "2"}}
        told: dict[str, Any] = {"name": f"batches/{batch.ident}", "metadata": metadata}
        if batch.is_made:
            metadata["endTime"] = time
            told["done"] = True
            if file := batch.files.get("output"):
                told["response"] = metadata["output"] = {"responsesFile": file}
        return told

    # What both share.

    def _keep(self, prefix: str, data: bytes) -> str:
        ident = f"{prefix}{next(self._ids):08d}"
        self.files[ident] = data
        return ident

    def _file(self, ident: str) -> bytes:
        if ident not in self.files:
            raise _No(404, "no such file")
        return self.files[ident]

    def _lines(self, ident: str) -> list[dict[str, Any]]:
        data = self._file(ident)
        if not data.endswith(b"\n"):
            raise _No(400, "the file is cut")
        return [json.loads(line) for line in data.splitlines()]

    def _listable(self) -> None:
        if not self.is_listed:
            raise _No(500, "the list is broken")

    def _order(self, prefix: str, name: str, lines: list[dict[str, Any]]) -> Batch:
        made = Batch(f"{prefix}{next(self._ids):08d}", name, lines, self._now())
        self.batches[made.ident] = made
        return made

    def _asked_for(self, ident: str) -> Batch:
        if ident not in self.batches:
            raise _No(404, "no such batch")
        batch = self.batches[ident]
        batch.polls += 1
        if batch.polls > self.running and not batch.is_made:
            batch.is_made = True
            self._make(batch)
        return batch

    def _word(self, batch: Batch) -> str:
        return self.end if batch.is_made else "running"

    def _make(self, batch: Batch) -> None:
        good, bad = [], []
        for number, line in enumerate(batch.lines):
            key, prompt, n = self._said(line)
            if prompt in self.silent or (self.end != "done" and number >= self.made):
                continue
            if prompt in self.errors:
                bad.append(self._error_line(key))
                continue
            amount = n * self.price_micro // 2
            size = line.get("body", {}).get("size", "")
            self.charges.append(Charge(batch.ident, prompt, "m", n, size, amount, self._now()))
            images = [] if prompt in self.refused else [self._image(prompt, index) for index in range(n)]
            good.append(self._line(key, images))
        if self.dialect == "gemini":
            good, bad = good + bad, []
        if good and not (self.dialect == "gemini" and self.end != "done"):
            batch.files["output"] = self._keep("files/" if self.dialect == "gemini" else "file-", _jsonl(good))
        if bad:
            batch.files["error"] = self._keep("file-", _jsonl(bad))

    def _said(self, line: dict[str, Any]) -> tuple[str, str, int]:
        if self.dialect == "openai":
            return line["custom_id"], line["body"]["prompt"], line["body"]["n"]
        config = line["request"]["generationConfig"]
        return line["key"], line["request"]["contents"][-1]["parts"][0]["text"], config.get("candidateCount", 1)

    def _error_line(self, key: str) -> dict[str, Any]:
        if self.dialect == "openai":
            body = {"error": {"message": "Your request was rejected.", "code": "moderation_blocked"}}
            return {"id": "r", "custom_id": key, "response": {"status_code": 400, "body": body}, "error": None}
        return {"key": key, "error": {"code": 3, "message": "Your request was rejected."}}

    def _line(self, key: str, images: list[bytes]) -> dict[str, Any]:
        packed = [base64.b64encode(image).decode() for image in images]
        if self.dialect == "openai":
            body = {"created": 1, "data": [{"b64_json": each} for each in packed], "usage": {"total_tokens": 7}}
            response = {"status_code": 200, "request_id": f"req-{key}", "body": body}
            return {"id": "r", "custom_id": key, "response": response, "error": None}
        found = [
            {
                "content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": each}}], "role": "model"},
                "finishReason": "STOP",
            }
            for each in packed
        ] or [{"finishReason": "IMAGE_SAFETY"}]
        return {"key": key, "response": {"candidates": found, "usageMetadata": {"totalTokenCount": 7}}}


def _jsonl(lines: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def _parts(request: Request, kind: str) -> dict[str, bytes]:
    """The parts of a multipart body: by their names, or by their numbers where they have none."""
    said, _, boundary = request.headers.get("content-type", "").partition("; boundary=")
    if said != kind or not boundary:
        raise _No(400, f"{kind} is wanted")
    pieces = request.body.split(_TOKEN + boundary.encode())
    if pieces[0] or pieces[-1] not in (b"--\r\n", b"--"):
        raise _No(400, "the body is no form")
    found = {}
    for number, piece in enumerate(pieces[1:-1]):
        head, blank, body = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        name = re.search(rb'form-data; name="([^"]+)"', head)
        if not blank:
            raise _No(400, "a part has no head")
        found[name[1].decode() if name else str(number)] = body.removesuffix(b"\r\n")
    return found


def long_ago(double: BatchDouble, age: timedelta) -> None:
    """Make every batch older: its output dies sooner."""
    for batch in double.batches.values():
        batch.created -= age
