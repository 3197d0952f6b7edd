"""Programs that search: find, grep, ripgrep, fd, ag.

Sources: the manuals of GNU findutils 4.9 and GNU grep 3.8, ripgrep 13 to 15, fd 8 to 10.
"""

from __future__ import annotations

from sashizu_sandbox.shell.tables.model import Table, table

__all__ = ["SEARCH"]

_RUNS = "it starts a program for each file: list the files, then run it on those you choose"
_WRITES = "it writes a file: the output is shown to you, write_file writes it"
_REMOVES = "it removes what it finds: list the files, then use rm on those you choose"

_FIND = table(
    "-H -L -P",
    "-name -iname -path -ipath -wholename -iwholename -regex -iregex -regextype -lname -ilname "
    "-type -xtype -fstype -size -mtime -mmin -atime -amin -ctime -cmin -maxdepth -mindepth "
    "-newermt -perm -user -group -uid -gid -links -inum -printf -used -newer:read -anewer:read "
    "-cnewer:read -samefile:read",
    "-print -print0 -ls -prune -quit -empty -readable -writable -executable -nouser -nogroup "
    "-true -false -depth -d -xdev -mount -daystart -ignore_readdir_race -noleaf -follow -warn "
    "-nowarn ! ( ) , -not -a -and -o -or",
    rest="read",
    reads_cwd="always",
    style="find",
    refused={
        "-exec": _RUNS,
        "-execdir": _RUNS,
        "-ok": _RUNS,
        "-okdir": _RUNS,
        "-delete": _REMOVES,
        "-fprint": _WRITES,
        "-fprint0": _WRITES,
        "-fprintf": _WRITES,
        "-fls": _WRITES,
        "-files0-from": "it reads the folders to search from a file: name them",
    },
)

_GREP = table(
    "-E --extended-regexp -F --fixed-strings -G --basic-regexp -P --perl-regexp -i "
    "--ignore-case --no-ignore-case -v --invert-match -w --word-regexp -x --line-regexp -c "
    "--count -L --files-without-match -l --files-with-matches -o --only-matching -q --quiet "
    "--silent -s --no-messages -b --byte-offset -H --with-filename -h --no-filename -n "
    "--line-number -T --initial-tab -Z --null -z --null-data -a --text -I -r --recursive -R "
    "--dereference-recursive -U --binary --line-buffered --no-group-separator -V --version "
    "--help -y",
    "-e --regexp -f:read --file:read -m --max-count -A --after-context -B --before-context -C "
    "--context --label -d --directories -D --devices --include --exclude --exclude-from:read "
    "--exclude-dir --binary-files --group-separator",
    "--color --colour",
    operands="text",
    rest="read",
    instead="-e --regexp -f --file",
    numbers=True,
    reads_cwd="with",
    walking="-r --recursive -R --dereference-recursive -d --directories",
)

_RG_STARTS = "it starts a program"
_RG = table(
    "-i --ignore-case -s --case-sensitive -S --smart-case -v --invert-match -w --word-regexp -x "
    "--line-regexp -F --fixed-strings --no-fixed-strings -P --pcre2 -c --count --count-matches "
    "-l --files-with-matches --files-without-match -o --only-matching -q --quiet -n "
    "--line-number -N --no-line-number -H --with-filename -I --no-filename --column --no-column "
    "--heading --no-heading -p --pretty --no-config -u --unrestricted --hidden -. --no-hidden "
    "--no-ignore --no-ignore-vcs --no-ignore-parent --no-ignore-dot --no-ignore-global "
    "--no-messages -L --follow --no-follow -a --text --binary -U --multiline --multiline-dotall "
    "--trim --vimgrep --json --stats --no-stats --files --type-list -0 --null --null-data "
    "--crlf --passthru --line-buffered --block-buffered --sort-files --one-file-system "
    "--glob-case-insensitive --no-unicode --unicode --no-mmap --mmap -b --byte-offset "
    "--include-zero --version -V --help -h --no-require-git --no-context-separator "
    "--max-columns-preview --stop-on-nonmatch --debug",
    "-e --regexp -f:read --file:read -g --glob --iglob -t --type -T --type-not --type-add "
    "--type-clear -A --after-context -B --before-context -C --context -m --max-count -d "
    "--max-depth --maxdepth --max-filesize -M --max-columns -r --replace -j --threads -E "
    "--encoding --color --colors --sort --sortr --engine --ignore-file:read --path-separator "
    "--context-separator --field-match-separator --field-context-separator --dfa-size-limit "
    "--regex-size-limit --hyperlink-format",
    operands="text",
    rest="read",
    instead="-e --regexp -f --file --files --type-list",
    reads_cwd="alone",
    walking="--files",
    refused={
        "--pre": _RG_STARTS,
        "--pre-glob": _RG_STARTS,
        "--hostname-bin": _RG_STARTS,
        "-z": _RG_STARTS,
        "--search-zip": _RG_STARTS,
    },
    inserted=("--no-config",),
)

_FD = table(
    "-H --hidden -I --no-ignore -u --unrestricted --no-ignore-vcs -s --case-sensitive -i "
    "--ignore-case -g --glob --regex -F --fixed-strings -a --absolute-path -l --list-details -L "
    "--follow -p --full-path -0 --print0 --prune -1 -q --quiet --show-errors --one-file-system "
    "--strip-cwd-prefix -V --version",
    "-d --max-depth --min-depth --exact-depth -E --exclude -t --type -e --extension -S --size "
    "--changed-within --changed-before -o --owner -c --color -j --threads --max-results "
    "--ignore-file:read --search-path:read --path-separator",
    operands="text",
    rest="read",
    reads_cwd="always",
    refused=dict.fromkeys(("-x", "--exec", "-X", "--exec-batch"), _RUNS),
)

SEARCH: dict[str, Table] = {
    "find": _FIND,
    "grep": _GREP,
    "egrep": _GREP,
    "fgrep": _GREP,
    "rg": _RG,
    "fd": _FD,
    "fdfind": _FD,
}
