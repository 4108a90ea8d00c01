"""Who carries the images from the source to the sink: archiver, and what people use today.

Each contestant gets the same URLs and the same two servers, runs as a process of its own, and is measured from outside:
wall time, CPU time and peak memory of the process, by wait4. What is stored is counted and hashed by whoever asks.
The list of URLs lies in RAM with the images; archiver's catalogue lies on a disk, because its flushes are part of its
work.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.servers import BUCKET, KEY, SECRET, Pair

ROOT = Path(__file__).resolve().parents[2]
STARTER = Path(__file__).with_name("starter.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """So many images, from there to there. `slots` is how many are carried at once; `home` and `disk` are empty
    folders, the second one on a disk."""

    home: Path
    disk: Path
    servers: Pair
    scheme: str
    names: Sequence[str]
    slots: int
    query: Callable[[int], str] = field(default=lambda _: "")

    @property
    def urls(self) -> list[str]:
        """The source's address of every image; `query` says what follows its name, by its number."""
        base = self.servers.source.url(self.scheme)
        return [f"{base}/{name}{self.query(number)}" for number, name in enumerate(self.names)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a run took: seconds of wall time and CPU, and megabytes of peak memory (of its largest process)."""

    wall_s: float
    cpu_s: float
    peak_mb: float


class Failed(Exception):
    """A contestant did not do its work; the text says what it said."""


def measured(command: list[str], *, environment: Mapping[str, str], folder: Path) -> Cost:
    """Run a command to its end. Raises `Failed` when that is not a good one."""
    log, report = folder / "said.txt", folder / "took.txt"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RCLONE_", "AWS_"))}
    starting = [sys.executable, "-I", "-S", str(STARTER), str(report), *command]
    with log.open("wb") as file:
        process = subprocess.Popen(starting, env={**inherited, **environment}, stdout=file, stderr=file)
        try:
            process.wait()
        finally:
            process.terminate()  # which does nothing to one that has ended
            process.wait()
    if process.returncode:
        raise Failed(f"{Path(command[0]).name} was not started: {log.read_text(errors='replace')[-1500:]}")
    wall_s, cpu_s, peak_mb, code = report.read_text().split()
    if code != "0":
        tail = log.read_text(errors="replace")[-1500:]
        raise Failed(f"{Path(command[0]).name} ended with {code}: {tail}")
    return Cost(wall_s=float(wall_s), cpu_s=float(cpu_s), peak_mb=float(peak_mb))


_CONFIGURATION = """
[archiver]
data_dir = "{disk}"
copies = {slots}
processes = 2

[fetch]
allow_cidrs = ["127.0.0.0/8"]

[network]
ca_file = "{ca_file}"

[stores.sink]
url = "s3://{bucket}/a"
endpoint = "{endpoint}"
region = "us-east-1"
access_key_id = "env:BENCH_KEY"
access_key_secret = "env:BENCH_SECRET"
"""


def archiver(task: Task) -> Cost:
    """`archiver backfill`: every URL is durable in the catalogue before it is fetched, every image is hashed, proved by
    the store's answer, and has its lineage record in the bucket before it counts."""
    (task.home / "archiver.toml").write_text(
        _CONFIGURATION.format(
            disk=task.disk,
            slots=task.slots,
            ca_file=task.servers.ca_file,
            bucket=BUCKET,
            endpoint=task.servers.sink.url(task.scheme),
        )
    )
    listed = task.home / "urls.csv"
    listed.write_text("url,prompt\n" + "".join(f"{url},a cat on the moon\n" for url in task.urls))
    command = [sys.executable, "-m", "archiver", "--config", str(task.home / "archiver.toml"), "backfill", str(listed)]
    environment = {"BENCH_KEY": KEY, "BENCH_SECRET": SECRET, "PYTHONPATH": str(ROOT)}
    return measured(command, environment=environment, folder=task.home)


_TUNED = ("--s3-no-head", "--s3-disable-checksum", "--s3-use-unsigned-payload=true")


def rclone(task: Task, options: Sequence[str] = ()) -> Cost:
    """`rclone copyurl --urls`, as its documentation has it: no digest of its own, no record, a HEAD after each put."""
    listed = task.home / "urls.csv"
    listed.write_text("".join(f"{url},a/{name}\n" for url, name in zip(task.urls, task.names, strict=True)))
    binary = Path(sys.executable).parent / "rclone"
    command = [str(binary), "copyurl", "--urls", str(listed), f"d:{BUCKET}", "--transfers", str(task.slots)]
    command += ["--s3-no-check-bucket", "--config", "", "--ca-cert", str(task.servers.ca_file), *options]
    environment = {
        "RCLONE_CONFIG_D_TYPE": "s3",
        "RCLONE_CONFIG_D_PROVIDER": "Other",
        "RCLONE_CONFIG_D_ENDPOINT": task.servers.sink.url(task.scheme),
        "RCLONE_CONFIG_D_REGION": "us-east-1",
        "RCLONE_CONFIG_D_ACCESS_KEY_ID": KEY,
        "RCLONE_CONFIG_D_SECRET_ACCESS_KEY": SECRET,
    }
    return measured(command, environment=environment, folder=task.home)


def _script(name: str) -> Callable[[Task], Cost]:
    def run(task: Task) -> Cost:
        said = {
            "urls": task.urls,
            "endpoint": task.servers.sink.url(task.scheme),
            "bucket": BUCKET,
            "ca_file": str(task.servers.ca_file),
        }
        (task.home / "task.json").write_text(json.dumps(said))
        script = Path(__file__).with_name("peers.py")
        environment = {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",  # the sink would keep boto3's framing as bytes
        }
        command = [sys.executable, str(script), name, str(task.home / "task.json")]
        return measured(command, environment=environment, folder=task.home)

    return run


def curl(task: Task) -> Cost:
    """`curl --parallel`, all down and then all up: no signature, no digest, no record. The floor of what needs a
    process that speaks HTTP."""
    down, up, kept = task.home / "down.conf", task.home / "up.conf", task.home / "kept"
    kept.mkdir()
    down.write_text(
        "".join(f'url = "{url}"\noutput = "{kept}/{name}"\n' for url, name in zip(task.urls, task.names, strict=True))
    )
    base = f"{task.servers.sink.url(task.scheme)}/{BUCKET}/a"
    up.write_text("".join(f'upload-file = "{kept}/{name}"\nurl = "{base}/{name}"\n' for name in task.names))
    binary = "/usr/bin/curl"
    costs = []
    for file in (down, up):
        options = ["--silent", "--show-error", "--fail", "--parallel", "--parallel-max", str(task.slots)]
        command = [binary, *options, "--cacert", str(task.servers.ca_file), "-K", str(file)]
        costs.append(measured(command, environment={}, folder=task.home))
    return Cost(
        wall_s=sum(cost.wall_s for cost in costs),
        cpu_s=sum(cost.cpu_s for cost in costs),
        peak_mb=max(cost.peak_mb for cost in costs),
    )


CONTESTANTS: Mapping[str, Callable[[Task], Cost]] = {
    "archiver": archiver,
    "rclone": rclone,
    "rclone-tuned": lambda task: rclone(task, _TUNED),
    "curl": curl,
    "sequential": _script("sequential"),
    "seed": _script("seed"),
}
