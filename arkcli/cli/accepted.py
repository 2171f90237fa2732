"""The secrets with which `ark listen` accepts requests, as they are now."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from arkcli.actions import destinations
from arkcli.cli.options import find_secrets
from arkcli.cli.session import Session
from arkcli.errors import ArkError
from arkcli.signing import Secret

#: Interval between checks for a changed secret, in seconds.
_LOOK_EVERY: Final = 0.25


class AcceptedSecrets:
    """Follows the secrets through a rotation."""

    def __init__(
        self,
        session: Session,
        texts: list[str] | None,
        file: Path | None,
        warn: Callable[[str], None],
        note: Callable[[str], None],
    ) -> None:
        """Takes --secret and --secret-file. Raises what `find_secrets` raises; the methods do not.

        Makes the shared secret if there is none to use. A change is noted; a source that can no longer be read is
        warned about.
        """
        from arkcli.signing.secrets import SecretFiles
        from arkcli.system.followed import Followed

        self._session, self._texts, self._file, self._note = session, texts, file, note
        self._files = SecretFiles(session.home.clock.monotonic, warn)
        self._is_stored = not texts and file is None and "ARK_SECRET" not in session.variables
        self._now: list[Secret] = []
        self._stored: list[Secret] = []
        self._replaced: list[Secret] = []
        if self._is_stored and destinations.ensure_secret(session.home):
            note(destinations.made_secret_note(session.home.store.name))
        self._followed = Followed(self._stamp, self._read, session.home.clock.monotonic, warn, every=_LOOK_EVERY)
        self._followed.now()

    @property
    def source(self) -> str:
        """Where the secrets come from, for people."""
        if self._texts and self._file is not None:
            return f"--secret, and from {self._file}"
        if self._texts or self._file is not None:
            return "--secret" if self._file is None else str(self._file)
        return self._session.home.store.name if self._is_stored else "ARK_SECRET"

    def now(self) -> Sequence[Secret]:
        """The secrets that are in force."""
        return self._followed.now()

    def before(self) -> Sequence[Secret]:
        """The secrets that were replaced: during this run, and those that destinations.toml keeps."""
        return [*self._replaced, *self._stored]

    def _stamp(self) -> object:
        return self._files.look(), self._is_stored and self._session.home.store.stamp()

    def _read(self) -> list[Secret]:
        found = find_secrets(self._session, self._texts, self._file, self._files.read)
        if self._is_stored:
            self._stored = self._stored_before()
        if self._now and found != self._now:
            self._replaced = self._now
            self._note("the signing secret was changed; requests are checked with the new one from now on")
        self._now = found
        self._files.forget_others()
        return found

    def _stored_before(self) -> list[Secret]:
        """The secrets that destinations.toml keeps as those before; without those that cannot be read."""
        from arkcli.actions.overlap import replaced
        from arkcli.signing.secrets import resolve_secret

        found: list[Secret] = []
        with suppress(ArkError):
            workspace = self._session.home.store.read().workspace
            for setting in dict.fromkeys((workspace.previous, *(setting for setting, _ in replaced(workspace)))):
                with suppress(ArkError):
                    if setting is not None:
                        found.append(
                            resolve_secret(setting, self._session.variables, "a secret before", self._files.read)
                        )
        return found
