#!/bin/sh
# Builds the wheel, installs it with the locked dependencies in a clean environment
# outside the checkout, and uses it there as a new user would.
#
# Run by `make wheel-test`, which has made .venv with uv and hatchling in it.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
uv=$root/.venv/bin/uv
work=$(cd "$(mktemp -d)" && pwd -P)
mkdir "$work/dist" "$work/home" "$work/elsewhere"

# A user's shell, and nothing of ours: no PYTHONPATH, no settings, another folder.
as_user() {
    (cd "$work/elsewhere" && env -i HOME="$work/home" PATH="$work/venv/bin:/usr/bin:/bin" \
        ANTHROPIC_API_KEY=dummy-anthropic-key ZAI_API_KEY=dummy-zai-key "$@")
}

# The demo must end by itself; a hanging one is a failure, not a stuck build.
within() {
    seconds=$1
    shift
    as_user "$work/venv/bin/python" -c '
import subprocess, sys
sys.exit(subprocess.run(sys.argv[2:], timeout=float(sys.argv[1])).returncode)' "$seconds" "$@"
}

fail() {
    echo "wheel smoke test: $1" >&2
    exit 1
}

clean_up() {
    if [ -x "$work/venv/bin/llmswitch" ]; then
        as_user llmswitch down >/dev/null 2>&1 || :
    fi
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

cd "$root"
# The wheel is built from the unpacked sdist, so a file that the sdist lacks is missed here.
"$uv" build --quiet --no-build-isolation --python .venv/bin/python --out-dir "$work/dist"
"$uv" export --quiet --frozen --no-dev --no-emit-project --output-file "$work/locked.txt"
"$uv" venv --quiet --python .venv/bin/python "$work/venv"
"$uv" pip install --quiet --python "$work/venv" --require-hashes -r "$work/locked.txt"
"$uv" pip install --quiet --python "$work/venv" --no-deps --no-index "$work"/dist/*.whl

package=$(as_user python -c 'import llmswitch; print(*llmswitch.__path__)')
case $package in
"$work"/venv/*) ;;
*) fail "imported from $package, not from the clean environment" ;;
esac
for file in $(find templates profiles -type f); do
    cmp -s "$file" "$package/$file" || fail "$file is not in the wheel"
done
for file in uv.lock Makefile CHANGELOG.md tests/wheel_smoke.sh; do
    tar -tzf "$work"/dist/*.tar.gz | grep -q "/$file\$" || fail "$file is not in the sdist"
done

as_user llmswitch --version
as_user llmswitch render --profile claude-glm >"$work/rendered"
[ -s "$work/rendered" ] || fail "render printed nothing"
if grep -q 'dummy-[a-z]*-key' "$work/rendered"; then
    fail "render printed the value of a key"
fi
within 180 llmswitch try
echo "wheel smoke test: passed"
