"""The gateway: the way in.

What belongs here: knowing the caller, checking a request, writing a job durably and answering in
milliseconds; looking jobs up, cancelling and deleting them; ending jobs that have no owner to end
them; gRPC and HTTP as projections of one core that knows neither.

What does not: calling a model, weighing one job against another, or keeping anything in memory
that another gateway would need. A gateway may be killed at any moment, and any other one answers
the repeated call.
"""
