"""What a command loads before its first image: where a person waits, and cron pays for it every minute."""

import subprocess
import sys
from pathlib import Path

from tests.doubles.pngs import png
from tests.doubles.source import ImageSource
from tests.doubles.whole_s3 import WholeS3
from tests.world import World, s3_section

LOOKING = """
import atexit, sys
heavy = {"asyncio", "boto3", "botocore", "oss2", "requests", "s3transfer", "sqlite_utils"}
atexit.register(lambda: print(*sorted(heavy & sys.modules.keys()), file=sys.stderr))
from archiver.cli import main
main()
"""
UNAVOIDABLE = {"asyncio"}  # structlog's


def test_a_backfill_into_s3_loads_no_sdk_and_a_catalogue_that_is_up_to_date_no_migrations(tmp_path: Path) -> None:
    with WholeS3() as server, ImageSource() as source:
        world = World(tmp_path)
        world.keys_of(server)
        world.configure(s3_section("main", server) + '\n[fetch]\nallow_cidrs = ["127.0.0.1/32"]\n')
        loaded = []
        for number in range(2):
            url = source.add(f"/{number}.png", png(f"{number}"))
            (tmp_path / "urls.csv").write_text(f"url\n{url}\n", "utf-8")
            done = subprocess.run(
                [sys.executable, "-c", LOOKING, "backfill", "urls.csv"],
                cwd=tmp_path, env=world.environ, capture_output=True, text=True, check=True,
            )  # fmt: skip
            loaded.append(set(done.stderr.splitlines()[-1].split()) - UNAVOIDABLE)
        assert len([key for key in server.objects if key.endswith(".png")]) == 2
        assert loaded == [{"sqlite_utils"}, set()]
