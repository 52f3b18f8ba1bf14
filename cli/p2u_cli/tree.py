"""The tree of commands: which there are, and what ``p2u`` alone says."""

# ruff: noqa: PLC0415 - what is slow to import is imported where it is used: --help stays quick

from typing import Annotated

import typer

from p2u_cli import output
from p2u_cli.apply import apply
from p2u_cli.copy import copy
from p2u_cli.diff import diff
from p2u_cli.fetch import fetch
from p2u_cli.gc import gc
from p2u_cli.get import get
from p2u_cli.inspect import inspect
from p2u_cli.pack import pack
from p2u_cli.push import push
from p2u_cli.refs import refs
from p2u_cli.repair import repair
from p2u_cli.rm import rm
from p2u_cli.squash import squash
from p2u_cli.unpack import unpack
from p2u_cli.update import update
from p2u_cli.verify import verify

EPILOG = (
    "Exit codes: 0 fine, 2 usage, 3 damaged, 4 not found or unreachable, 5 format not "
    "supported, 6 incomplete, 7 others write to the store, 130 interrupted, 1 internal error."
)

app = typer.Typer(
    # Plain help: it stays readable in a pipe, and it needs no rich, which takes time to import.
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=False,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

COMMANDS = (
    pack,
    inspect,
    verify,
    fetch,
    get,
    diff,
    unpack,
    squash,
    update,
    apply,
    push,
    refs,
    copy,
    rm,
    gc,
    repair,
)
for command in COMMANDS:
    app.command()(command)


@app.callback(invoke_without_command=True)
def p2u(
    context: typer.Context,
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the versions of program and format.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --version: print one JSON document.")
    ] = False,
) -> None:
    """Pack, fetch, check, compare and unpack models that load at several precisions.

    One .p2u file holds a model in tiers. Its first part is a small, usable model; each further
    tier makes it better, and the last one is the original file, bit for bit. Artifacts are named
    by paths or by URLs: https://, s3://, gs://, az:// and what else fsspec knows; in a store, which
    holds many that share what they have in common, by STORE#name or STORE#name@version.

    \b
    Examples:
      p2u pack model.safetensors model.p2u
      p2u inspect model.p2u
      p2u verify model.p2u
      p2u fetch https://example.org/model.p2u model.p2u --tier q4
      p2u diff model.p2u newer.p2u
      p2u unpack model.p2u small.safetensors --tier q4
      p2u push model.p2u s3://bucket/models#minilm
    """  # noqa: D301 - the parser folds paragraphs that do not begin with \b
    if version:
        _write_version(as_json=as_json)
        raise typer.Exit
    if as_json:
        message = "before a command this goes with --version only; give it after the command"
        raise typer.BadParameter(message, ctx=context, param_hint="'--json'")
    if context.invoked_subcommand is None:
        output.write_text(context.get_help())
        raise typer.Exit(2)


def _write_version(*, as_json: bool) -> None:
    import p2uformat

    kernels = p2uformat.kernels_in_use()
    form = ".".join(str(part) for part in p2uformat.FORMAT_VERSION)
    if as_json:
        document = {"version": p2uformat.__version__, "format": form, "kernels": kernels}
        output.write_json(document)
    else:
        output.write_text(f"p2u {p2uformat.__version__} (format {form}, {kernels} kernels)")


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; every failure is raised.

    The parser's own runner is not used, because it prints errors in its own form.
    """
    command = typer.main.get_command(app)
    try:
        with command.make_context("p2u", list(arguments)) as context:
            code = command.invoke(context)
    except typer.Exit as exit_:
        code = exit_.exit_code
    return code if isinstance(code, int) else 0
