"""The public protocol ``tidegate.v1``, generated from ``proto/tidegate/v1``; by hand is only this.

Import the generated modules by name (``from tidegate.v1 import jobs_pb2, jobs_pb2_grpc``): this
package imports none of them, so that whoever needs only messages does not load gRPC. The typed
service stubs describe ``grpc.aio``. ``make proto`` writes them anew, and ``make check`` refuses any
that differ from what the protocol says.
"""
