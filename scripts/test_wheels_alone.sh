#!/usr/bin/env bash
# Builds every wheel once and tests each in a clean environment of its own: what it imports must be
# what it declares. Third-party versions are those of uv.lock; our own come from the build alone.
#
#     scripts/test_wheels_alone.sh [MEMBER...]      default: all of packages/*
#
# PYTHON names an interpreter to run the tests on; the modules are imported on uv's default as well,
# since what a wheel declares may differ between the two.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
uv=${UV:-$(command -v uv || echo "$PWD/.uv/bin/uv")}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

members=("$@")
[ "${#members[@]}" -gt 0 ] || mapfile -t members < <(cd packages && ls -d -- */ | tr -d /)

"$uv" build --quiet --all-packages --wheel --out-dir "$work/dist"
"$uv" export --quiet --locked --no-hashes --only-group test >"$work/test.txt"
"$uv" export --quiet --locked --no-hashes --all-packages --all-extras --no-emit-workspace \
  >"$work/locked.txt"
for wheel in "$work"/dist/*.whl; do
  name=$(basename "$wheel")
  echo "$(tr _ - <<<"${name%%-*}") @ file://$wheel"
done >"$work/ours.txt"

install() { # ENVIRONMENT PYTHON REQUIREMENT...: into a new environment
  "$uv" venv --quiet ${2:+--python "$2"} "$1"
  "$uv" pip install --quiet --python "$1/bin/python" \
    --constraint "$work/locked.txt" --override "$work/ours.txt" "${@:3}"
}

import_all() { # ENVIRONMENT MODULE
  "$1/bin/python" -P -c "
import importlib, pkgutil, $2 as package
for found in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):
    if '._winrt' not in found.name: # what these import is for Windows only
        importlib.import_module(found.name)"
}

test_metapackage() { # no code of its own: what it brings must run
  local place=$work/all version
  install "$place" "${PYTHON:-}" "$work"/dist/sashizu-[0-9]*.whl
  version=$("$place/bin/sashizu" --version)
  [ "$version" = "sashizu $("$uv" version --short --package sashizu)" ]
  echo "$version"
}

test_alone() { # MEMBER
  local module=sashizu_${1//-/_} place=$work/$1
  local wheels=("$work/dist/$module"-*.whl)
  if [ -n "${PYTHON:-}" ]; then
    install "$place" '' -r "$work/test.txt" "${wheels[@]}"
    import_all "$place" "$module"
    rm -rf "$place"
  fi
  install "$place" "${PYTHON:-}" -r "$work/test.txt" "${wheels[@]}"
  import_all "$place" "$module"
  local run=("$place/bin/python" -P -m pytest -q -c pyproject.toml "packages/$1/tests")
  "${run[@]}" || "${run[@]}" --last-failed -n 0 # what fails is named, and has one more start
}

for member in "${members[@]}"; do
  echo "-- $member"
  if [ "$member" = all ]; then test_metapackage; else test_alone "$member"; fi
  rm -rf "${work:?}/$member"
done
