"""The services of the mesh, the domain that they share and the chassis that they stand on."""

import os

# grpcio has no minimum version of TLS. Its list of cipher suites holds for TLS 1.2 and before, and this one needs a
# pre-shared key that nobody has, so TLS 1.3 is what is left. It is read when grpc is imported.
os.environ["GRPC_SSL_CIPHER_SUITES"] = "ECDHE-PSK-AES128-CBC-SHA"

# grpcio writes a line to standard error for each handshake that fails, which anybody can cause as often as they like.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
