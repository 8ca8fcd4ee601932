#!/usr/bin/env bash
# The whole suite, in containers: what `make test` runs.
#
#   1. Docker, compose and the base image, where they are missing (deploy/offline).
#   2. The image `test`: sources, tools and everything the suite needs.
#   3. `make test-inside` in it, as an unprivileged user: lint, types, C tests
#      with ASan and UBSan, unit, contract, integration and e2e tests.
#   4. The images of the mesh, then the tests that start containers of their own.
#
# Step 4 runs in the same image rather than in a virtual environment of the
# host, so that the host needs nothing but Docker. It drives the engine through
# its socket, reaches published ports through the host's network, and kills
# services by their host pids, which is how a crash looks to the restart policy
# (`docker kill` counts as stopped by hand). That is as much power as whoever
# may call docker has anyway.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly IMAGE=yggdrasil-test
export YGG_TAG=test # apart from the images that `make up` builds and runs

main() {
    deploy/offline/docker.sh
    deploy/offline/base-image.sh
    step "building the test image" --project-directory . --file deploy/test.compose.yml build
    run_inside
    step "building the images of the mesh" --profile demo --profile s3 build
    run_with_docker
}

step() {
    local what=$1 log
    shift
    printf '== %s\n' "$what"
    log=$(mktemp)
    docker compose "$@" >"$log" 2>&1 || { cat "$log" && rm -f "$log" && exit 1; }
    rm -f "$log"
}

run_inside() {
    printf '== lint, types, C, unit, contract, integration, e2e\n'
    # Without a network: whatever the suite needs is in the image, and its servers are on loopback.
    # Disks of several sizes for tests/fixtures/disk.py, because nobody may mount one inside. They take memory as they fill.
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
