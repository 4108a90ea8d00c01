"""Facts and decisions of archiver: what the words mean, what follows from what.

Standard library only. This room refuses I/O, clocks, randomness, logging, SQL and HTTP: everything in it can be
tested with a table of examples, and everything else in the house may import it.
"""
