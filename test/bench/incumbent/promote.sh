#!/usr/bin/env bash
# The incumbent: the promote job that canary-verify replaces, written anew from
# its description. For each image one crane process after another: the digest of
# the source, the digest of the target before, the move, the digest after.
#
# IMAGES is a list of repositories, separated by blanks; SOURCE_TAG and
# TARGET_TAG are tags; CRANE is the program.
set -euo pipefail

read -ra images <<<"$IMAGES"
for image in "${images[@]}"; do
  wanted=$("$CRANE" digest "$image:$SOURCE_TAG")
  before=$("$CRANE" digest "$image:$TARGET_TAG" 2>/dev/null || echo none)
  "$CRANE" tag "$image:$SOURCE_TAG" "$TARGET_TAG" 2>/dev/null
  after=$("$CRANE" digest "$image:$TARGET_TAG")
  echo "$image: $before -> $after"
  [ "$after" = "$wanted" ]
done
