"""The command line: one command, `tidegate`, for every process and every person.

Belongs here: the commands, the client that they share, and `tidegate up`, which runs all services
on one machine. Does not belong here: anything that a service needs at run time. A command imports
what it runs when it is run, so that the first answer comes quickly; one that starts a service loads
the settings classes of all, which together know whether a variable is misspelt.
"""

from tidegate.cli.main import main

__all__ = ["main"]
