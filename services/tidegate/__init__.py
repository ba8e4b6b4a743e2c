"""Tidegate takes LLM calls out of the request path: queued durably, answered live, resumable.

The map of the rooms. Each states its law in its own docstring; import-linter holds the order.
A room may import from those below it, never from those above or beside it.

``cli``
    The one command, ``tidegate``: starts one service or all, and talks to a running platform.

The services, which know nothing of each other:

``gateway``
    The way in: authenticates, validates, writes the job durably, answers in milliseconds.
``worker``
    The work: takes a job, calls the model, writes the log, and only then lets go of the job.
``cache``
    The memory: answers that were given before, found again by the same or a like question.
``streaming``
    The way out: carries a job's events to many clients, live or replayed from any point.
``simulator``
    A model server for development and load tests, which speaks as OpenAI's does.

What two or more services share:

``eventlog``
    The log of a job: its one writer, its many readers.
``figures``
    The four figures that say whether all is well: response time, cache hits, queues, cost.
``providers``
    Which model is answered where, and the client that calls it.
``chassis``
    How a process runs, and who calls it: settings, logs, metrics, traces, health, connections,
    keys, start and end.
``contracts``
    What a job and an event are, and the errors: pure values and functions, no I/O.
``v1``
    The public protocol as generated from ``proto/tidegate/v1``.

There is no room for odds and ends: a thing enters a shared room for its second user, who has
arrived or is certain.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("tidegate")
except PackageNotFoundError:  # run from a source tree that nobody installed
    __version__ = "0+source"
