"""OpenAI's batches: a file of requests, `POST /v1/batches`, and a file of answers beside a file of errors.

Only generations: an edit needs a form, which a line of JSON cannot be. Pure: what is asked and what an answer means;
`batch` asks.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from urllib3.filepost import encode_multipart_formdata

from archiver.core.batching import BatchLine, BatchState
from archiver.core.errors import Corrupt, Permanent
from archiver.core.model import Answer, Ask, Completed, Json
from archiver.providers import answers
from archiver.providers.batch_dialect import Dialect, Said, name_in

ENDPOINT = "/v1/images/generations"
_KEPT = timedelta(days=30)
"""The longest that an output may be kept, and what is asked for."""
_OVER = {"failed", "completed", "expired", "cancelled"}
_NAME = "archiver_batch"


class OpenAIBatches(Dialect):
    """The dialect."""

    # 50,000 would be taken; their output, of a megabyte or more each, is one file that has to fit on this disk.
    most_at_once = 1_000
    most_at_once_large = 200
    most_allowed = 50_000
    most_bytes = 64 * 1024**2  # 200 MB would be taken; it is in memory while it is handed over
    listing = "v1/batches?limit=100"

    def line(self, ask: Ask, parameters: Mapping[str, Json]) -> Json:
        """See `BatchProvider.line`."""
        if ask.inputs or ask.turns:
            raise Permanent("OpenAI's batches take no input images and no dialogue: ask a provider of another kind")
        body: dict[str, Json] = {**parameters, **ask.parameters, "prompt": ask.prompt, "model": ask.model, "n": ask.n}
        if ask.size is not None:
            body["size"] = ask.size
        return {"custom_id": ask.generation_id, "method": "POST", "url": ENDPOINT, "body": body}

    def upload(self, batch_id: str, lines: bytes) -> Said:
        """A form."""
        body, kind = encode_multipart_formdata(
            [("purpose", "batch"), ("file", (f"{batch_id}.jsonl", lines, "application/jsonl"))]
        )
        return Said("v1/files", body, {"Content-Type": kind})

    def uploaded(self, document: Mapping[str, object]) -> str:
        """What the file is called."""
        return name_in(document, "id")

    def create(self, batch_id: str, uploaded: str, model: str) -> Said:  # noqa: ARG002 - each line names the model
        """See `BatchProvider.create`."""
        wanted = {
            "input_file_id": uploaded,
            "endpoint": ENDPOINT,
            "completion_window": "24h",
            "metadata": {_NAME: batch_id},
            "output_expires_after": {"anchor": "created_at", "seconds": int(_KEPT.total_seconds())},
        }
        return Said("v1/batches", json.dumps(wanted).encode(), {})

    def handle(self, document: Mapping[str, object]) -> str:
        """The batch's id."""
        return name_in(document, "id")

    def found(self, document: Mapping[str, object], batch_id: str) -> str | None:
        """Among the listed ones, the handle of ours."""
        listed = document.get("data")
        for each in listed if isinstance(listed, list) else []:
            metadata = each.get("metadata") if isinstance(each, Mapping) else None
            if isinstance(metadata, Mapping) and metadata.get(_NAME) == batch_id:
                return self.handle(each)
        return None

    def status_path(self, handle: str) -> str:
        """Where it is told how a batch stands."""
        return f"v1/batches/{quote(handle, safe='')}"

    def state(self, document: Mapping[str, object]) -> BatchState:
        """See `BatchProvider.look`. A state that nobody knows means that it still runs."""
        word = str(document.get("status") or "")
        times = [document.get(f"{name}_at") for name in ("completed", "expired", "cancelled", "failed", "finalizing")]
        ended = next((time for time in times if isinstance(time, int)), document.get("created_at"))
        files = [document.get(name) for name in ("output_file_id", "error_file_id")]
        counts = document.get("request_counts")
        counts = counts if isinstance(counts, Mapping) else {}
        done, failed = counts.get("completed"), counts.get("failed")
        return BatchState(
            word=answers.clean(word) or "unknown",
            is_over=word in _OVER,
            files=tuple(file for file in files if isinstance(file, str) and file),
            expires_at=datetime.fromtimestamp(ended, UTC) + _KEPT if word in _OVER and isinstance(ended, int) else None,
            # "You will be charged for tokens consumed from any completed requests": for these there is a line.
            rest_is_free=word in ("failed", "expired", "cancelled"),
            done=done if isinstance(done, int) else None,
            failed=failed if isinstance(failed, int) else None,
            error=_errors(document) or None,
        )

    def file_path(self, file: str) -> str:
        """Where a file is fetched."""
        return f"v1/files/{quote(file, safe='')}/content"

    def tell(self, line: Mapping[str, object]) -> BatchLine:
        """See `BatchProvider.tell`."""
        key = line.get("custom_id")
        if not isinstance(key, str) or not key:
            raise Corrupt("the line has no custom_id")
        response, error = line.get("response"), line.get("error")
        if isinstance(response, Mapping) and response.get("status_code") == 200 and not error:
            return BatchLine(generation_id=key)
        said = error or (response.get("body") if isinstance(response, Mapping) else None)
        status = f"status {response.get('status_code')}: " if isinstance(response, Mapping) and not error else ""
        document = said if isinstance(said, Mapping) and "error" in said else {"error": said}
        why = answers.complaint(json.dumps(document).encode())
        return BatchLine(generation_id=key, error=status + (why or "its line says no more"))

    def read(self, line: Mapping[str, object], answer: Answer) -> Completed:  # noqa: ARG002 - a line has no headers
        """See `Provider.read`."""
        response = line.get("response")
        body = response.get("body") if isinstance(response, Mapping) else None
        if not isinstance(response, Mapping) or not isinstance(body, Mapping):
            raise Corrupt("the line has no response")
        completed = answers.images(body)
        request_id = response.get("request_id")
        named = answers.clean(request_id) if isinstance(request_id, str) else None
        return completed if completed.request_id else replace(completed, request_id=named)


def _errors(document: Mapping[str, object]) -> str:
    """Why a batch failed as a whole: its file was refused."""
    errors = document.get("errors")
    listed = errors.get("data") if isinstance(errors, Mapping) else None
    first = next((each for each in listed if isinstance(each, Mapping)), {}) if isinstance(listed, list) else {}
    return answers.complaint(json.dumps({"error": dict(first)}).encode()) if first else ""
