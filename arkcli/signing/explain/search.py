"""Searches for the cause: every rule alone, then two together, within a fixed amount of work."""

import hmac
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, product
from typing import Final, NamedTuple

from arkcli.signing import Secret, standard
from arkcli.signing.explain import bodies, keys, signatures, webhooks
from arkcli.signing.explain.keys import Digest
from arkcli.signing.explain.rules import Look, Rule, Rules, Try, undone
from arkcli.signing.explain.signatures import ClaimedDigest
from arkcli.signing.explain.spellings import differences

#: The largest body that is examined, in bytes: the largest that ark ever sends.
LARGEST: Final = 1024 * 1024
#: The limit on work, in bytes to hash: about a second.
_WORK: Final = 128 * 1024 * 1024
#: The fixed cost of one try, in bytes to hash.
_ONE_TRY: Final = 4096

_AGREED: Final = Digest("", "", keys.sha256)

#: The advice if no cause fits.
NOTHING_FITS: Final = (
    "None of the usual causes matches. Check next: is it the secret this destination is signed with (a destination"
    " may have its own, and after a rotation the old one no longer serves); do the signature and the body belong to"
    " the same request; is the body what came over the wire, byte for byte (save it before anything else reads it, and"
    " compare its length with Content-Length)"
)
#: The same for the headers of Standard Webhooks beside a valid documented one, which proves the body and the secret.
NOTHING_FITS_HEADERS: Final = (
    "None of the usual causes matches. The body and the secret are right, since X-SignalArk-Signature is valid, so"
    " webhook-id, webhook-timestamp or webhook-signature is not as it was sent. Check next: do all three belong to this"
    " request; does a proxy, or the code that reads them, change or cut them"
)


class Tried(NamedTuple):
    """The digests and the rules for keys that are tried: the right digest, those of other schemes, and wrong ones."""

    agreed: Digest
    theirs: Sequence[Digest]
    wrong: Sequence[Digest]
    keys: Rules


class Explanation(NamedTuple):
    """What happened. `cause`: the names of the rules, joined by `+`. `text`: the explanation for people."""

    cause: str
    text: str


def explain(
    body: bytes, signature: str, secrets: Sequence[Secret], others: Mapping[str, Secret] | None = None
) -> Explanation | None:
    """Why a signature does not match a body with any of the secrets; None if no known cause fits.

    `signature` is the header's value or whole header lines, as received. `others` are secrets from other places, by the
    name of the place (`the shared secret`), which the text mentions if such a secret matches. The text never contains
    a secret or a signature. Takes at most a second on a typical machine. A body above LARGEST is not examined.
    """
    if len(body) > LARGEST:
        said = f"The body has more than {LARGEST:,} bytes: ark never sends such a body, and it was not examined"
        return Explanation("body-too-large", said)
    given = list(_given(secrets, others or {}))
    if (webhook := webhooks.read(signature)) is not None:
        given = [Try(standard.key_of(Secret(one.value)).reveal(), one.why) for one in given]
        agreed, *theirs = webhook.digests
        found = _search(body, webhook.claims, given, Tried(agreed, theirs, [], Rules((*webhooks.RULES, *keys.RULES))))
        return found or _seen(body, secrets, [])
    theirs, looks = keys.schemes(signature)
    tried = Tried(_AGREED, theirs, keys.DIGESTS, keys.RULES)
    looks = [*looks, *signatures.LOOKS.that_see(signature.encode("utf-8", "replace"))]
    return _search(body, signatures.claims(signature), given, tried) or _seen(body, secrets, looks)


def _search(body: bytes, claims: Sequence[ClaimedDigest], given: Sequence[Try], tried: Tried) -> Explanation | None:
    if not claims:
        return None
    work, theirs = _WORK, tried.theirs
    for changed, used, made in _candidates(body, given, tried):
        work -= len(changed.value) * sum(rule.cost for rule in changed.why)
        for key, digest in product(used, made):
            work -= len(changed.value) + _ONE_TRY
            if work < 0:
                return None
            found = digest.make(key.value, changed.value)
            for claim in claims:
                if hmac.compare_digest(claim.digest, found):
                    return _told(body, changed, (*key.why, *(() if digest in theirs else claim.why)), digest)
    return None


def _given(secrets: Sequence[Secret], others: Mapping[str, Secret]) -> Iterator[Try]:
    for place, secret in enumerate(secrets):
        said = f"it was signed with secret number {place + 1} of those given"
        yield Try(secret.reveal(), (Rule("another-secret", said),) if place else ())
    for where, secret in others.items():
        said = f"it was signed with a different secret from the one given: {where}"
        yield Try(secret.reveal(), (Rule("another-secret", said),))


def _candidates(
    body: bytes, given: Sequence[Try], tried: Tried
) -> Iterator[tuple[Try, Sequence[Try], Sequence[Digest]]]:
    """What may have been signed, with the keys and digests to try: first one mistake, then two."""
    as_it_is, agreed = [Try(body)], (tried.agreed,)
    digests = (*tried.theirs, *tried.wrong)
    changed_keys = [found for found in undone(tried.keys, given) if found.value]

    def changed() -> Iterator[Try]:
        return _each_once(undone(bodies.RULES, as_it_is))

    stages: Iterable[tuple[Iterator[Try], Sequence[Try], Sequence[Digest]]] = (
        (iter(as_it_is), given, (*tried.theirs, tried.agreed, *tried.wrong)),
        (iter(as_it_is), changed_keys, agreed),
        (changed(), given, agreed),
        (changed(), changed_keys, agreed),
        (changed(), given, digests),
        (iter(as_it_is), changed_keys, digests),
        (_each_once(undone(bodies.RULES, changed())), given, agreed),
    )
    for bodies_now, keys_now, digests_now in stages:
        yield from ((found, keys_now, digests_now) for found in bodies_now)


def _each_once(found: Iterable[Try]) -> Iterator[Try]:
    seen: set[int] = set()
    for one in found:
        known = hash(one.value)
        if known not in seen:
            seen.add(known)
            yield one


def _told(body: bytes, changed: Try, others: Sequence[Rule], digest: Digest) -> Explanation:
    told = {rule.cause: rule.says for rule in (*changed.why, *others)}
    if [rule.cause for rule in changed.why] == [bodies.RESPELLED]:
        told[bodies.RESPELLED] += f". {_sentence(differences(body, changed.value))}"
    if digest.cause and not (told and digest.cause == webhooks.RIGHT):
        told[digest.cause] = digest.says
    return Explanation("+".join(told), ".\n".join(map(_sentence, told.values())))


def _seen(body: bytes, secrets: Sequence[Secret], looks: Sequence[Look]) -> Explanation | None:
    seen = chain(
        looks,
        *(keys.LOOKS.that_see(secret.reveal()) for secret in secrets),
        bodies.LOOKS.that_see(body),
    )
    for look in seen:
        told = _sentence(look.says)
        return Explanation(look.cause, f"{NOTHING_FITS}.\n{told}" if look.weak else told)
    return None


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
