"""Where each server had tokens asked for: once it was used, another place needs somebody's word."""

from fhir_msct.archive.store import Archive


def known(archive: Archive | None, base: str) -> str:
    """Scheme, host and port where tokens for a server were asked for; empty where none ever was."""
    if archive is None:
        return ""
    row = archive.connection.execute("select origin from token_place where base = ?", (base,)).fetchone()
    return str(row[0]) if row else ""


def keep(archive: Archive, base: str, origin: str) -> None:
    """Writes down where a token was given; nothing where none was needed, or it is known."""
    if origin and known(archive, base) != origin:
        with archive.transaction() as connection:
            connection.execute("insert or replace into token_place values (?, ?)", (base, origin))
