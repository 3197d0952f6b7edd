"""Interpreters, test runners, build tools and package managers: whatever else they are, any code.

What they run is what they are given, and what they find in files. They are bounded by the sandbox
alone, so only what would lead them past the words of a grant is refused here.
"""

from __future__ import annotations

from sashizu_sandbox.shell.tables.model import Table, code, each, table

__all__ = ["BUILDING"]

_SHELL = "it names another program to run scripts with"
_TOOL = "it names another program to compile with"

_PACKAGE_MANAGER = code(
    {
        "--script-shell": _SHELL,
        "--shell": _SHELL,
        "--node-options": "it loads other code into node",
        "--git": _SHELL,
        "--globalconfig": "configuration names programs",
        "--userconfig": "configuration names programs",
    }
)
_GO = code({"-toolexec": _TOOL, "--toolexec": _TOOL, "-exec": _TOOL, "--exec": _TOOL})
_CARGO = code({"--config": "configuration names programs"})
_MAKE = code(
    {
        "--eval": "it is given rules to run: write them to a file",
        "-E": "it is given rules to run: write them to a file",
    }
)

_PLAIN = """
awk gawk mawk nawk perl ruby php lua luajit Rscript julia node nodejs deno bun tsx ts-node java
javac groovy scala kotlin kotlinc swift dotnet elixir mix erl ghc runghc stack cabal ocaml dune opam
python python3 pypy pypy3 ipython bash sh dash zsh ksh fish pwsh tclsh
pytest py.test tox nox unittest coverage hatch pdm poetry pipenv pip pip3 pipx uv uvx flit twine
build pre-commit mypy dmypy pyright basedpyright pylint flake8 black isort bandit vulture
sphinx-build mkdocs cython maturin meson cibuildwheel scriv towncrier
npx jest vitest mocha ava tap karma cypress playwright eslint prettier tsc vite webpack rollup
esbuild babel turbo nx lerna gulp grunt standard xo biome
cmake ctest ninja bazel gradle gradlew mvn ant sbt rake bundle rspec rails gem composer phpunit
sqlite3 pandoc latex pdflatex xelatex latexmk
gcc g++ cc c++ clang clang++ rustc rustfmt ld as just task invoke
"""

_RUFF_VALUES = """
--select --ignore --extend-select --extend-ignore --per-file-ignores --fixable --unfixable --exclude
--extend-exclude --line-length --target-version --output-format --range -e --stdin-filename
--config:read --extension
"""
_RUFF = table(
    "-q --quiet -v --verbose -s --silent -V --version -n --no-cache --isolated",
    "--config:read",
    subcommands={
        "check": table(
            "--fix --no-fix --unsafe-fixes --no-unsafe-fixes --show-fixes --diff --statistics "
            "--preview --no-preview --no-cache -n --isolated --exit-zero --exit-non-zero-on-fix "
            "--show-files --show-settings -q --quiet -v --verbose -s --silent "
            "--no-respect-gitignore --force-exclude --ignore-noqa --add-noqa --fix-only",
            _RUFF_VALUES + "-o:write --output-file:write",
            rest="read",
            reads_cwd="always",
            writing="--fix --add-noqa --fix-only",
            environment={"RUFF_NO_CACHE": "true"},
        ),
        "format": table(
            "--check --diff --preview --no-preview --no-cache -n --isolated -q --quiet -v "
            "--verbose",
            _RUFF_VALUES,
            rest="write",
            looking="--check --diff",
            reads_cwd="always",
            environment={"RUFF_NO_CACHE": "true"},
        ),
        "rule": table("--all", "--output-format", rest="text"),
        "linter": table("", "--output-format"),
        "version": table("", "--output-format"),
    },
)

BUILDING: dict[str, Table] = {
    **each(_PLAIN, code()),
    **each("npm pnpm yarn", _PACKAGE_MANAGER),
    "cargo": _CARGO,
    "go": _GO,
    **each("make gmake", _MAKE),
    "ruff": _RUFF,
}
