"""Prompts: what files and templates say, how many a tick asks for, and which of them.

A file of prompts becomes entries, entries become a pool, and a tick takes its wishes from the pool. All of it is pure:
bytes and the tick come in as arguments, the same for the daemon and `run --once`. It opens no file, claims no tick, and
puts nothing right: what cannot be understood is a ValueError that names the place.
"""

from archiver.prompts.files import KINDS, Entry, kind_of, read
from archiver.prompts.judging import COUNTS, flaw, is_size, remarks, typed
from archiver.prompts.picking import Pick, Pool
from archiver.prompts.templates import WORDS, is_name

__all__ = [
    "COUNTS",
    "KINDS",
    "WORDS",
    "Entry",
    "Pick",
    "Pool",
    "flaw",
    "is_name",
    "is_size",
    "kind_of",
    "read",
    "remarks",
    "typed",
]
