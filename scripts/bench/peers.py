"""Two scripts as people write them: requests and boto3, one image after the other, and in a thread pool of eight.

    python peers.py sequential|seed task.json

`seed` is what the articles show: a `requests.get` per image, and `upload_fileobj`. They keep no digest and no record.
"""

import io
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import requests
from botocore.config import Config


def main() -> None:
    """Carry everything that the task names."""
    name, task = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    client: Any = boto3.client(
        "s3",
        endpoint_url=task["endpoint"],
        verify=task["ca_file"],
        config=Config(s3={"addressing_style": "path"}, proxies={}),
    )
    if name == "sequential":
        session = requests.Session()
        for url in task["urls"]:
            reply = session.get(url, verify=task["ca_file"], timeout=60)
            reply.raise_for_status()
            client.put_object(Bucket=task["bucket"], Key=_key(url), Body=reply.content)
        return

    def carry(url: str) -> None:
        reply = requests.get(url, verify=task["ca_file"], timeout=60)
        reply.raise_for_status()
        client.upload_fileobj(io.BytesIO(reply.content), task["bucket"], _key(url))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(carry, task["urls"]))


def _key(url: str) -> str:
    return "a/" + url.rpartition("/")[2]


if __name__ == "__main__":
    main()
