"""Programs that show and rework text.

Source: the manuals of GNU coreutils 9, diffutils 3.8, sed 4.9, and jq 1.6 to 1.8.
"""

from __future__ import annotations

from sashizu_sandbox.shell.tables.model import Table, table

__all__ = ["TEXT"]

_STARTS = "it starts a program"
_SUMS = table(
    "-b --binary -c --check -t --text -z --zero --tag --ignore-missing --quiet --status "
    "--strict -w --warn",
    rest="read",
)

_SED = table(
    "-n --quiet --silent -E -r --regexp-extended -i --in-place -s --separate -u --unbuffered -z "
    "--null-data --posix --debug --sandbox",
    "-e:sed --expression:sed -l --line-length",
    operands="sed",
    rest="read",
    instead="-e --expression",
    writing="-i --in-place",
    refused=dict.fromkeys(("-f", "--file"), "a script in a file is not looked at: give it with -e"),
    inserted=("--sandbox",),
)

_JQ = table(
    "-r --raw-output -j --join-output -a --ascii-output -c --compact-output -n --null-input -s "
    "--slurp -R --raw-input -S --sort-keys -e --exit-status -M --monochrome-output -C "
    "--color-output --tab --unbuffered --stream --seq --raw-output0 -V --version",
    "--arg:text,text --argjson:text,text --slurpfile:text,read --rawfile:text,read --indent",
    operands="jq",
    rest="read",
    refused={
        "-f": "a filter in a file is not looked at: give it as an argument",
        "--from-file": "a filter in a file is not looked at: give it as an argument",
        "-L": "modules are not looked at",
    },
)

TEXT: dict[str, Table] = {
    "basename": table("-a --multiple -z --zero", "-s --suffix", rest="text"),
    "b2sum": _SUMS,
    "base64": table("-d --decode -i --ignore-garbage", "-w --wrap", rest="read"),
    "cat": table(
        "-A --show-all -b --number-nonblank -e -E --show-ends -n --number -s --squeeze-blank -t "
        "-T --show-tabs -u -v --show-nonprinting",
        rest="read",
    ),
    "cksum": _SUMS,
    "cmp": table(
        "-b --print-bytes -l --verbose -s --quiet --silent",
        "-i --ignore-initial -n --bytes",
        operands="read read text text",
    ),
    "column": table(
        "-t --table -x --fillrows -L -e",
        "-c --output-width -s --separator -o --output-separator -N --table-columns -R "
        "--table-right",
        rest="read",
    ),
    "comm": table(
        "-1 -2 -3 --check-order --nocheck-order --total -z", "--output-delimiter", rest="read"
    ),
    "cut": table(
        "-n -s --only-delimited -z --zero-terminated --complement",
        "-b --bytes -c --characters -d --delimiter -f --fields --output-delimiter",
        rest="read",
    ),
    "date": table(
        "-u --utc -R --rfc-email",
        "-d --date -r:read",
        "-I --iso-8601 --rfc-3339",
        operands="format",
    ),
    "diff": table(
        "-q --brief -s --report-identical-files -c -u -e --ed -n --rcs -y --side-by-side "
        "--left-column --suppress-common-lines -p --show-c-function -t --expand-tabs -T "
        "--initial-tab -r --recursive --no-dereference -N --new-file --unidirectional-new-file "
        "--ignore-file-name-case -i --ignore-case -E --ignore-tab-expansion -Z "
        "--ignore-trailing-space -b --ignore-space-change -w --ignore-all-space -B "
        "--ignore-blank-lines -a --text --strip-trailing-cr -d --minimal --speed-large-files "
        "--suppress-blank-empty --normal",
        "-C -U -W --width -x --exclude -X:read --exclude-from:read -S --starting-file -I "
        "--ignore-matching-lines --label -L -F --show-function-line --tabsize --from-file:read "
        "--to-file:read --horizon-lines",
        "--color --context --unified",
        rest="read",
        refused=dict.fromkeys(("-l", "--paginate"), _STARTS),
    ),
    "dirname": table("-z --zero", rest="text"),
    "echo": table(rest="text", style="plain"),
    "expand": table("-i --initial", "-t --tabs", rest="read"),
    "expr": table(rest="text", style="plain"),
    "false": table(),
    "fmt": table("-c -s -t -u", "-w --width -p --prefix", rest="read"),
    "fold": table("-b --bytes -s --spaces", "-w --width", rest="read"),
    "head": table(
        "-q --quiet --silent -v --verbose -z --zero-terminated",
        "-n --lines -c --bytes",
        rest="read",
        numbers=True,
    ),
    "hexdump": table("-b -c -C -d -o -v -x", "-n -s", rest="read"),
    "iconv": table(
        "-c -s -l --list", "-f --from-code -t --to-code -o:write --output:write", rest="read"
    ),
    "join": table("-i --ignore-case -z", "-a -e -j -o -t -v -1 -2", rest="read"),
    "jq": _JQ,
    "md5sum": _SUMS,
    "nl": table("-p", "-b -d -f -h -i -l -n -s -v -w", rest="read"),
    "nproc": table("--all"),
    "od": table("-v -b -c -d -o -s -x -a -f -i -l", "-A -j -N -t -w", rest="read"),
    "paste": table("-s --serial -z", "-d --delimiters", rest="read"),
    "printf": table(rest="text", style="plain"),
    "rev": table(rest="read"),
    "sed": _SED,
    "seq": table("-w --equal-width", "-f -s --separator", rest="text", numbers=True),
    "sha1sum": _SUMS,
    "sha224sum": _SUMS,
    "sha256sum": _SUMS,
    "sha384sum": _SUMS,
    "sha512sum": _SUMS,
    "shuf": table("-e -r -z", "-i -n -o:write --output:write", rest="read", instead="-e -i"),
    "sleep": table(rest="text"),
    "sort": table(
        "-b --ignore-leading-blanks -d --dictionary-order -f --ignore-case -g "
        "--general-numeric-sort -i --ignore-nonprinting -M --month-sort -h --human-numeric-sort "
        "-n --numeric-sort -R --random-sort -r --reverse -V --version-sort -c -C -m --merge -s "
        "--stable -u --unique -z --zero-terminated --debug",
        "-k --key -t --field-separator -o:write --output:write -S --buffer-size --batch-size "
        "--parallel --sort --random-source:read",
        "--check",
        rest="read",
        refused={
            "--compress-program": _STARTS,
            "--files0-from": "it reads names of files from a file: name them",
            "-T": "files for the time being go where they always go",
            "--temporary-directory": "files for the time being go where they always go",
        },
    ),
    "strings": table("-a --all -f", "-n -t -e -T", rest="read", numbers=True),
    "tac": table("-b -r", "-s --separator", rest="read"),
    "tail": table(
        "-q --quiet --silent -v --verbose -z --zero-terminated",
        "-n --lines -c --bytes",
        rest="read",
        numbers=True,
        refused=dict.fromkeys(("-f", "-F", "--follow", "--retry", "--pid"), "it would never end"),
    ),
    "test": table(rest="read", style="plain"),
    "tr": table(
        "-c -C --complement -d --delete -s --squeeze-repeats -t --truncate-set1", rest="text"
    ),
    "true": table(),
    "uname": table("-a --all -s -n -r -v -m -p -i -o --machine --kernel-name"),
    "unexpand": table("-a --all --first-only", "-t --tabs", rest="read"),
    "uniq": table(
        "-c --count -d --repeated -D -i --ignore-case -u --unique -z --zero-terminated",
        "-f --skip-fields -s --skip-chars -w --check-chars",
        "--all-repeated --group",
        operands="read write",
    ),
    "arch": table(),
    "id": table("-u -g -G -n -r"),
    "printenv": table("-0", rest="text"),
    "which": table("-a", rest="text"),
    "wc": table(
        "-c --bytes -m --chars -l --lines -L --max-line-length -w --words",
        "--total",
        rest="read",
        refused={"--files0-from": "it reads names of files from a file: name them"},
    ),
    "whoami": table(),
    "xxd": table("-a -b -C -E -e -i -p -ps -r -u", "-c -g -l -n -o -s", operands="read write"),
    "yes": table(rest="text"),
}
