"""What every room agrees on: jobs, events, subjects, errors and the fold.

Belongs here: values and pure functions on them that two processes must understand alike, with
their encodings and versions. Does not belong here: I/O, clocks, settings, metrics, anything that
awaits, and any library but `msgspec`.
"""
