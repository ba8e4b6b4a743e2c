"""Chaos: clients of every kind ask, while everything that may die dies, and a judge counts.

What belongs here: a plan drawn from a seed (`plan`), the platform as processes and wires (`system`,
`mortals`, `servers`, `wires`), clients that write down what they were told (`clients`, `rpc`,
`sockets`, `stock`, `told`), what is found afterwards from the outside (`ledger`, `stored`,
`footprints`, `peers`), and the judge, who compares them (`judge`, with `answers`, `bill` and
`orphans`, all pure).
`rounds` puts them together; `python -m tests.chaos` runs them.

What does not: anything that looks into a service. The judge knows what a caller can know, what the
simulated provider counted, and what is left in the queue.
"""

import os

# Else gRPC, once it runs, remarks on every process that is started. Read when it is imported.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
