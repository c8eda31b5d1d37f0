#!/bin/sh
# Compares the digest of the base image in a Dockerfile with the one that the registry has for its tag now.
# Exits with 0 if they are equal, 1 if there is a newer image, 2 if the registry or docker cannot answer.
set -eu
image=$(sed -n 's/^ARG PYTHON=//p' "${1:-Dockerfile}")
tag=${image%@*} pinned=${image#*@}
case $pinned in sha256:*) ;; *) echo "the base image $image has no digest" >&2; exit 2 ;; esac
if ! current=$(docker buildx imagetools inspect "$tag" --format '{{.Manifest.Digest}}'); then
    echo "the digest of $tag cannot be read from the registry" >&2
    exit 2
fi
if [ "$current" != "$pinned" ]; then
    echo "$tag is $current now; Dockerfile has $pinned: set it in ARG PYTHON and build again" >&2
    exit 1
fi
echo "$tag is still $pinned"
