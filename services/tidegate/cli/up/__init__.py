"""`tidegate up`: the whole platform on one machine.

Belongs here: which processes run with which settings (plan), their files (files), and keeping the
processes alive (supervisor). Does not belong here: anything that a cluster needs; there, the same
services are configured by the chart.
"""
