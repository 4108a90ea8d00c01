"""archiver copies generated images from URLs that die into your own bucket, and remembers which prompt made which.

The rooms: `core` (facts and decisions), `catalogue` (SQLite), `providers`, `stores`, `transport` (libcurl), `schedule`,
`pipeline` (the story), `config`, `wiring`, `daemon`, `cli`. Imports go one way only, from the shells down to the core.
"""
