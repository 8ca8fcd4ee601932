"""The `ygg` command line and its local parts: PKI, embedded mesh, contexts.

Talks to a running mesh over gRPC only; imports no service.
"""
