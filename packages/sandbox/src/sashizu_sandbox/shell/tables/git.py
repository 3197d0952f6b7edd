"""git: what only looks at a repository, and the few changes that stay in it.

Its configuration, hooks, pagers, helpers and drivers start programs, and files of a repository
choose them. So none is used: what can be switched off by a variable is, for the rest there are
options, and options that switch something on are refused.
Source: the manual pages of git 2.39 to 2.51.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sashizu_sandbox.shell.tables.model import Table, each, never, table

__all__ = ["GIT"]

_CONFIGURATION = {
    "core.alternateRefsCommand": "false",
    "core.attributesFile": "/dev/null",
    "core.editor": "false",
    "core.fsmonitor": "false",
    "core.hooksPath": "/dev/null",
    "core.pager": "cat",
    "core.sshCommand": "false",
    "credential.helper": "",
    "commit.gpgSign": "false",
    "gpg.program": "false",
    "gpg.ssh.program": "false",
    "gpg.x509.program": "false",
    "interactive.diffFilter": "cat",
    "log.showSignature": "false",
    "protocol.allow": "never",
    "safe.bareRepository": "explicit",
    "safe.directory": "*",  # in a sandbox the files may seem to be somebody else's
    "sequence.editor": "false",
    "submodule.recurse": "false",
    "tag.gpgSign": "false",
}


def _environment() -> Mapping[str, str]:
    found = {
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_ASKPASS": "false",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_SYSTEM": "/dev/null",
        "GIT_EDITOR": "false",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_PAGER": "cat",
        "GIT_SEQUENCE_EDITOR": "false",
        "GIT_SSH_COMMAND": "false",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_COUNT": str(len(_CONFIGURATION)),
    }
    for at, (key, value) in enumerate(_CONFIGURATION.items()):
        found |= {f"GIT_CONFIG_KEY_{at}": key, f"GIT_CONFIG_VALUE_{at}": value}
    return found


_STARTS = "it starts a program that files of the repository name"
_WRITES = "it writes a file: the output is shown to you, write_file writes it"
_OUTSIDE = "it reads files as if there were no repository: use diff"
_REFUSED = {
    "--ext-diff": _STARTS,
    "--textconv": _STARTS,
    "--filters": _STARTS,
    "--show-signature": _STARTS,
    "--gpg-sign": _STARTS,
    "--trailer": _STARTS,
    "--open-files-in-pager": "it starts a program",
    "-O": "it starts a program, or reads a file for the order of files",
    "--orderfile": "it reads any file",
    "--output": _WRITES,
    "--output-directory": _WRITES,
    "--no-index": _OUTSIDE,
    "--exec": "it starts a program",
    "--upload-pack": "it starts a program",
    "--receive-pack": "it starts a program",
    "--remote": "it needs the network",
    "-i": "nobody can answer in here",
    "--interactive": "nobody can answer in here",
    "--patch-with-raw": "leave it out",
}
_QUIET = ("--no-ext-diff", "--no-textconv")

_DIFF_FLAGS = """
-p -u --patch -s --no-patch --raw --stat --shortstat --numstat --dirstat --summary --name-only
--name-status --no-renames --minimal --patience --histogram --indent-heuristic
--no-indent-heuristic --compact-summary --check --full-index --binary --color --no-color
--no-color-moved --word-diff -w --ignore-all-space -b --ignore-space-change --ignore-space-at-eol
--ignore-blank-lines --ignore-cr-at-eol -W --function-context -a --text -R --exit-code --quiet
--no-ext-diff --no-textconv --no-prefix --default-prefix -z --pickaxe-all --pickaxe-regex
--find-copies-harder --patch-with-stat --no-relative --relative --no-indent-heuristic
-D --irreversible-delete -q
"""
_DIFF_VALUES = """
-U --unified -S -G -l --diff-filter --diff-algorithm --anchored --inter-hunk-context --src-prefix
--dst-prefix --line-prefix --stat-width --stat-name-width --stat-count --find-object
--word-diff-regex --ws-error-highlight --skip-to --rotate-to --output-indicator-new
--output-indicator-old --output-indicator-context
"""
_DIFF_OPTIONAL = """
-M --find-renames -C --find-copies -B --break-rewrites --stat --dirstat --word-diff --color
--color-moved --color-moved-ws --abbrev --submodule --color-words --relative --ignore-matching-lines
-X
"""
_LOG_FLAGS = """
--oneline --graph --all --branches --tags --remotes --decorate --no-decorate --follow --merges
--no-merges --reverse --first-parent --abbrev-commit --no-abbrev-commit --no-abbrev --date-order
--topo-order --author-date-order --relative-date --parents --children --left-right --cherry
--cherry-mark --cherry-pick --left-only --right-only --boundary --simplify-by-decoration
--full-history --dense --sparse --simplify-merges --ancestry-path --show-pulls -g --walk-reflogs
--no-walk --not --source --use-mailmap --mailmap --no-mailmap --log-size --no-notes --notes
--clear-decorations --merge -i --regexp-ignore-case -E --extended-regexp -F --fixed-strings -P
--perl-regexp --all-match --invert-grep --no-expand-tabs --expand-tabs -m -c --cc --no-diff-merges
--combined-all-paths -t --ignore-missing --full-diff --show-linear-break -1
"""
_LOG_VALUES = """
-n --max-count --skip --since --after --until --before --author --committer --grep --grep-reflog
--date --format --encoding --min-parents --max-parents -L --exclude --glob --decorate-refs
--decorate-refs-exclude --diff-merges
"""
_LOG_OPTIONAL = """
--pretty --decorate --abbrev --no-walk --branches --tags --remotes --notes --show-notes
--expand-tabs --ancestry-path --since-as-filter --format --show-linear-break
"""

_READS: dict[str, object] = {
    "touches": ((".", "read"),),
    "refused": _REFUSED,
    "rest": "revision",
}
_LOOKS = {name: why for name, why in _REFUSED.items() if name != "-i"}


def _log(**more: object) -> Table:
    flags = _LOG_FLAGS + _DIFF_FLAGS
    values, optional = _LOG_VALUES + _DIFF_VALUES, _LOG_OPTIONAL + _DIFF_OPTIONAL
    settings = {**_READS, "refused": _LOOKS, "inserted": _QUIET, "numbers": True, **more}
    return table(flags, values, optional, **settings)  # type: ignore[arg-type]


def _looks(flags: str = "", values: str = "", optional: str = "", **more: object) -> Table:
    return table(flags, values, optional, **{**_READS, **more})  # type: ignore[arg-type]


def _changes(flags: str = "", values: str = "", optional: str = "", **more: object) -> Table:
    touches = ((".", "read"), (".git", "write"))
    return _looks(flags, values, optional, **{"touches": touches, **more})


_DIFF = _looks(
    _DIFF_FLAGS
    + "--cached --staged --merge-base -0 -1 -2 -3 --base --ours --theirs --no-merge-base",
    _DIFF_VALUES,
    _DIFF_OPTIONAL,
    inserted=(*_QUIET, "--ignore-submodules=all"),
)

_NETWORK = never("it needs the network, and starts helpers: nothing in here reaches it")
_ANY = never("it starts programs that the repository or its arguments name")
_SERVES = never("it serves others")

_CONTAINING = "-l --list --contains --no-contains --merged --no-merged"

_READING: dict[str, Table] = {
    "blame": _looks(
        "-l -t -s -e --show-email -w -f --show-name -n --show-number -p --porcelain -c -b "
        "--root --line-porcelain --score-debug --incremental --first-parent --color-lines "
        "--color-by-age --show-stats",
        "-L --since --ignore-rev --ignore-revs-file:read --date --contents:read --reverse",
        "-M -C --abbrev",
        inserted=("--no-textconv",),
    ),
    "branch": _looks(
        "-a --all -r --remotes -v -vv --verbose --show-current --no-color --no-column "
        "--ignore-case -i",
        f"--sort --format --points-at {_CONTAINING}",
        f"--color --column --abbrev {_CONTAINING}",
        rest=None,
        refused=_LOOKS,
    ),
    "cat-file": _looks("-t -s -e -p --batch-all-objects --unordered", "", "--batch --batch-check"),
    "check-ignore": _looks(
        "-q --quiet -v --verbose -n --non-matching --no-index --stdin -z", refused={}
    ),
    "config": _looks(
        "-l --list --get --get-all --get-regexp --show-origin --show-scope --name-only --local "
        "-z --null --bool --int --type=bool",
        "--default --type",
        operands="text",
        rest=None,
    ),
    "count-objects": _looks("-v --verbose -H --human-readable", rest=None),
    "describe": _looks(
        "--all --tags --contains --long --always --first-parent --exact-match",
        "--candidates --match --exclude",
        "--dirty --broken --abbrev",
    ),
    "diff": replace(_DIFF, numbers=False),
    "diff-tree": _log(),
    "for-each-ref": _looks(
        "--ignore-case --omit-empty",
        "--count --sort --format --points-at",
        "--contains --no-contains --merged --no-merged --color",
        rest="text",
    ),
    "grep": _looks(
        "--cached --untracked --no-exclude-standard --exclude-standard --no-recurse-submodules "
        "-a --text -i --ignore-case -I -w --word-regexp -v --invert-match -h -H --full-name -E "
        "--extended-regexp -G --basic-regexp -P --perl-regexp -F --fixed-strings -n "
        "--line-number --column -l --files-with-matches --name-only -L --files-without-match -z "
        "--null -o --only-matching -c --count --color --no-color --break --heading -p "
        "--show-function -W --function-context -q --quiet --and --or --not --all-match "
        "--no-textconv",
        "-m --max-count --max-depth --threads -A --after-context -B --before-context -C "
        "--context -f:read -e",
        "--color",
        operands="text",
        instead="-e -f",
        numbers=True,
        refused=_LOOKS,
        inserted=("--no-textconv",),
    ),
    "log": _log(),
    "ls-files": _looks(
        "-z -t -v -f -c --cached -d --deleted -m --modified -o --others -i --ignored -s --stage "
        "--directory --no-empty-directory -u --unmerged -k --killed --deduplicate --eol "
        "--full-name --error-unmatch --exclude-standard",
        "-x --exclude -X:read --exclude-from:read --format",
        "--abbrev",
        refused=_LOOKS,
    ),
    "ls-tree": _looks(
        "-d -r -t -l --long -z --name-only --name-status --object-only --full-name --full-tree",
        "--format",
        "--abbrev",
    ),
    "merge-base": _looks("-a --all --octopus --independent --is-ancestor --fork-point"),
    "name-rev": _looks("--tags --all --name-only --no-undefined --always", "--refs --exclude"),
    "reflog": _log(),
    "remote": table(
        "-v --verbose", touches=_READS["touches"], subcommands={"get-url": _looks("--all --push")}
    ),
    "rev-list": _log(inserted=()),
    "rev-parse": _looks(
        "--abbrev-ref --show-toplevel --show-prefix --show-cdup --git-dir --absolute-git-dir "
        "--git-common-dir --is-inside-work-tree --is-inside-git-dir --is-bare-repository "
        "--is-shallow-repository --verify -q --quiet --short --symbolic --symbolic-full-name "
        "--all --branches --tags --remotes --show-object-format "
        "--show-superproject-working-tree",
        "--since --until --default",
        "--short --abbrev-ref --branches --tags --remotes --glob --exclude --disambiguate",
    ),
    "shortlog": _looks(
        "-n --numbered -s --summary -e --email -c --committer --all --branches --tags --no-merges "
        "--merges --first-parent",
        "--since --until --after --before --group --format --author --max-count",
        refused=_LOOKS,
    ),
    "show": _log(),
    "show-ref": _looks(
        "--head --heads --branches --tags -d --dereference --verify -q --quiet",
        "",
        "-s --hash --abbrev",
    ),
    "stash": table(
        alone=((".", "write"), (".git", "write")),
        touches=_READS["touches"],
        subcommands={
            "list": _log(inserted=()),
            "show": _log(),
            "push": _changes(
                "-u --include-untracked -a --all -k --keep-index --no-keep-index -q --quiet -S "
                "--staged",
                "-m --message",
                touches=((".", "write"), (".git", "write")),
            ),
            "pop": _changes("-q --quiet --index", touches=((".", "write"), (".git", "write"))),
            "apply": _changes("-q --quiet --index", touches=((".", "write"), (".git", "write"))),
        },
    ),
    "status": _looks(
        "-s --short -b --branch --show-stash --long -v --verbose -z --ahead-behind "
        "--no-ahead-behind --renames --no-renames --no-column -u",
        "",
        "--porcelain -u --untracked-files --ignored --column --find-renames",
        inserted=("--ignore-submodules=all",),
    ),
    "tag": _looks(
        "-i --ignore-case --no-column",
        f"--sort --format --points-at {_CONTAINING}",
        f"-n --color --column {_CONTAINING}",
        rest=None,
        refused=_LOOKS,
    ),
    "version": table("--build-options"),
    "whatchanged": _log(),
    "worktree": table(
        touches=_READS["touches"],
        subcommands={"list": _looks("-v --verbose --porcelain -z", rest=None)},
    ),
}

_IDENTITY = {
    f"GIT_{role}_{part}": value
    for role in ("AUTHOR", "COMMITTER")
    for part, value in (("NAME", "sashizu agent"), ("EMAIL", "agent@sashizu.invalid"))
}

_BOTH = ((".", "write"), (".git", "write"))

_CHANGING: dict[str, Table] = {
    "add": _changes(
        "-A --all -u --update -n --dry-run -v --verbose -N --intent-to-add -f --force "
        "--ignore-errors"
    ),
    "checkout": _changes(
        "-q --quiet --detach -d --no-progress --ours --theirs --no-track -f --force",
        "-b -B --orphan",
        touches=_BOTH,
    ),
    "commit": _changes(
        "-a --all -q --quiet -v --verbose --amend --no-edit --allow-empty --dry-run --short "
        "--branch -n --no-verify -s --signoff --no-gpg-sign --no-status",
        "-m --message -F:read --file:read -C --reuse-message --fixup --squash --date --author "
        "--cleanup",
        environment=_IDENTITY,
    ),
    "init": _changes("-q --quiet", "-b --initial-branch", rest="write"),
    "mv": _changes("-f --force -k -n --dry-run -v --verbose", rest="write"),
    "reset": _changes("-q --quiet --soft --mixed --hard --keep -N", touches=_BOTH),
    "restore": _changes(
        "-S --staged -W --worktree -q --quiet --ours --theirs --no-progress",
        "-s --source",
        touches=_BOTH,
    ),
    "rm": _changes("-f --force -n --dry-run -r --cached --ignore-unmatch -q --quiet", rest="write"),
    "switch": _changes(
        "-q --quiet -d --detach --no-progress --no-guess -f --force --discard-changes",
        "-c --create -C --force-create --orphan",
        touches=_BOTH,
    ),
}

_NEVER: dict[str, Table] = {
    **each("clone fetch pull push ls-remote submodule", _NETWORK),
    **each("remote-ext remote-fd remote-http remote-https", _NETWORK),
    **each("fetch-pack send-pack send-email imap-send p4 svn", _NETWORK),
    **each("bisect filter-branch difftool mergetool rebase hook", _ANY),
    **each("gui citool instaweb web--browse help for-each-repo", _ANY),
    **each("interpret-trailers credential maintenance archimport", _ANY),
    **each("daemon upload-pack receive-pack http-backend shell", _SERVES),
}

_HERE = "the repository is the one of the folder it runs in: give cwd"
_CONFIGURED = "configuration of git starts programs"

GIT = table(
    "--version --literal-pathspecs --no-optional-locks --no-replace-objects",
    dropped="--no-pager -P --no-optional-locks",
    refused={
        "-c": _CONFIGURED,
        "--config-env": _CONFIGURED,
        "--exec-path": "it names the folder that git's programs are taken from",
        "-p": "there is no terminal to page on",
        "--paginate": "there is no terminal to page on",
        "-C": _HERE,
        "--git-dir": _HERE,
        "--work-tree": _HERE,
        "--namespace": _HERE,
        "--bare": _HERE,
    },
    environment=_environment(),
    subcommands={**_READING, **_CHANGING, **_NEVER},
)
