"""`tidegate up`: the whole platform on one machine.

Belongs here: which processes run with which settings (plan), the NATS server's users and what each
may do (nats_config), and keeping the processes alive (supervisor). Does not belong here: anything
that a cluster needs; there, the same services are configured by the chart.
"""
