"""Lineage records without what was forgotten: lines go, and what other lines tell of it.

A record is never changed in place: the lines that stay are written into another one, the catalogue names that one from
then on, and only then does the old one go. Whoever is killed in between leaves both, and the next one ends it: the new
name follows from the old one and the bytes. Every line that has nothing to do with it stays as it is, byte for byte.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from archiver.catalogue import NO_DIGEST, Catalogue, Target
from archiver.core.errors import Corrupt, Gone
from archiver.core.model import Json
from archiver.core.ports import Store
from archiver.pipeline import lineage
from archiver.transport import Body

#: A record lies in the folder of the day on which it was written, by a clock that may have been wrong.
SLACK = timedelta(days=2)
_OF_A_PROMPT = {"prompt": "", "tags": [], "parameters": {}, "inputs": []}
_OF_AN_ANSWER: dict[str, Any] = {"metadata": {}, "facts": {}, "reply": None, "fingerprint": None, "input_types": []}


@dataclass(frozen=True, slots=True, kw_only=True)
class Amended:
    """One record without what was forgotten: the lines that stay, and the images that they tell of."""

    lines: tuple[bytes, ...]
    images: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Amending:
    """Takes what a `target` is about out of the records of stores."""

    catalogue: Catalogue
    target: Target

    def amend(self, store: Store) -> int:
        """Look through every record that was written since the generation was planned. Returns how many were changed.
        Raises the store's error words."""
        first = f"{lineage.folder(store)}{_day(self.target.created_at - SLACK)}"
        names = tuple(name.encode() for name in {*self.target.images, *self.target.erased, self.target.generation_id})
        changed = 0
        for found in store.list(lineage.folder(store)):
            if not lineage.is_record(store, found.key) or found.key < first:
                continue
            try:
                lines = list(lineage.lines(store, found.key))
            except Gone:
                continue
            except ValueError as error:
                raise Corrupt(
                    f"{store.name}: {found.key}: {error}; look at it, and remove it when it is not yours"
                ) from error
            if any(name in line for line in lines for name in names):
                changed += self._change(store, found.key, lines, names)
        return changed

    def _change(self, store: Store, key: str, lines: Sequence[bytes], names: Sequence[bytes]) -> bool:
        amended = self._without(lines, names)
        if amended.lines == tuple(lines):
            return False
        if amended.lines:
            new = _put(store, key, amended.lines)
            self.catalogue.forgetting.move_lines(store.name, amended.images, key, new)
        store.delete(key)
        return True

    def _without(self, lines: Sequence[bytes], names: Sequence[bytes]) -> Amended:
        kept: list[bytes] = []
        images: list[str] = []
        facts = self.catalogue.forgetting.facts(self.target)
        for line in lines:
            said, stays = _read(line), line
            if any(name in line for name in names):
                if said is None or said.get("image_id") in self.target.images:
                    continue  # what is torn tells nobody anything, but for the words in it
                changed = amended_line(said, self.target, self._kin, facts)
                if changed != said:
                    stays = json.dumps(changed, ensure_ascii=False, sort_keys=True).encode()
            kept.append(stays)
            if said is not None:
                images.append(str(said.get("image_id")))
        return Amended(lines=tuple(kept), images=tuple(images))

    def _kin(self, image_id: str) -> list[dict[str, Any]]:
        """What the catalogue would say of an image's kin now."""
        found = self.catalogue.records.of([image_id]).get(image_id)
        return [] if found is None else list(found["kin"])


def amended_line(
    said: dict[str, Any], target: Target, kin_of: Callable[[str], list[dict[str, Any]]], facts: Json
) -> dict[str, Any]:
    """A line of another image: of what was forgotten, only ids stay, and of its generation the `facts` that are kept.
    Its kin are told of anew, because a record that told of them may have gone."""
    line = _with_facts(_without_digests(said, target), target, facts)
    if line.get("generation_id") in target.erased:
        line = _without_prompt(line)
    old = [item for item in line.get("kin") or [] if isinstance(item, dict)]
    others = [_with_facts(_without_digests(item, target), target, facts) for item in old if not _is_about(item, target)]
    kin = {_name(item): item for item in others}
    if len(others) < len(old) or _refers(line, target):
        for item in kin_of(str(line.get("image_id"))):
            kin.setdefault(_name(item), item)
    if "kin" in line or kin:
        line["kin"] = list(kin.values())
    return line


def _is_about(kin: dict[str, Any], target: Target) -> bool:
    return kin.get("image_id") in target.images or kin.get("generation_id") in target.erased


def _refers(line: dict[str, Any], target: Target) -> bool:
    inputs = [item.get("image_id") for item in line.get("inputs") or [] if isinstance(item, dict)]
    return line.get("continues") in target.erased or bool({line.get("parent_image_id"), *inputs} & {*target.images})


def _without_digests(said: dict[str, Any], target: Target) -> dict[str, Any]:
    changed = dict(said)
    if isinstance(said.get("inputs"), list):
        changed["inputs"] = [
            item | {"sha256": NO_DIGEST} if isinstance(item, dict) and item.get("image_id") in target.images else item
            for item in said["inputs"]
        ]
    return changed


def _with_facts(said: dict[str, Any], target: Target, facts: Json) -> dict[str, Any]:
    rest = said.get("generation")
    if said.get("generation_id") != target.generation_id or not isinstance(rest, dict) or "facts" not in rest:
        return said
    return said | {"generation": rest | {"facts": facts}}


def _without_prompt(line: dict[str, Any]) -> dict[str, Any]:
    """Of an image that the catalogue does not know, and whose generation was forgotten."""
    rest = line.get("generation")
    return line | _OF_A_PROMPT | {"revised_prompt": None, "generation": (rest or {}) | _OF_AN_ANSWER}


def _name(kin: dict[str, Any]) -> tuple[Any, Any]:
    return kin.get("generation_id"), kin.get("image_id")


def _read(line: bytes) -> dict[str, Any] | None:
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def _put(store: Store, key: str, lines: Sequence[bytes]) -> str:
    """Write the lines beside the record that they come from. The same lines get the same name."""
    body = Body.of(b"".join(line + b"\n" for line in lines))
    folder, _, name = key.rpartition("/")
    stem = name.removesuffix(".jsonl").partition("~")[0]
    return lineage.put(store, f"{folder}/{stem}~{body.sha256[:12]}.jsonl", body)


def _day(moment: datetime) -> str:
    return f"{moment:%Y/%m/%d}"
