"""One line of a lineage record as what the catalogue may believe, or ValueError with the reason.

A bucket is written by others too: names, kinds and ranges are judged before anything of a line becomes a row. Records
of earlier versions, which say less, are understood.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from archiver.catalogue import Told, as_text, as_time
from archiver.pipeline.lineage import RECORD_VERSION

_DIGEST = re.compile(r"[0-9a-f]{64}")
_MOST = 2**63


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= 2000:
        raise ValueError("is no name")
    return value


def _prose(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("is no text")
    return value


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _MOST:
        raise ValueError("is no number that fits")
    return value


def _priority(value: Any) -> int:
    return value if isinstance(value, int) and value < 0 and -value < _MOST else _number(value)


def _time(value: Any) -> str:
    if not isinstance(value, str) or as_text(as_time(value)) != value:
        raise ValueError("is no time")
    return value


def _digest(value: Any) -> str:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise ValueError("is no SHA-256")
    return value


def _one_of(*words: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value not in words:
            raise ValueError(f"is none of {', '.join(words)}")
        return str(value)

    return check


def _object(value: Any) -> str:
    if not isinstance(value, dict):
        raise ValueError("is no JSON object")
    return json.dumps(value, ensure_ascii=False)


def _sorted(value: Any) -> str:
    """As `inserting.insert_generation` writes it."""
    _object(value)
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _names(value: Any) -> str:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError("is no list of texts")
    return json.dumps(value, ensure_ascii=False)


def _purses(value: Any) -> str:
    if not isinstance(value, list) or not all(
        isinstance(item, list) and len(item) == 2 and all(isinstance(part, str) for part in item) for item in value
    ):
        raise ValueError("is no list of budgets")
    return json.dumps(value)


Check = Callable[[Any], Any]
#: What must be there, and what may be missing or null.
_ASKED: Mapping[str, Check] = {"generation_id": _text, "prompt": _prose, "created_at": _time, "tags": _names}
_ASKED_PERHAPS: Mapping[str, Check] = {
    "job": _text,
    "provider": _text,
    "model": _text,
    "requested_size": _text,
    "parameters": _sorted,
    "continues": _text,
}
_GENERATION: Mapping[str, Check] = {
    "origin": _one_of("job", "generate", "backfill"),
    "scheduled_for": _time,
    "position": _number,
    "n": _number,
    "priority": _priority,
    "mode": _one_of("now", "batch"),
    "cost_micro": _number,
    "expected_micro": _number,
    "came": _number,
    "submitted_at": _time,
    "answered_at": _time,
    "request_id": _prose,
    "reply": _prose,
    "fingerprint": _text,
    "reuse_s": _number,
    "metadata": _object,
    "stores": _names,
    "facts": _object,
    "charged_to": _purses,
    "shares": _number,
}
_IMAGE: Mapping[str, Check] = {
    "idx": _number,
    "extension": _text,
    "verdict": _prose,
    "source": _prose,
    "source_host": _prose,
    "source_identity": _text,
    "deadline": _time,
    "deadline_from": _one_of("url", "header", "host", "provider", "default", "inline"),
    "give_up_at": _time,
    "attempts": _number,
    "created_at": _time,
    "fetched_at": _time,
    "claim": _number,
}
_SHOWN: Mapping[str, Check] = {
    "parent_image_id": _text,
    "content_type": _text,
    "width": _number,
    "height": _number,
    "revised_prompt": _prose,
    "role": _one_of("final", "draft"),
}
_COPY: Mapping[str, Check] = {
    "store": _text,
    "key": _text,
    "sha256": _digest,
    "size": _number,
    "proof": _text,
    "archived_at": _time,
}


def understand(line: bytes, lineage_key: str, store: str, known: frozenset[str]) -> Told:
    """What one line tells. A store that the configuration does not know by its name in the record is the one that was
    read: it has been renamed since."""
    try:
        said = json.loads(line)
        json.dumps(said, ensure_ascii=False).encode()  # half a character cannot be kept
    except (ValueError, RecursionError) as error:
        raise ValueError("no JSON") from error
    if not isinstance(said, dict) or "v" not in said:
        raise ValueError("no record of ours")
    if said["v"] != RECORD_VERSION:
        raise ValueError(f"a record of version {said['v']!r}: a newer archiver wrote it")
    copy = _judge(said, _COPY, must=True) | {"etag": _judge(said, {"etag": _prose})["etag"], "lineage_key": lineage_key}
    if copy["store"] not in known:
        copy["store"] = store
    # Every key names its image: so no image takes the object of another one, in whatever order they are read.
    if str(said.get("image_id")).lower() not in str(copy["key"]).lower():
        raise ValueError("the key is not that of the image")
    generation = _generation(said, str(copy["store"]))
    if generation["shares"] is None and isinstance(cost := said.get("cost_usd"), int | float) and 0 <= cost < 1e9:
        generation |= {"cost_micro": round(cost * 1e6), "shares": 1}
    kin = said.get("kin") or []
    if not isinstance(kin, list):
        raise ValueError("kin is no list")
    return Told(
        generation=generation,
        image=_image(said, generation),
        copy=copy,
        kin=tuple(_kin(item, str(copy["store"])) for item in kin),
    )


def _kin(said: Any, store: str) -> tuple[dict[str, Any], dict[str, Any] | None]:
    if not isinstance(said, dict):
        raise ValueError("kin is no JSON object")
    generation = _generation(said, store)
    if "image_id" not in said:
        return generation, None
    return generation, _image(said, generation) | _judge(said, {"forgotten_at": _time})


def _generation(said: Mapping[str, Any], store: str) -> dict[str, Any]:
    asked = _judge(said, _ASKED, must=True) | _judge(said, _ASKED_PERHAPS)
    rest = _judge(_part(said, "generation"), _GENERATION)
    inputs, types = said.get("inputs") or [], _part(said, "generation").get("input_types") or []
    if not isinstance(inputs, list) or not all(isinstance(item, dict) for item in inputs):
        raise ValueError("inputs are no list")
    return {
        "id": asked.pop("generation_id"),
        "size": asked.pop("requested_size"),
        **rest,
        **asked,
        "parameters": asked["parameters"] or "{}",
        "origin": rest["origin"] or ("job" if asked["job"] else "generate"),
        "n": rest["n"] or 1,
        "priority": rest["priority"] or 0,
        "mode": rest["mode"] or "now",
        "reuse_s": rest["reuse_s"] or None,
        "shares": rest["shares"] or None,
        "metadata": rest["metadata"] or "{}",
        "facts": rest["facts"] or "{}",
        "charged_to": rest["charged_to"] or "[]",
        "stores": rest["stores"] or json.dumps([store], ensure_ascii=False),
        "inputs": [
            (
                _digest(item.get("sha256")),
                _judge(item, {"image_id": _text})["image_id"],
                str(types[at]) if at < len(types) else "application/octet-stream",
            )
            for at, item in enumerate(inputs)
        ],
    }


def _image(said: Mapping[str, Any], generation: Mapping[str, Any]) -> dict[str, Any]:
    rest = _judge(_part(said, "image"), _IMAGE)
    created = rest["created_at"] or generation["created_at"]
    return {
        **rest,
        **_judge(said, _SHOWN),
        **_judge(said, {"image_id": _text}, must=True),
        "generation_id": generation["id"],
        "role": said.get("role") or "final",
        "created_at": created,
        "deadline": rest["deadline"] or created,
        "deadline_from": rest["deadline_from"] or "default",
        "give_up_at": rest["give_up_at"] or created,
        "attempts": rest["attempts"] or 0,
        "claim": rest["claim"] or 0,
    }


def _part(said: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = {} if said.get(name) is None else said[name]
    if not isinstance(part, dict):
        raise ValueError(f"{name} is no JSON object")
    return part


def _judge(said: Mapping[str, Any], checks: Mapping[str, Check], *, must: bool = False) -> dict[str, Any]:
    judged: dict[str, Any] = {}
    for name, check in checks.items():
        value = said.get(name)
        if value is None and must:
            raise ValueError(f"it does not say {name}")
        try:
            judged[name] = None if value is None else check(value)
        except ValueError as error:
            raise ValueError(f"{name} {error}") from error
    return judged
