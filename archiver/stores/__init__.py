"""Permanent homes for images: one file, one kind of store, each behind `core.ports.Store`.

`local`, `s3` and `oss` are the doors: settings and `connect`, free of SDKs, so that reading a configuration loads none.
What S3 and OSS have in common (a put that proves itself, the meaning of errors) is in `objects` and `replies`; no
adapter imports another. Nothing here carries bytes by itself: that is the engine's work.
"""
