# Shared by the scripts in this folder: talking, and acting as root.
# Sourced, never run.

say() { printf '  %s\n' "$*"; }

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo -- "$@"
    else
        die "this needs root: run it as root, or install sudo: $*"
    fi
}

have() { command -v "$1" >/dev/null 2>&1; }

# apt_install PACKAGE...: installs what is missing, one line for each.
apt_install() {
    local package missing=()
    for package in "$@"; do
        dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed && continue
        say "installing $package"
        missing+=("$package")
    done
    [ "${#missing[@]}" -eq 0 ] && return 0
    apt_refresh
    as_root env DEBIAN_FRONTEND=noninteractive DEBCONF_NOWARNINGS=yes apt-get install -qq -y --no-install-recommends \
        -o Dpkg::Use-Pty=0 "${missing[@]}" >/dev/null ||
        die "apt could not install: ${missing[*]}"
}

apt_refresh() {
    as_root apt-get update -qq || die "apt-get update failed: check this machine's apt sources"
}

# The host's Debian archives as "URI SUITE" lines, e.g. "http://… bookworm-security",
# read from apt's own view of its sources, so that every format of them is understood.
# apt lists only what it has fetched once: a fresh machine has to update first.
debian_archives() {
    [ -n "$(apt-get indextargets 'Created-By: Packages')" ] || apt_refresh
    # shellcheck disable=SC2016  # the dollars are apt's
    apt-get indextargets --format '$(SITE) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        awk '$3 == "main" { print $1, $2 }' | sort -u
}

# archive_for KIND: the archive that carries this host's release ("main"),
# or its security updates ("security"); empty when there is none.
archive_for() {
    local codename suite
    # shellcheck source=/dev/null
    codename=$(. /etc/os-release && printf '%s' "$VERSION_CODENAME")
    case "$1" in
    main) suite=$codename ;;
    security) suite=$codename-security ;;
    *) die "archive_for: no such kind: $1" ;;
    esac
    debian_archives | awk -v suite="$suite" '$2 == suite && !found { print $1; found = 1 }'
}
