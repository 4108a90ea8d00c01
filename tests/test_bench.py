"""The benchmarks tell the truth: what was not carried fails, and what is claimed is what was measured."""

import random
import shutil
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from archiver.core.imagefile import identify

sys.path.append(str(Path(__file__).resolve().parents[1] / "scripts"))

from bench.contestants import STARTER, Cost, Failed, measured
from bench.courses import FULL, QUICK, SIGNING, Course
from bench.deadlines import asked, drain, places_off
from bench.memory import Peak, slope
from bench.pictures import Pictures, fill
from bench.plot import Panel, by_course, chart
from bench.ranking import Run, headlines, loads, table
from bench.servers import BUCKET, KEY, SECRET, Missing, Server, authority, s3
from bench.transfer import judge, run_course

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
SMALL = Course(name="2 KB TLS", scheme="https", size=2000, count=8, slow_count=3, slots=2)


@pytest.fixture
def pictures(tmp_path) -> Pictures:
    return fill(tmp_path / "images", 8, 2000, 2)


def stored(folder: Path, pictures: Pictures) -> Server:
    """A sink into which everything was carried, and a lineage record."""
    bucket = folder / "stored" / BUCKET
    (bucket / "a" / "_lineage").mkdir(parents=True)
    (bucket / "a" / "_lineage" / "1.jsonl").write_text("{}")
    for number, name in enumerate(pictures.names):
        (bucket / "a" / f"other-{number}.png").write_bytes((pictures.folder / name).read_bytes())
    return Server(plain=0, tls=0, root=folder / "stored")


def run(contestant: str, seconds: float, turn: int = 0, course: str = "100 KB TLS") -> Run:
    cost = Cost(wall_s=seconds, cpu_s=1.0, peak_mb=40.0)
    return Run(
        course=course, contestant=contestant, round=turn, images=1000, megabytes=100.0, cost=cost,
        requests=(1000, 2000), connections=(1, 1), load=0.5,
    )  # fmt: skip


def test_pictures_are_images_under_several_names(pictures):
    assert len(pictures.names) == 8
    assert len(set(pictures.digests.values())) == 2
    assert [pictures.digests[name] for name in pictures.names[:2]] == [
        pictures.digests[name] for name in pictures.names[2:4]
    ]
    assert pictures.digests[pictures.names[0]] != pictures.digests[pictures.names[1]]
    for name in pictures.names:
        data = (pictures.folder / name).read_bytes()
        assert len(data) == pictures.size
        assert identify(data).content_type == "image/png"
        assert identify(data).verdict == "ok"


def test_judge_passes_what_was_carried_under_any_name(tmp_path, pictures):
    assert judge(stored(tmp_path, pictures), dict(pictures.digests), pictures.size) == 8 * pictures.size / 1e6


def test_judge_misses_an_object(tmp_path, pictures):
    sink = stored(tmp_path, pictures)
    next((sink.root / BUCKET).rglob("*.png")).unlink()
    with pytest.raises(Failed, match="7 objects"):
        judge(sink, dict(pictures.digests), pictures.size)


def test_judge_sees_a_changed_byte(tmp_path, pictures):
    sink = stored(tmp_path, pictures)
    path = sink.root / BUCKET / "a" / "other-5.png"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(Failed, match="1 of 8 stored objects hold other bytes"):
        judge(sink, dict(pictures.digests), pictures.size)


def test_judge_sees_one_image_in_the_place_of_another(tmp_path, pictures):
    """All have the same size, so the count and the sum say nothing."""
    sink = stored(tmp_path, pictures)
    folder = sink.root / BUCKET / "a"
    (folder / "other-5.png").write_bytes((folder / "other-4.png").read_bytes())
    with pytest.raises(Failed, match="1 of 8 stored objects hold other bytes"):
        judge(sink, dict(pictures.digests), pictures.size)


def test_slow_contestants_carry_a_part():
    assert SMALL.carried("seed") == 3
    assert SMALL.carried("sequential") == 3
    assert SMALL.carried("archiver") == 8
    assert SMALL.part(0.25).carried("archiver") == 2


@pytest.mark.parametrize("course", [*QUICK, *FULL], ids=lambda course: course.name)
def test_every_course_has_archiver_beside_the_reference_peer(course):
    assert {"archiver", "rclone"} <= set(course.only)
    assert 0 < course.slow_count <= course.count
    assert course.sink != "s3" or set(course.only) <= set(SIGNING)


def test_peak_is_that_of_the_contestant_not_of_whoever_starts_it(tmp_path):
    """Linux would count the memory of this process as that of /bin/true."""
    ballast = bytearray(b"x" * 150_000_000)
    cost = measured([shutil.which("true") or "", "x"], environment={}, folder=tmp_path)
    assert len(ballast) == 150_000_000
    assert 0 < cost.peak_mb < 60


def test_starter_tells_the_exit_code(tmp_path):
    with pytest.raises(Failed, match="ended with 3: oops"):
        measured([sys.executable, "-c", "print('oops'); raise SystemExit(3)"], environment={}, folder=tmp_path)
    assert STARTER.exists()


def test_headline_reads_as_it_is_quoted():
    runs = [run("archiver", 1.0), run("rclone", 2.312), run("curl", 0.5)]
    lines = [f"{name} {times:.2f} x" for name, times in headlines(runs).items()]
    assert lines == ["100 KB TLS archiver/rclone 2.31 x", "100 KB TLS archiver/curl 0.50 x"]


def test_ratio_is_the_median_of_those_within_a_round():
    """A machine that was slow in one round was slow for all."""
    seconds = [(1.0, 2.0), (10.0, 30.0), (1.0, 7.0)]
    runs = [
        run(name, each[place], turn)
        for turn, each in enumerate(seconds)
        for place, name in enumerate(("archiver", "rclone"))
    ]
    assert headlines(runs) == {"100 KB TLS archiver/rclone": 3.0}


def test_table_tells_how_many_images_and_what_nobody_counted():
    silent = replace(run("seed", 20.0), images=500, requests=(500, None), connections=(1, None))
    text = table([run("archiver", 1.0), run("rclone", 2.0), silent])
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in text.splitlines()]
    assert rows[2][:6] == ["100 KB TLS", "archiver", "1,000", "1,000", "100", "2.00"]
    assert rows[2][-1] == "1.00 + 2.00"
    assert rows[4][:4] == ["100 KB TLS", "seed", "500", "25"]
    assert rows[4][-1] == "1.00 + ?"
    assert {len(row) for row in rows} == {len(rows[0])}
    assert loads([run("archiver", 1.0), run("archiver", 1.0, course="other")]) == "100 KB TLS 0.5, other 0.5"


def test_memory_grows_by_what_lies_between_the_least_and_the_most():
    peaks = [Peak(images=number, peak_mb=mb, wall_s=1, cpu_s=1) for number, mb in ((60_000, 45.0), (10_000, 40.0))]
    assert slope(peaks) == 10.0
    assert slope(peaks[:1]) is None


def test_log_of_the_source_is_read_in_the_order_of_the_beginnings():
    log = "11.500 0.001 200 /b.png?A=1&Expires=300&S=2\n12.000 1.000 403 /a.png?Expires=200\n11.600 0.0 200 /status\n"
    assert list(asked(log)) == [(11.0, 403, 200), (11.499, 200, 300)]


def test_places_off():
    assert places_off([1, 2, 3, 4]) == [0, 0, 0, 0]
    assert places_off([4, 2, 3, 1]) == [3, 0, 0, 3]
    assert places_off([1, 2, 2, 2, 3]) == [0, 0, 0, 0, 0]
    assert places_off([2, 2, 1, 2]) == [1, 0, 2, 0]
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    turns = list(range(2000))
    random.Random(seed).shuffle(turns)
    assert sum(off <= 100 for off in places_off(turns)) < 500  # no order at all is seen


def test_chart_points_to_the_side_of_the_faster():
    panels = by_course({"6 MB archiver/rclone": 0.5, "6 MB archiver/a<b": 8.0, "1 KB archiver/rclone": 1.0})
    assert [panel.heading for panel in panels] == ["6 MB", "1 KB"]
    drawn = ET.fromstring(chart("x & y", [*panels, Panel("memory", {"10": 20.0, "20": 40.0}, "MB", ratios=False)]))
    bars = [bar for bar in drawn.iter("{http://www.w3.org/2000/svg}rect") if bar.get("class") in ("more", "less")]
    assert [bar.get("class") for bar in bars] == ["less", "more", "more", "more", "more"]
    slower, faster, _, small, large = ((float(bar.get("x") or 0), float(bar.get("width") or 0)) for bar in bars)
    assert slower[0] + slower[1] == pytest.approx(faster[0], abs=0.2)  # both begin at 1
    assert faster[1] == pytest.approx(3 * slower[1], abs=0.2)  # eightfold is three times doubling
    assert large[1] == pytest.approx(2 * small[1])
    assert "8.00 x" in [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]


def test_s3_sink_checks_signatures(tmp_path):
    (tmp_path / "stored" / BUCKET).mkdir(parents=True)
    authority(tmp_path)

    def put(secret: str, sink: Server) -> None:
        client = boto3.client(
            "s3", endpoint_url=sink.url("https"), verify=str(tmp_path / "ca.pem"), region_name="us-east-1",
            aws_access_key_id=KEY, aws_secret_access_key=secret,
            config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
        )  # fmt: skip
        client.put_object(Bucket=BUCKET, Key="a/b.png", Body=b"bytes")

    with s3(tmp_path, tmp_path / "stored") as sink:
        assert sink.counts() is None
        with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
            put("another", sink)
        assert list((tmp_path / "stored" / BUCKET).iterdir()) == []
        put(SECRET, sink)
    assert (tmp_path / "stored" / BUCKET / "a" / "b.png").read_bytes() == b"bytes"


@pytest.mark.skipif(NGINX is None, reason="needs nginx")
@pytest.mark.parametrize("sink", ["nginx", "s3"])
def test_archiver_and_its_peer_run_a_course(tmp_path, pictures, sink):
    folders = tmp_path / "home", tmp_path / "disk"
    for folder in folders:
        folder.mkdir()
    runs = list(run_course(replace(SMALL, sink=sink), pictures, 1, folders, ["archiver", "rclone"]))
    came = {one.contestant: one for one in runs if isinstance(one, Run)}
    assert came.keys() == {"archiver", "rclone"}, runs
    assert came["archiver"].images == 8
    asked_for, put = came["archiver"].requests
    assert asked_for == 8
    # A lineage record goes with each batch of a second, and a machine under load takes more than one for eight images.
    assert put in range(9, 17) if sink == "nginx" else put is None
    assert came["archiver"].cost.cpu_s > 0
    assert list(headlines(list(came.values()))) == ["2 KB TLS archiver/rclone"]


@pytest.mark.skipif(NGINX is None, reason="needs nginx")
def test_who_fails_is_named_and_spoils_nothing(tmp_path, pictures):
    """One of the images cannot be had, so that whoever carries all fails, and who carries the first three does not."""
    folders = tmp_path / "home", tmp_path / "disk"
    for folder in folders:
        folder.mkdir()
    (pictures.folder / pictures.names[-1]).unlink()
    runs = list(run_course(SMALL, pictures, 1, folders, ["curl", "sequential"]))
    assert [str(one).partition(": curl")[0] for one in runs if isinstance(one, Failed)] == ["2 KB TLS"]
    assert [one.contestant for one in runs if isinstance(one, Run)] == ["sequential"]


@pytest.mark.skipif(NGINX is None, reason="needs nginx")
def test_backlog_is_drained_by_deadline():
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    try:
        drained = drain(200, random.Random(seed))
    except Missing as missing:  # an nginx without Lua cannot let URLs die
        pytest.skip(str(missing))
    assert (drained.stored, drained.late, drained.trouble) == (200, 0, "")
    assert drained.near_share > 0.3  # 0.1 without any order
