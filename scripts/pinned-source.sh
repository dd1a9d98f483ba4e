#!/usr/bin/env bash
# Sourced by scripts/fetch-*: gets one pinned source tarball, checks it, and builds it once into
# build/<package>/<version>-<stamp>. The script that sources it sets
#   name, package, version, release       what messages call it; Debian's name; number; upstream's tag
#   sha256, url, suites                    the pin; upstream's file; Debian suites that have the same file
#   kept, given, product                   the tarball in build/<package>/; the variable that may name
#                                          another one; the file that a complete build has
# and defines print_stamp, whose output decides whether there is a build already, and compile, which
# runs in the unpacked source and installs into the directory $1 what will be found in $2.
# Then it calls main "$@".

top=$(cd "$(dirname "$0")/.." && pwd -P)
# shellcheck disable=SC2154 # set by the script that sources this
dir=$top/build/$package
log=$dir/build.log

say() { printf '==> %s: %s\n' "$name" "$*" >&2; }

fail() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

checksum_ok() { echo "$sha256  $1" | sha256sum --check --status -; }

# --- where the source comes from: each puts it into $1 or returns false --------------------------

from_file() {
    local file=${!given:-}
    [ -n "$file" ] || return 1
    [ -r "$file" ] || fail "$given=$file cannot be read"
    checksum_ok "$file" ||
        fail "$given=$file is not the release $release: its sha256 is" \
            "$(sha256sum <"$file" | cut -d' ' -f1), it should be $sha256"
    cp -- "$file" "$1"
}

from_upstream() {
    command -v curl >/dev/null || return 1
    say "fetching $url"
    curl --fail --silent --show-error --location --connect-timeout 5 \
        --speed-limit 10000 --speed-time 20 --max-time 600 --output "$1" "$url" >&2
}

# The .orig.tar of Debian's source package is the same file. The machine's own mirror is asked through
# a sources list and package lists of our own, so nothing of the machine's apt set-up is changed.
from_debian() {
    local apt=$dir/apt keyring=/usr/share/keyrings/debian-archive-keyring.gpg mirror suite revision
    command -v apt-get >/dev/null && [ -r "$keyring" ] || return 1
    for mirror in $(debian_mirrors); do
        for suite in $suites; do
            rm -rf "$apt"
            mkdir -p "$apt/lists/partial" "$apt/archives/partial"
            echo "deb-src [signed-by=$keyring] $mirror $suite main" >"$apt/sources.list"
            say "looking for the source package of $version in Debian $suite (about 10 MB of lists)"
            (
                cd "$apt"
                options=(-q -o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
                    -o Dir::State::Lists="$apt/lists" -o Dir::Cache::Archives="$apt/archives"
                    -o Dir::Cache::PkgCache= -o Dir::Cache::SrcPkgCache= -o APT::Sandbox::User=
                    -o Acquire::Languages=none)
                apt-get "${options[@]}" update
                revision=$(apt-cache "${options[@]}" showsrc "$package" |
                    sed -n "s/^Version: \($version-.*\)/\1/p" | head -n 1)
                [ -n "$revision" ] || exit 1
                apt-get "${options[@]}" source --tar-only --download-only "$package=$revision"
            ) >"$dir/apt.log" 2>&1 || continue
            mv "$apt/${package}_$version.orig.tar.${kept##*.tar.}" "$1" && rm -rf "$apt" && return 0
        done
    done
    rm -rf "$apt"
    return 1
}

# The mirrors that this machine's apt uses, without those of security updates. --print-uris needs no
# package lists, so this works where `apt-get update` never ran.
debian_mirrors() {
    local empty=$dir/apt-empty
    mkdir -p "$empty/partial"
    apt-get -o Dir::State::Lists="$empty" update --print-uris 2>/dev/null |
        sed -n "s,^'\(.*\)/dists/.*,\1,p" | grep '/debian/*$' | sort -u || true
    rm -rf "$empty"
}

fetch() {
    local new=$dir/$kept.new source
    for source in from_file kept from_upstream from_debian; do
        if [ $source = kept ]; then
            if [ -f "$dir/$kept" ] && checksum_ok "$dir/$kept"; then return 0; fi
            continue
        fi
        rm -f "$new"
        $source "$new" || continue
        if checksum_ok "$new"; then
            mv "$new" "$dir/$kept"
            say "source verified (sha256 ${sha256:0:16}...)"
            return 0
        fi
        say "what came ${source/_/ } is not the pinned release (wrong sha256), ignored"
    done
    rm -f "$new"
    fail "no source of $name $release could be had: not upstream ($url), and not as Debian source" \
        "package (see $dir/apt.log). Get $package $version from either by hand, put it anywhere" \
        "and name it: $given=/path/to/$kept (sha256 $sha256)"
}

# Runs one long command with its output in the log, and a sign of life every few seconds.
step() {
    local what=$1 started=$SECONDS pid
    shift
    say "$what"
    "$@" >>"$log" 2>&1 9>&- &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        sleep 0.5
        if [ $(((SECONDS - started) % 10)) -eq 9 ]; then
            say "$what ($((SECONDS - started + 1)) s)"
            sleep 1
        fi
    done
    if ! wait "$pid"; then
        tail -n 25 "$log" >&2
        fail "$what failed, see above and $log. Are all packages there? scripts/install-packages build"
    fi
}

need() {
    local tool
    for tool in "$@"; do
        command -v "$tool" >/dev/null || fail "'$tool' is missing; run: scripts/install-packages build"
    done
}

build() {
    local prefix=$1 work=$dir/work-$$
    # shellcheck disable=SC2064 # $work is known now
    trap "rm -rf '$work' '$prefix.new'" EXIT
    rm -rf "$work" "$prefix.new"
    mkdir -p "$work"
    : >"$log"
    step "unpacking" tar -xf "$dir/$kept" -C "$work" --strip-components=1
    cd "$work"
    compile "$prefix.new" "$prefix"
    cd "$top"
    mv "$prefix.new" "$prefix"
    say "built in $prefix"
}

main() {
    local prefix
    mkdir -p "$dir"
    exec 9>"$dir/.lock"
    if ! flock --nonblock 9; then
        say "waiting for another build of it to finish"
        flock 9
    fi
    if [ "${1:-}" = --source ]; then
        fetch
        echo "$dir/$kept"
        return
    fi
    prefix=$dir/$version-$(print_stamp | sha256sum | cut -c1-12)
    if [ ! -f "$prefix/$product" ]; then
        fetch
        build "$prefix"
    fi
    echo "$prefix"
}
