"""Strict wire doubles over real sockets on 127.0.0.1: what archiver's adapters meet in tests, one file per counterpart.

Each double is a context manager, verifies what it is sent with its own code, refuses what it does not understand, and
can be scripted to fail. None of them imports archiver: a double that shares code with its subject proves nothing.
"""
