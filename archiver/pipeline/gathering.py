"""Bringing together what goes into a request: the bytes of its input images, and the dialogue that it goes on from.

It happens before anything is sent, and costs nothing: a file that is gone, or is not what was planned, fails the
generation without asking. An archived image comes from the spool, else from the first store that has it unharmed.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from archiver.catalogue import Catalogue, InputRow, Submission
from archiver.core.errors import AdapterError, Permanent, Transient
from archiver.core.imagefile import identify
from archiver.core.model import Ask, Input, Turn
from archiver.core.ports import Store
from archiver.pipeline.spool import Spool

MOST_INPUT_BYTES = 50 * 1024**2
"""Of one image. What providers take is less (OpenAI: 50 MB; most: 20 MB)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathering:
    """Where inputs are found."""

    catalogue: Catalogue
    stores: Mapping[str, Store]
    spool: Spool

    def complete(self, submission: Submission) -> Ask:
        """The whole request. Raises `Permanent` when an input cannot be had as planned, `Transient` when a store that
        has it does not answer. Nothing was sent."""
        ask = submission.ask
        inputs = self._inputs(ask.generation_id)
        turns: tuple[Turn, ...] = ()
        if submission.continues is not None:
            turns = tuple(
                Turn(
                    prompt=said.prompt,
                    reply=said.reply,
                    inputs=self._inputs(said.generation_id),
                    images=tuple(
                        self._archived(image) for image in self.catalogue.materials.images(said.generation_id)
                    ),
                )
                for said in self.catalogue.materials.dialogue(submission.continues)
            )
        return replace(ask, inputs=inputs, turns=turns) if inputs or turns else ask

    def _inputs(self, generation_id: str) -> tuple[Input, ...]:
        return tuple(self._input(row) for row in self.catalogue.materials.inputs(generation_id))

    def _input(self, row: InputRow) -> Input:
        if row.path is not None:
            try:
                data = read_input(Path(row.path))
            except ValueError as error:
                if row.image_id is None:
                    raise Permanent(str(error)) from None
            else:
                if hashlib.sha256(data).hexdigest() == row.sha256:
                    return Input(sha256=row.sha256, content_type=row.content_type, data=data)
                if row.image_id is None:
                    raise Permanent(f"the input {row.path} has changed since it was planned")
        return self._archived(row.image_id or "")

    def _archived(self, image_id: str) -> Input:
        found = self.catalogue.materials.whereabouts(image_id)
        if found is None:
            raise Permanent(f"the input image {image_id} was never fetched")
        trouble: AdapterError = Permanent(f"the input image {image_id} is in no store that is configured")
        sources: list[Callable[[], Iterable[bytes]]] = []
        if found.spool is not None:
            path = self.spool.path(found.spool)
            sources += [lambda: [path.read_bytes()]] if path.exists() else []
        sources += [partial(self.stores[store].open, key) for store, key in found.copies if store in self.stores]
        for source in sources:
            try:
                data = b"".join(source())
            except AdapterError as error:
                trouble = Transient(f"the input image {image_id} cannot be read: {error}")
                continue
            if hashlib.sha256(data).hexdigest() == found.sha256:
                return Input(sha256=found.sha256, content_type=found.content_type, data=data)
            trouble = Permanent(f"the input image {image_id} is not what was archived")
        raise trouble


def read_input(path: Path) -> bytes:
    """The bytes of an input file. Raises ValueError with what a person can do about it."""
    try:
        if path.stat().st_size > MOST_INPUT_BYTES:
            raise ValueError(f"the input {path} is larger than {MOST_INPUT_BYTES} bytes")
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"the input {path} cannot be read: {error.strerror}") from None


def describe_input(path: Path) -> InputRow:
    """An input file as it is to be planned. Raises ValueError when it is no image, or cannot be read."""
    data = read_input(path)
    try:
        info = identify(data)
    except AdapterError as error:
        raise ValueError(f"the input {path} is no image: {error}") from None
    if not info.content_type.startswith("image/"):
        raise ValueError(f"the input {path} is no image, but {info.content_type}")
    return InputRow(sha256=hashlib.sha256(data).hexdigest(), content_type=info.content_type, path=str(path.absolute()))
