# Output, root access and apt for the scripts in this folder.
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
        die "root required; run as root, or install sudo: $*"
    fi
}

have() { command -v "$1" >/dev/null 2>&1; }

# apt_install PACKAGE...: install missing packages, printing one line for each.
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
        die "apt-get install failed: ${missing[*]}"
}

apt_refresh() {
    as_root apt-get update -qq || die "apt-get update failed; check the apt sources of this machine"
}

# Print the host's Debian archives as "URI SUITE" lines, e.g. "http://… bookworm-security".
# They are read from apt, which understands every format of its sources. apt lists only
# archives that it has fetched, so a fresh machine is updated first.
debian_archives() {
    [ -n "$(apt-get indextargets 'Created-By: Packages')" ] || apt_refresh
    # shellcheck disable=SC2016  # expanded by apt
    apt-get indextargets --format '$(SITE) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        awk '$3 == "main" { print $1, $2 }' | sort -u
}

# archive_for KIND: print the archive of this host's release ("main") or of its
# security updates ("security"), or nothing.
archive_for() {
    local codename suite
    # shellcheck source=/dev/null
    codename=$(. /etc/os-release && printf '%s' "$VERSION_CODENAME")
    case "$1" in
    main) suite=$codename ;;
    security) suite=$codename-security ;;
    *) die "archive_for: unknown kind: $1" ;;
    esac
    debian_archives | awk -v suite="$suite" '$2 == suite && !found { print $1; found = 1 }'
}
