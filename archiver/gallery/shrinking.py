"""The child process that makes thumbnails: images come in on standard input, small WebP files go out.

An image file is written by strangers and decoded by C: whatever it does to this process, it does with so much memory
and time and no more, without files, without the parent's environment. It imports nothing of archiver and is started by
its path. Each image is 8 bytes of length and its bytes; each reply is one letter (`+` a thumbnail, `-` a reason),
8 bytes of length, and that.
"""

import contextlib
import io
import os
import resource
import struct
import sys
import warnings

SIDE = 320
MOST_PIXELS = 100_000_000
MEMORY = 1536 * 1024**2
SECONDS = 20
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "AVIF", "BMP", "TIFF")


def lower(limit: int, value: int) -> None:
    """Set a limit, the part that can be raised again included; a system may not know it."""
    try:
        hard = resource.getrlimit(limit)[1]
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (most, most))
    except (ValueError, OSError):
        pass  # macOS has no limit of the address space; the others hold


def allow_seconds(more: int) -> None:
    """Let this process use so many more seconds of the processor; then the kernel ends it."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + 1 + more, resource.RLIM_INFINITY))


def shrink(data: bytes) -> bytes:
    """A WebP file of at most SIDE x SIDE. Raises whatever Pillow raises."""
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
        if opened.width * opened.height > MOST_PIXELS:
            raise ValueError(f"{opened.width} x {opened.height} pixels are too many")
        opened.draft("RGB", (SIDE * 2, SIDE * 2))  # a JPEG is decoded small at once
        opened.load()
        upright = ImageOps.exif_transpose(opened)
        see_through = upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info
        small = upright.convert("RGBA" if see_through else "RGB")
        small.thumbnail((SIDE, SIDE))
        made = io.BytesIO()
        small.save(made, "WEBP", quality=78, method=4)
        return made.getvalue()


def warm_up() -> None:
    """Shrink one image of each kind: what Pillow loads late is loaded before no file can be opened any more."""
    from PIL import Image

    Image.init()
    for kind in FORMATS:
        for mode in ("P", "RGBA", "RGB", "L", "CMYK"):
            made = io.BytesIO()
            with contextlib.suppress(OSError, KeyError, ValueError):  # not every kind has every mode
                Image.new(mode, (2, 2)).save(made, kind)
                shrink(made.getvalue())


def main() -> None:
    """Serve until standard input ends."""
    from PIL import Image

    warm_up()
    Image.MAX_IMAGE_PIXELS = MOST_PIXELS
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    for limit, value in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, 3),
    ):
        lower(limit, value)
    source, target = sys.stdin.buffer, os.fdopen(1, "wb", closefd=False)
    while len(head := source.read(8)) == 8:
        data = source.read(struct.unpack(">Q", head)[0])
        try:
            allow_seconds(SECONDS)
            letter, reply = b"+", shrink(data)
        except Exception as error:  # noqa: BLE001 - whatever a broken image makes of Pillow, the next one is served
            letter, reply = b"-", f"{type(error).__name__}: {error}".encode("utf-8", "replace")[:300]
        del data
        target.write(letter + struct.pack(">Q", len(reply)) + reply)
        target.flush()


if __name__ == "__main__":
    main()
