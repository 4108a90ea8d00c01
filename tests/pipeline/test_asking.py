"""Asking: what is paid once stays paid once, whatever comes back and whoever dies."""

import errno
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from archiver.core.errors import Unusable
from archiver.pipeline.inbox import AnswerFile
from tests.doubles.provider import ImagesProvider, Mishap
from tests.pipeline.workshop import Clock, open_workshop


def test_a_throttled_request_is_asked_again_after_its_pause(tmp_path: Path) -> None:
    """429 is free: the row goes back to planned, waits, and is asked again; one charge."""
    with (
        ImagesProvider([Mishap(status=429, headers={"Retry-After": "20"})]) as double,
        open_workshop(tmp_path / "d", double=double) as shop,
    ):
        (fox,) = shop.plan("double", "a fox")
        assert shop.ask("double") == 1
        assert shop.generation(fox)["state"] == "planned"
        assert shop.ask("double") == 0
        shop.clock.advance(seconds=30)
        assert shop.ask("double") == 1
        assert shop.generation(fox)["state"] == "completed"
        assert len(double.charges) == 1


def test_a_provider_that_stays_throttled_is_given_up(tmp_path: Path) -> None:
    """Eight free refusals, and the generation has failed."""
    with ImagesProvider([Mishap(status=429)] * 100) as double, open_workshop(tmp_path / "d", double=double) as shop:
        (fox,) = shop.plan("double", "a fox")
        for _ in range(20):
            shop.ask("double")
            shop.clock.advance(hours=2)
        assert shop.generation(fox)["state"] == "failed"
        assert len(double.requests) == 8
        assert double.charges == []


def test_a_full_disk_while_the_answer_arrives_never_pays_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider has charged; the answer cannot be kept: unknown, and not asked again."""

    class Full:
        """A file on a disk that has no room left."""

        def __init__(self, file: Any) -> None:
            self._file = file

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

        def write(self, _: bytes) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with ImagesProvider() as double, open_workshop(tmp_path / "d", double=double) as shop:
        (fox,) = shop.plan("double", "a fox")
        opened = shop.pipeline.inbox.open

        def open_full(generation_id: str, now: Callable[[], datetime]) -> AnswerFile:
            answer = opened(generation_id, now)
            answer._file = Full(answer._file)  # type: ignore[assignment]
            return answer

        monkeypatch.setattr(type(shop.pipeline.inbox), "open", lambda _self, *given: open_full(*given))
        shop.ask("double")
        assert shop.generation(fox)["state"] == "unknown"
        assert "No space left" in shop.generation(fox)["error"]
        monkeypatch.undo()
        shop.clock.advance(days=1)
        assert shop.ask("double") == 0
        assert len(double.charges) == 1


def test_a_whole_answer_that_could_not_be_renamed_is_read_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bytes are safe on the disk under the name of an unfinished one: in doubt at first, then found."""
    with ImagesProvider() as double, open_workshop(tmp_path / "d", double=double) as shop:
        (fox,) = shop.plan("double", "a fox")
        renamed = Path.rename

        def rename(path: Path, target: Path) -> Path:
            if target.suffix == ".answer":
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return renamed(path, target)

        monkeypatch.setattr(Path, "rename", rename)
        shop.ask("double")
        assert shop.generation(fox)["state"] == "unknown"
        monkeypatch.undo()
        shop.pipeline.recover()
        assert shop.generation(fox)["state"] == "completed"
        assert len(double.charges) == 1


def test_no_place_for_the_answer_means_nothing_is_spent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the inbox cannot take a file, the provider is not asked."""
    with ImagesProvider() as double, open_workshop(tmp_path / "d", double=double) as shop:
        (fox,) = shop.plan("double", "a fox")
        (shop.data_dir / "inbox").rmdir()
        shop.ask("double")
        assert double.requests == []
        assert shop.generation(fox)["state"] == "planned"
        (shop.data_dir / "inbox").mkdir()
        shop.clock.advance(hours=1)
        shop.ask("double")
        assert shop.generation(fox)["state"] == "completed"


def test_inline_bytes_that_are_no_image_are_kept_all_the_same(tmp_path: Path) -> None:
    """Paid bytes are never dropped for being odd: they are archived as .bin, with a verdict."""
    body = b'{"data": [{"b64_json": "bm90IGFuIGltYWdlLCBidXQgcGFpZCBmb3I="}]}'
    with (
        ImagesProvider([Mishap(body=body, headers={"Content-Type": "application/json"})]) as double,
        open_workshop(tmp_path / "d", double=double, response_format="b64_json") as shop,
    ):
        shop.plan("double", "a fox")
        shop.ask("double")
        shop.copy()
        (image,) = shop.images()
        assert image["state"] == "stored"
        assert image["verdict"] != "ok"
        (row,) = shop.catalogue.reports.lineage("fox")
        assert (tmp_path / "d/near" / row["key"]).read_bytes() == b"not an image, but paid for"
        assert row["key"].endswith(".bin")


def test_accepted_work_is_polled_until_it_is_done(tmp_path: Path) -> None:
    """A task is accepted, polled after a second, again after five, and completed once."""
    clock = Clock(datetime.now(UTC))
    settings = {"tasks": True, "latency": "8s"}
    with open_workshop(tmp_path / "d", clock=clock, sandbox_settings=settings) as shop:
        provider = shop.pipeline.providers["sandbox"]
        (fox,) = shop.plan("sandbox", "a fox")
        shop.ask("sandbox")
        assert shop.generation(fox)["state"] == "accepted"
        polls = 0
        for _ in range(20):
            while (submission := shop.pipeline.next_to_collect(provider)) is not None:
                shop.pipeline.collect(provider, submission)
                polls += 1
            clock.advance(seconds=1)
        assert shop.generation(fox)["state"] == "completed"
        assert polls == 3
        shop.copy()
        assert shop.states() == ["stored"]


class TestTakingOver:
    """What a process left that was killed."""

    def _killed_with(self, shop: Any, name: str, content: bytes) -> str:
        """A generation that was submitted by an owner that is gone, with a file in the inbox."""
        (fox,) = shop.plan("double", "a fox")
        shop.catalogue.generations.begin_submit("double", "gone", shop.clock())
        if content:
            (shop.data_dir / "inbox" / f"{fox}{name}").write_bytes(content)
        return str(fox)

    HEAD = b'{"status": 200, "content_type": "application/json", "received_at": "2026-11-20T09:00:00+00:00"}\n'
    BODY = b'{"data": [{"url": "https://images.example/a.png?Expires=1795770000"}]}'

    @pytest.mark.parametrize("name", [".answer", ".part"])
    def test_a_whole_answer_is_read(self, tmp_path: Path, name: str) -> None:
        """Renamed or not: when every byte is there, its images are recorded, and nobody is asked again."""
        with ImagesProvider() as double, open_workshop(tmp_path / "d", double=double) as shop:
            fox = self._killed_with(shop, name, self.HEAD + self.BODY)
            shop.pipeline.recover()
            assert shop.generation(fox)["state"] == "completed"
            assert shop.states() == ["pending"]
            shop.pipeline.recover()
            assert len(shop.images()) == 1
            assert double.requests == []

    @pytest.mark.parametrize("length", [0, 1, 40, len(HEAD), len(HEAD) + 30])
    def test_a_cut_answer_is_in_doubt(self, tmp_path: Path, length: int) -> None:
        """Cut anywhere: unknown, what came is kept, and nobody is asked again."""
        with ImagesProvider() as double, open_workshop(tmp_path / "d", double=double) as shop:
            fox = self._killed_with(shop, ".part", (self.HEAD + self.BODY)[:length])
            shop.pipeline.recover()
            assert shop.generation(fox)["state"] == "unknown"
            assert shop.files("inbox") == ([f"{fox}.odd"] if length else [])
            shop.clock.advance(days=1)
            assert shop.ask("double") == 0

    def test_a_living_owner_is_left_alone(self, tmp_path: Path) -> None:
        """Another process that still waits for its answer keeps its row."""
        with ImagesProvider() as double, open_workshop(tmp_path / "d", double=double) as waiting:
            (fox,) = waiting.plan("double", "a fox")
            waiting.catalogue.generations.begin_submit("double", waiting.pipeline.owner.id, waiting.clock())
            with open_workshop(tmp_path / "d", double=double) as other:
                other.pipeline.recover()
                assert other.generation(fox)["state"] == "submitted"


def test_an_answer_whose_bytes_find_no_room_waits_for_the_next_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The spool is full when an inline answer is taken in: exit 3 now, stored later, one charge."""
    with ImagesProvider() as double:
        with open_workshop(tmp_path / "d", double=double, response_format="b64_json") as shop:
            (fox,) = shop.plan("double", "a fox")
            (shop.data_dir / "spool").rmdir()
            with pytest.raises(Unusable, match="is kept"):
                shop.ask("double")
            (shop.data_dir / "spool").mkdir()
        with open_workshop(tmp_path / "d", double=double, response_format="b64_json") as later:
            later.pipeline.recover()
            assert later.generation(fox)["state"] == "completed"
            later.copy()
            assert later.states() == ["stored"]
            assert len(double.charges) == 1
