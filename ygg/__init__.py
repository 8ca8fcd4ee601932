"""The command people type, and the local work behind it: PKI, embedded mesh, contexts.

Reaches a running mesh by gRPC only; imports no service.
"""
