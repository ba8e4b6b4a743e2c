"""`tidegate install`: what the chart's own pods do once, before the services can begin.

Belongs here: making the secrets of an installation that nobody gave (secrets), with the Kubernetes
API as a pod sees it (api_server), and writing the configuration of a NATS server from them (nats).
Does not belong here: anything that a service does, and anything about worker pools (the operator).
What is there already is never changed: these commands run again after every upgrade.
"""
