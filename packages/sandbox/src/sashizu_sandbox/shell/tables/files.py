"""Programs that look at files and folders, and those that make, move and remove them.

Source: the manuals of GNU coreutils 9, tree 2.1, file 5.44, GNU tar 1.34, Info-ZIP 3 and gzip 1.12.
"""

from __future__ import annotations

from sashizu_sandbox.shell.tables.model import Table, table

__all__ = ["FILES"]

_STARTS = "it starts a program"

_LS = table(
    "-a --all -A --almost-all --author -b --escape -B --ignore-backups -c -C -d --directory -D "
    "--dired -f -F -g --group-directories-first -G --no-group -h --human-readable --si -H -i "
    "--inode -k --kibibytes -l -L --dereference -m -n --numeric-uid-gid -N --literal -o -p -q "
    "-Q --quote-name -r --reverse -R --recursive -s --size -S -t -u -U -v -x -X -Z -1 "
    "--full-time --show-control-chars",
    "-I --ignore --hide -w --width -T --tabsize --block-size --format --sort --time "
    "--time-style --indicator-style --quoting-style",
    "--color --classify --hyperlink",
    rest="read",
    reads_cwd="always",
)

_TAR = table(
    "-t --list -x --extract --get -k --keep-old-files -v --verbose -z --gzip --gunzip -j "
    "--bzip2 -J --xz --zstd -a --auto-compress --wildcards --full-time --utc --numeric-owner "
    "--force-local",
    "-f:archive --file:archive -C:write --directory:write --exclude --strip-components",
    rest="text",
    old_style=True,
    filling="-x --extract --get",
    refused={
        **dict.fromkeys(
            ("--to-command", "--checkpoint-action", "-I", "--use-compress-program"), _STARTS
        ),
        **dict.fromkeys(("--rsh-command", "--rmt-command", "--info-script", "-F"), _STARTS),
        **dict.fromkeys(("--new-volume-script", "--index-file"), _STARTS),
        "-P": "members with absolute names are not taken",
        "--absolute-names": "members with absolute names are not taken",
        "-T": "it reads names of files from a file: name them",
        "--files-from": "it reads names of files from a file: name them",
    },
)

FILES: dict[str, Table] = {
    "chmod": table("-c -f -v -R --recursive --verbose --quiet", operands="text", rest="write"),
    "cp": table(
        "-a --archive -d -f --force -H -L --dereference -n --no-clobber -P --no-dereference -p "
        "-r -R --recursive -T --no-target-directory -u --update -v --verbose -x",
        "-t:write --target-directory:write",
        "--preserve --sparse --reflink",
        rest="read",
        last="write",
    ),
    "df": table("-h --human-readable -T -k -m -i -P", "", rest="read", reads_cwd="always"),
    "du": table(
        "-0 -a --all --apparent-size -b --bytes -c --total -D -h --human-readable --si -k -m -l "
        "-L -P -S --separate-dirs -s --summarize -x --one-file-system",
        "-B --block-size -d --max-depth -t --threshold --exclude -X:read",
        "--time",
        rest="read",
        reads_cwd="always",
        refused={"--files0-from": "it reads names of files from a file: name them"},
    ),
    "file": table(
        "-b --brief -i --mime --mime-type --mime-encoding -h --no-dereference -k -L "
        "--dereference -N -n -p -r -s -0 -E --extension",
        "-e --exclude -F --separator -P",
        rest="read",
        refused={
            "-f": "it reads names of files from a file: name them",
            "--files-from": "it reads names of files from a file: name them",
            "-C": "it writes a file",
            "--compile": "it writes a file",
            "-m": "magic files are not looked at",
            "--magic-file": "magic files are not looked at",
            "-z": _STARTS,
            "-Z": _STARTS,
            "--uncompress": _STARTS,
        },
    ),
    "ls": _LS,
    "dir": _LS,
    "mkdir": table("-p --parents -v --verbose", "-m --mode", rest="write"),
    "mktemp": table("-d --directory -q -u --dry-run", "--suffix", rest="write"),
    "mv": table(
        "-f --force -n --no-clobber -T --no-target-directory -u --update -v --verbose",
        "-t:write --target-directory:write",
        rest="write",
    ),
    "pwd": table("-L -P"),
    "readlink": table("-f -e -m -n -q -s -v -z --canonicalize", rest="read"),
    "realpath": table(
        "-e -m -L -P -q -s -z --no-symlinks --canonicalize-existing",
        "--relative-to:read --relative-base:read",
        rest="read",
    ),
    "rm": table("-d --dir -f --force -r -R --recursive -v --verbose", rest="write"),
    "rmdir": table("-p --parents -v --verbose --ignore-fail-on-non-empty", rest="write"),
    "stat": table(
        "-L --dereference -f --file-system -t --terse", "-c --format --printf", rest="read"
    ),
    "tar": _TAR,
    "tee": table("-a --append", rest="write"),
    "touch": table(
        "-a -c --no-create -h -m", "-d --date -r:read --reference:read -t", rest="write"
    ),
    "tree": table(
        "-a -d -l -f -x -i -q -N -Q -p -u -g -s -h --du --si -D -F --inodes --device -v -t -c "
        "-U -r --dirsfirst --filesfirst -n -C -A -S -J -X --noreport --gitignore --ignore-case "
        "--matchdirs --prune",
        "-L -P -I --filelimit --timefmt --charset --sort",
        rest="read",
        reads_cwd="always",
        refused={
            "-o": "it writes a file: the output is shown to you",
            "-R": "it writes files",
            "--fromfile": "it reads names of files from a file",
        },
    ),
    "unzip": table(
        "-l -v -t -Z -n -o -q -j -p",
        "-d:write",
        operands="read",
        rest="text",
        fills=True,
        looking="-l -v -t -Z -p",
    ),
    "zcat": table("-f -v -q", rest="read"),
    "zipinfo": table("-1 -l -v -h -t", rest="read"),
}
