#!/bin/sh
# Makes the virtual environment with a Python that fits, or says in one sentence what is missing.
#
#   tools/venv.sh make FOLDER [PYTHON]    make FOLDER, or make it again if another Python made it
#   tools/venv.sh state FOLDER [PYTHON]   print `outdated` if `make` would replace an existing FOLDER
#
# With PYTHON, only that one is used. Otherwise the first of the list below that is new enough.
set -eu

MINIMUM=11  # Python 3.11, as `requires-python` in pyproject.toml says
CANDIDATES="python3 python3.13 python3.12 python3.11 python3.14"  # the newest last: libraries may not support it yet
HINT="Install one, or name one that you have: make install PYTHON=/path/to/python3.12"

# `MAJOR MINOR VERSION CAN_MAKE_VENV INSTALLATION`; the code runs on every Python since 2.7.
PROBE='
import sys
try:
    import ensurepip, venv
    able = "yes"
except ImportError:
    able = "no"
version = ".".join(str(part) for part in sys.version_info[:3])
print("%d %d %s %s %s" % (sys.version_info[0], sys.version_info[1], version, able, getattr(sys, "base_prefix", "")))
'

probe() { "$1" -c "$PROBE" 2>/dev/null; }

fail() {
    echo "$1" >&2
    exit 1
}

# Sets `major`, `minor`, `version`, `able` and `installation`; fails if the program does not run.
inspect() {
    facts=$(probe "$1") || return 1
    read -r major minor version able installation <<END
$facts
END
    [ -n "$version" ]
}

fits() { [ "$major" -eq 3 ] && [ "$minor" -ge "$MINIMUM" ]; }

# Prints the Python to use.
choose() {
    if [ -n "$1" ]; then
        inspect "$1" || fail "PYTHON=$1 does not run. video-gateway needs Python 3.$MINIMUM or newer. $HINT"
        fits || fail "PYTHON=$1 is Python $version, but video-gateway needs Python 3.$MINIMUM or newer. $HINT"
        [ "$able" = yes ] || fail "$(without_venv "$1")"
        echo "$1"
        return
    fi
    seen="" unable=""
    for candidate in $CANDIDATES; do
        inspect "$candidate" || continue
        if fits && [ "$able" = yes ]; then
            echo "$candidate"
            return
        fi
        if fits; then
            unable=${unable:-$candidate}
        else
            seen="$seen $candidate is $version,"
        fi
    done
    [ -z "$unable" ] || { inspect "$unable"; fail "$(without_venv "$unable")"; }
    fail "video-gateway needs Python 3.$MINIMUM or newer;${seen:- none was found,} and no newer one is on the PATH. $HINT"
}

without_venv() {
    echo "$1 is Python $version, but it cannot make a virtual environment (ensurepip is missing);" \
        "on Debian and Ubuntu: apt install python3.$minor-venv"
}

# Whether FOLDER exists and has to be replaced: its Python does not run, is too old, or is not the PYTHON asked for.
is_outdated() {
    [ -e "$1/pyvenv.cfg" ] || return 1
    inspect "$1/bin/python" || return 0
    fits || return 0
    [ -n "$2" ] || return 1
    made_with="$installation $version"
    inspect "$2" || return 0  # `make` then says what is wrong with it
    [ "$made_with" != "$installation $version" ]
}

command=$1 folder=$2 python=${3:-}
case $command in
state)
    if is_outdated "$folder" "$python"; then echo outdated; fi
    ;;
make)
    if is_outdated "$folder" "$python"; then
        python=$(choose "$python")
        echo "$folder was made by another Python; making it again with $python" >&2
        rm -rf "$folder"
    elif [ -x "$folder/bin/python" ]; then
        exit 0
    else
        python=$(choose "$python")
    fi
    "$python" -m venv "$folder"
    ;;
*) fail "usage: tools/venv.sh make|state FOLDER [PYTHON]" ;;
esac
