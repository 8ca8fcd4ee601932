#!/bin/sh
# Encodes the golden vectors with protoc: DIR/NAME.bin for each PROTOS/vectors/NAME.txtpb.
#
#   encode_vectors.sh PROTOS DIR
#
# PYTHON names an interpreter with grpcio-tools, which contains protoc. Each vector names its message in its header.
set -eu

protos=$1
dir=$2
mkdir -p "$dir"
rm -f "$dir"/*.bin
for vector in "$protos"/vectors/*.txtpb; do
    file=$(sed -n 's/^# proto-file: //p' "$vector")
    message=$(sed -n 's/^# proto-message: //p' "$vector")
    "${PYTHON:-python3}" -m grpc_tools.protoc -I "$protos" --encode="$message" "$protos/$file" \
        <"$vector" >"$dir/$(basename "$vector" .txtpb).bin"
done
