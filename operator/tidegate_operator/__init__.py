"""The operator: keeps the number of workers in step with the backlog.

Here belongs what watches the cluster's worker pools and decides how many replicas each should have.
Deciding is pure, from numbers to a number; only the edges talk to Kubernetes and to the queue.

Of Tidegate it uses the chassis, the contracts and the generated protocol, never a service: it must
be able to act while every service is down. The folder above this package has no ``__init__.py``,
since a package called ``operator`` would shadow the standard library's module.
"""
