#!/usr/bin/env bash
# Run the whole suite in containers (`make test`).
#
#   1. Install Docker, compose and the base image if missing (deploy/offline).
#   2. Build the image `test`: sources, tools and all dependencies of the suite.
#   3. Run `make test-inside` in it as an unprivileged user: lint, types, C tests
#      with ASan and UBSan, unit, contract, integration and e2e tests.
#   4. Build the images of the mesh and run the tests that start containers.
#
# Step 4 runs in the same image rather than in a virtual environment of the
# host, so that the host needs only Docker. It controls the engine through its
# socket, reaches published ports through the host's network, and kills services
# by their host pids, as in a crash: `docker kill` counts as a manual stop and
# disables the restart policy. Any user of docker has these privileges anyway.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly IMAGE=yggdrasil-test
export YGG_TAG=test # separate from the images of `make up`

main() {
    deploy/offline/docker.sh
    deploy/offline/base-image.sh
    step "building the test image" --project-directory . --file deploy/test.compose.yml build
    run_inside
    step "building the images of the mesh" --profile demo --profile s3 build
    run_with_docker
}

step() {
    local title=$1 log
    shift
    printf '== %s\n' "$title"
    log=$(mktemp)
    docker compose "$@" >"$log" 2>&1 || { cat "$log" && rm -f "$log" && exit 1; }
    rm -f "$log"
}

run_inside() {
    printf '== lint, types, C, unit, contract, integration, e2e\n'
    # Without a network: all dependencies are in the image, and servers listen on loopback.
    # Disks of several sizes for tests/fixtures/disk.py, since mounting is not allowed inside. They use memory as they fill.
    local size disks=()
    for size in 256m 2g 12g 16g; do
        disks+=(--tmpfs "/disks/$size:size=$size,uid=10001,gid=10001,mode=0755")
    done
    docker run --rm --init --network none "${disks[@]}" "$IMAGE:$YGG_TAG"
}

run_with_docker() {
    printf '== the mesh in containers\n'
    docker run --rm --init --user root --network host --pid host \
        --volume /var/run/docker.sock:/var/run/docker.sock --env YGG_TAG \
        "$IMAGE:$YGG_TAG" make test-docker
}

main "$@"
