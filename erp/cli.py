"""``erp <program> key=value ...``: finds the program, shows help without importing anything heavy, prints errors."""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import io
import keyword
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

INTERRUPTED, TERMINATED = 130, 143  # what a shell makes of Ctrl-C and of SIGTERM
# How seldom Python searches for cycles: it otherwise walks through all that was imported at every 700 new objects.
SEARCHES = (100_000, 20, 100)
# What of Hydra's command line a program takes, for its help: one that sweeps, and one that has a main of its own.
_PRINTS = "Hydra's flag --cfg job prints the config instead of running it."
_SWEEPS = (
    "Hydra's own flags work too: -m (sweep over a,b,c), --cfg job (print the config), "
    "--config-dir <folder> (config groups of your own), +key=value (add)."
)
FLAGS = {
    "collect": _SWEEPS,
    "train": _SWEEPS,
    "compare": "Run folders and sweep files stand beside the keys, without `key=`. There are no flags.",
}


def main(argv: list[str] | None = None) -> int:
    """Run one program; returns the exit code: 0 done, 2 bad input or a system that refuses, 130, 143 interrupted."""
    arguments = sys.argv[1:] if argv is None else argv
    with _interrupts() as seen:
        try:
            code = _main(arguments)
        except KeyboardInterrupt:
            code = INTERRUPTED
        except BrokenPipeError:  # `erp route ... | head`
            _stdout_refuses()
            code = 0
        except SystemExit as end:  # how a collection answers to SIGTERM
            if end.code != TERMINATED and not seen:
                raise
            code = TERMINATED
        except BaseException:
            # Whatever was at work may have made another exception of it, or of what it left half done.
            if not seen:
                raise
        if seen or code in (INTERRUPTED, TERMINATED):
            name, code = " ".join(["erp", *arguments[:1]]), INTERRUPTED if seen else code
            said = "interrupted" if code == INTERRUPTED else "terminated"
            print(f"{name}: {said}; the same command goes on from what is finished", file=sys.stderr)
    return code


@contextlib.contextmanager
def _interrupts() -> Iterator[list[int]]:
    """The interrupts (Ctrl-C) seen so far; each raises KeyboardInterrupt, which a library may swallow or reword."""
    seen: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield seen
        return

    def interrupt(number: int, _: FrameType | None) -> None:
        seen.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, before)


def _main(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    program, *rest = argv
    if program == "--version":
        from importlib.metadata import version

        print(version("erp"))
        return 0
    if program not in (known := summaries()):
        print(f"erp: {program}: there is no such program; choose one of {', '.join(known)}", file=sys.stderr)
        return 2
    if "-h" in rest or "--help" in rest:
        print(program_help(program))
        return 0
    return _run(program, rest)


def _run(program: str, arguments: list[str]) -> int:
    import yaml

    from erp.errors import ErpError, visible

    # Hydra otherwise prints its own banner for every exception and exits with 1.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    # torch's idle threads otherwise spin on the cores that numpy's BLAS needs: closed forms would take twice as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # ... and numpy's own would spin for 2^26 ticks after each product: 2^16 takes a tenth less CPU and no longer.
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "16")
    gc.set_threshold(*SEARCHES)
    try:
        importlib.import_module(f"erp.programs.{module_of(program)}").main(arguments)
        if sys.stdout is not None:  # here, where a full disk can still be reported
            sys.stdout.flush()
    except ErpError as error:
        for fault in error.faults:
            print(f"erp {program}: {visible(fault)}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        raise
    except io.UnsupportedOperation:  # an OSError by name, a bug by nature
        raise
    except (OSError, MemoryError, UnicodeError, yaml.YAMLError) as error:  # the system's or a file's fault, not ours
        if os.environ.get("ERP_TRACEBACK"):  # unless it is ours after all
            raise
        print(f"erp {program}: {visible(_line_of(error))}", file=sys.stderr)
        return 2
    return 0


def module_of(program: str) -> str:
    """The module of a program in `erp.programs`: Python keeps the name ``import`` for itself."""
    return f"{program}_" if keyword.iskeyword(program) else program


def _line_of(error: Exception) -> str:
    """What the system, or a damaged file, refused, as one line."""
    import yaml

    said = " ".join(str(error).split())[:200]
    if isinstance(error, MemoryError):
        return f"memory: is not enough ({said or 'MemoryError'}); give smaller sizes, or use a machine that has more"
    if not isinstance(error, OSError):
        kind = "YAML" if isinstance(error, yaml.YAMLError) else "text in the encoding it should have"
        return f"input: something read or written is no {kind} ({said}); correct that file"
    reason = error.strerror or said
    if isinstance(error, IsADirectoryError) and error.filename is not None:
        return f"file = {error.filename}: a folder lies where a file should be; move it away, or give another path"
    if error.filename is not None:
        return f"file = {error.filename}: {reason}; check the path, its permissions and the room on its disk"
    if _stdout_refuses():
        return f"stdout: cannot be written ({reason}); send the output elsewhere"
    return f"system: {reason or type(error).__name__}; see to it and give the same command again"


def _stdout_refuses() -> bool:
    """Whether stdout takes nothing more. What it holds is then dropped, or Python would complain again as it exits."""
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def summaries() -> dict[str, str]:
    """Program -> what it does: the first line of its config file."""
    from erp.compose import conf_folder  # imports no Hydra until it composes

    return {file.stem: _header_and_body(file)[0][0] for file in sorted(conf_folder().glob("*.yaml"))}


def overview() -> str:
    """What ``erp --help`` prints."""
    width = max(map(len, known := summaries()))
    about = "Predict the reward each language model would earn, and route on it."
    lines = ["usage: erp <program> key=value ...", "", about, ""]
    lines += [f"  {name:<{width}}  {text}" for name, text in known.items()]
    return "\n".join([*lines, "", "`erp <program> --help` lists its config groups, options and keys."])


def program_help(program: str) -> str:
    """What ``erp <program> --help`` prints: read off the config files, so that it is never out of date."""
    from erp.compose import conf_folder  # imports no Hydra until it composes

    folder = conf_folder()
    header, body = _header_and_body(folder / f"{program}.yaml")
    lines = [f"erp {program}: {header[0]}", *[f"  {line}".rstrip() for line in header[1:]]]
    defaults = dict(re.findall(r"^  - (?:optional )?(\w+): (\w+)", body, re.MULTILINE))
    if program == "collect":
        defaults["engine"] = ""  # a pool names its own
    if defaults:
        lines += ["", "Config groups, `group=option` (* = default) and their keys, `group.key=value`:"]
    for group, chosen in defaults.items():
        lines += ["", f"  {group}"]
        files = [file for file in sorted((folder / group).glob("*.yaml")) if _concerns(program, group, file.stem)]
        width = max(14, *(len(file.stem) for file in files))
        for file in files:
            about, keys = _header_and_body(file)
            lines.append(f"  {'*' if file.stem == chosen else ' '} {file.stem:<{width}} {about[0]}")
            names = re.findall(r"^(?!defaults|_target_|kind|name)(\w+):", keys, re.MULTILINE)
            if names and not about[0].startswith("@package"):
                lines.append(f"    {'':<{width}} keys: {', '.join(names)}")
        if group == "reward_model" and program != "collect":
            lines.append("    or an option of `erp collect`, for its name")
        if group == "engine":
            lines.append("    the pool names its own; engine=<option> takes another")
    keys = re.sub(r"^defaults:\n(  - .*\n)+", "", body, flags=re.MULTILINE).strip()
    lines += ["", "Keys, `key=value`:", "", *[f"  {line}" for line in keys.splitlines()]]
    return "\n".join([*lines, "", FLAGS.get(program, _PRINTS)])


def _concerns(program: str, group: str, option: str) -> bool:
    """Whether an option is of use to a program: how a reward model is called matters where it is called."""
    if group == "data" and option == "same":
        return program in ("evaluate", "extend")
    return group != "reward_model" or (program == "collect") != (option == "only")


def _header_and_body(file: Path) -> tuple[list[str], str]:
    """A config file's opening comment without its marks, and what follows it."""
    lines = file.read_text(encoding="utf-8").splitlines()
    count = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    header = [line.lstrip("#").removeprefix(" ") for line in lines[:count] if not line.startswith("# @package")]
    return header or [""], "\n".join(lines[count:]) + "\n"


def entry() -> None:
    """The console script."""
    code = 0

    def end() -> None:
        if code == INTERRUPTED:
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
            os._exit(code)

    # Called last of all. An interrupt that passed an `eval` makes Python end itself by the signal, whatever the code.
    atexit.register(end)
    code = main()
    gc.freeze()  # Python ends with a search of all there is for cycles; with torch imported that takes a second
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))  # while Python ends, it would be a traceback
    sys.exit(code)
