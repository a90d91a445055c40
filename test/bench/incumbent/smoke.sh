#!/usr/bin/env bash
# The incumbent: the smoke script that canary-verify replaces, written anew from
# its description, with its own way of working: tenants one after another, six
# requests each, one curl process a request, answers judged with grep.
#
# Two of its faults are left out because they would only make it fail, not
# faster: it sends the org header, and it looks for the memory that it stored.
#
# CANARY_TENANT_URLS, CANARY_ADMIN_TOKENS and CANARY_ORG_IDS are lists of equal
# length, separated by blanks.
set -euo pipefail

read -ra urls <<<"$CANARY_TENANT_URLS"
read -ra tokens <<<"$CANARY_ADMIN_TOKENS"
read -ra orgs <<<"$CANARY_ORG_IDS"
failed=0

# check NAME WANTED ANSWER
check() {
  if grep -q "$2" <<<"$3"; then
    echo "  pass $1"
  else
    echo "  FAIL $1: no $2 in ${3:0:300}"
    failed=1
  fi
}

for i in "${!urls[@]}"; do
  url=${urls[$i]}
  org="X-Molecule-Org-Id: ${orgs[$i]}"
  bearer="Authorization: Bearer ${tokens[$i]}"
  echo "canary $url"

  answer=$(curl -sS --max-time 10 -H "$org" -H "$bearer" "$url/admin/liveness")
  check liveness '"subsystems"' "$answer"

  answer=$(curl -sS --max-time 10 -H "$org" -H "$bearer" "$url/workspaces")
  check workspaces '\[' "$answer"

  probe=$(tr -dc a-z </dev/urandom | head -c 16 || true)
  answer=$(curl -sS --max-time 10 -H "$org" -H "$bearer" -H 'Content-Type: application/json' \
    -d "{\"scope\":\"LOCAL\",\"namespace\":\"canary-smoke\",\"content\":\"probe $probe\"}" "$url/memories/commit")
  check 'memory commit' '"id"' "$answer"

  answer=$(curl -sS --max-time 10 -H "$org" -H "$bearer" "$url/memories/search?query=$probe")
  check 'memory search' "$probe" "$answer"

  answer=$(curl -sS --max-time 10 -H "$org" -H "$bearer" "$url/events")
  check events '\[' "$answer"

  answer=$(curl -sS --max-time 10 -o /dev/null -w '%{http_code}' -H "$org" "$url/admin/liveness")
  check 'no bearer' '^401$' "$answer"
done
exit "$failed"
