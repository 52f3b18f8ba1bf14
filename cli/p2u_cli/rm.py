"""``p2u rm``: a name, or a version of it, is gone."""

# ruff: noqa: PLC0415 - what is slow to import is imported where it is used: --help stays quick

import typer

from p2u_cli import options, output
from p2u_cli.escape import escape


def rm(
    address: options.StoreVersion,
    *,
    storage: options.Storage = None,
    as_json: options.Json = False,
) -> int:
    """Remove a version from a name, or all of them.

    What no name needs any more stays in the store until p2u gc deletes it. Version numbers are
    never used again.

    \b
    Examples:
      p2u rm s3://bucket/models#minilm@3
      p2u rm s3://bucket/models#minilm
    """  # noqa: D301 - the parser folds paragraphs that do not begin with \b
    import p2uformat

    store, name, version = options.store_parts(address)
    if name is None:
        message = f"'{address}' has no name: write STORE#name or STORE#name@version"
        raise typer.BadParameter(message, param_hint="'STORE#NAME'")
    opened = p2uformat.Store(store, storage_options=options.storage_options(storage))
    number = opened.remove(name, () if version is None else (version,))
    if as_json:
        output.write_json(
            {"store": opened.name, "name": name, "version": version, "removal": number}
        )
    else:
        what = name if version is None else f"{name}@{version}"
        output.write_text(f"removed {escape(what)} from {escape(opened.name)}")
    return 0
