"""Google's batches: a file of requests by the Files API, `batchGenerateContent`, and a file of answers.

In file mode only: answers that came inline have become unreadable for good (they do not fit into one reply). Pure: what
is asked and what an answer means; `batch` asks.
"""

import json
from collections.abc import Mapping
from datetime import timedelta
from urllib.parse import quote

from urllib3.fields import RequestField
from urllib3.filepost import encode_multipart_formdata

from archiver.core.batching import BatchLine, BatchState
from archiver.core.errors import Corrupt
from archiver.core.model import Answer, Ask, Completed, Json
from archiver.providers import answers, gemini_dialect
from archiver.providers.batch_dialect import Dialect, Said, name_in, time_in

_OVER = {"SUCCEEDED", "PARTIALLY_SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED"}
_KEPT = timedelta(hours=48)
"""The Files API keeps a file so long; that of an output is not documented otherwise."""


class GeminiBatches(Dialect):
    """The dialect."""

    most_at_once = 100
    most_at_once_large = 40
    most_bytes = 64 * 1024**2  # 2 GB would be taken; it is in memory while it is handed over
    listing = "v1beta/batches?pageSize=100"

    def __init__(self, image_size: str | None) -> None:
        self._image_size = image_size

    def authorise(self, key: str) -> Mapping[str, str]:
        """As Google wants to be told the key."""
        return {"x-goog-api-key": key}

    def is_large(self, size: str | None) -> bool:
        """4K images: a line may have 25 MB."""
        return "4K" in (size or self._image_size or "").upper() or super().is_large(size)

    def line(self, ask: Ask, parameters: Mapping[str, Json]) -> Json:
        """See `BatchProvider.line`."""
        wanted, _ = gemini_dialect.wanted(ask, parameters, image_size=self._image_size)
        return {"key": ask.generation_id, "request": wanted}

    def upload(self, batch_id: str, lines: bytes) -> Said:
        """One request of two parts: what the file is, and the file."""
        described = {"file": {"displayName": batch_id, "mimeType": "application/jsonl"}}
        parts = []
        for content, kind in ((json.dumps(described).encode(), "application/json"), (lines, "application/jsonl")):
            part = RequestField("", content)
            part.headers = {"Content-Type": kind}
            parts.append(part)
        body, form = encode_multipart_formdata(parts)
        kind = form.replace("multipart/form-data", "multipart/related")
        return Said("upload/v1beta/files", body, {"Content-Type": kind, "X-Goog-Upload-Protocol": "multipart"})

    def uploaded(self, document: Mapping[str, object]) -> str:
        """What the file is called."""
        file = document.get("file")
        return name_in(file if isinstance(file, Mapping) else {}, "name")

    def create(self, batch_id: str, uploaded: str, model: str) -> Said:
        """See `BatchProvider.create`."""
        model = quote(model.removeprefix("models/"), safe="")
        batch = {"displayName": batch_id, "inputConfig": {"fileName": uploaded}}
        return Said(f"v1beta/models/{model}:batchGenerateContent", json.dumps({"batch": batch}).encode(), {})

    def handle(self, document: Mapping[str, object]) -> str:
        """The name of the operation, without its folder."""
        return name_in(document, "name").removeprefix("batches/")

    def found(self, document: Mapping[str, object], batch_id: str) -> str | None:
        """Among the listed ones, the handle of ours."""
        listed = document.get("operations") or document.get("batches")
        for each in listed if isinstance(listed, list) else []:
            if isinstance(each, Mapping) and _batch(each).get("displayName") == batch_id:
                return self.handle(each)
        return None

    def status_path(self, handle: str) -> str:
        """Where it is told how a batch stands."""
        return f"v1beta/batches/{quote(handle, safe='')}"

    def state(self, document: Mapping[str, object]) -> BatchState:
        """See `BatchProvider.look`. A state that nobody knows means that it still runs."""
        batch = _batch(document)
        word = str(batch.get("state") or "").removeprefix("JOB_STATE_").removeprefix("BATCH_STATE_")
        files = [_file(document.get("response")), _file(batch.get("output")), _file(batch.get("dest"))]
        ended = time_in(batch.get("endTime")) or time_in(batch.get("updateTime"))
        stats = batch.get("batchStats")
        stats = stats if isinstance(stats, Mapping) else {}
        is_over = word in _OVER or document.get("done") is True
        return BatchState(
            word=answers.clean(word) or ("done" if is_over else "unknown"),
            is_over=is_over,
            files=tuple(dict.fromkeys(filter(None, files))),
            expires_at=ended + _KEPT if is_over and ended else None,
            # "The job will not have any results to retrieve", and answers alone are charged for.
            rest_is_free=word == "EXPIRED",
            done=_count(stats.get("successfulRequestCount")),
            failed=_count(stats.get("failedRequestCount")),
            error=answers.complaint(json.dumps(dict(document)).encode()) or None,
        )

    def file_path(self, file: str) -> str:
        """Where a file is fetched."""
        return f"download/v1beta/{quote(file, safe='/')}:download?alt=media"

    def tell(self, line: Mapping[str, object]) -> BatchLine:
        """See `BatchProvider.tell`."""
        metadata = line.get("metadata")
        key = line.get("key") or (metadata.get("key") if isinstance(metadata, Mapping) else None)
        if not isinstance(key, str) or not key:
            raise Corrupt("the line has no key")
        error = line.get("error") or line.get("status")
        if isinstance(line.get("response"), Mapping) or not error:
            return BatchLine(generation_id=key)
        why = answers.complaint(json.dumps({"error": error}).encode())
        return BatchLine(generation_id=key, error=why or "its line says no more")

    def read(self, line: Mapping[str, object], answer: Answer) -> Completed:
        """See `Provider.read`."""
        response = line.get("response")
        if not isinstance(response, Mapping):
            raise Corrupt("the line has no response")
        return gemini_dialect.understood(response, "", answer.request_id)


def _batch(document: Mapping[str, object]) -> Mapping[str, object]:
    """An operation keeps the batch in its metadata; some clients were answered with the batch itself."""
    metadata = document.get("metadata")
    return metadata if isinstance(metadata, Mapping) else document


def _file(output: object) -> str:
    """The file of an output, in any of the spellings that were met."""
    if not isinstance(output, Mapping):
        return ""
    nested = output.get("output")
    names = ("responsesFile", "responses_file", "fileName", "file_name")
    own = next((value for name in names if isinstance(value := output.get(name), str)), "")
    return own or _file(nested)


def _count(value: object) -> int | None:
    """Google writes 64-bit numbers as text."""
    return int(value) if isinstance(value, int | str) and str(value).isdecimal() else None
