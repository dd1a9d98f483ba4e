"""The chains, all of them: every() makes the same ones each time but for their keys and signatures of RSA."""

import itertools
import random
from dataclasses import replace
from functools import lru_cache

import der
from case import MIXED, P256, RSA, case, change, key_id_of, path, resubject
from certificates import Spec, name
from faults import FAULTS, apply, role

SEED = 20260101
KINDS = {"p256": P256, "rsa": RSA, "mixed": MIXED}
STRANGER = name(O="Elsewhere", CN="Foreign CA")


def authority(subject, key, issuer=None, signer=None, **fields):
    """A CA that is not on the good path; self-signed unless an issuer is named."""
    return Spec(subject=subject, key=key, issuer=issuer or subject, signer=signer or key,
                **{"serial": 77, "ca": True, "usage": ("keyCertSign", "cRLSign"), **fields})


def below(spec, subject, key, **fields):
    """A certificate signed by another one's key."""
    return Spec(subject=subject, key=key, issuer=spec.subject, signer=spec.key,
                **{"serial": 78, "ca": True, "usage": ("keyCertSign", "cRLSign"), **fields})


def device(spec, number=0, **fields):
    """A good device certificate, signed by a CA's key."""
    return below(spec, name(O="Works", CN="device-1"), ("p256", number),
                 **{"ca": False, "usage": ("digitalSignature",), "eku": ("client",), **fields})


# --- one fault, and two at random --------------------------------------------------------------

def single_faults():
    """Each fault at each place of three paths."""
    for depth, kind in ((2, "p256"), (1, "rsa"), (0, "mixed")):
        for title in FAULTS:
            for at in range(depth + 2):
                specs = path(depth, KINDS[kind])
                if apply(specs, title, at):
                    where = role(specs, at)
                    yield case(f"single/{kind}{depth}/{title}@{at}", specs, f"{title}@{where}")


def _has_doubles(specs):
    """Two faults that bring the same extension make a third, unless that is what they are about."""
    kinds = [[which for which, _, _ in spec.more] for spec in specs]
    return any(len(set(each)) < len(each) and "2.5.29.15" not in each for each in kinds)


def _with_faults(depth, kind, faults):
    """The path with (title, position)s, or None if one of them does not go there."""
    specs = path(depth, KINDS[kind])
    return specs if all([apply(specs, title, at) for title, at in faults]) else None


def pairs_of_faults(count=420):
    chance = random.Random(SEED)
    titles = sorted(FAULTS)
    made = 0
    while made < count:
        depth = chance.choice((0, 1, 1, 2, 2, 3))
        kind = chance.choice(sorted(KINDS))
        faults = [(title, chance.randrange(depth + 2)) for title in chance.sample(titles, 2)]
        specs = _with_faults(depth, kind, faults)
        # Not those of which one undoes the other.
        if specs is None or _has_doubles(specs) or specs in [_with_faults(depth, kind, [one]) for one in faults]:
            continue
        made += 1
        text = "+".join(f"{title}@{at}" for title, at in faults)
        yield case(f"pair/{made:03}/{kind}{depth}/{text}", specs,
                   *(f"{title}@{role(specs, at)}" for title, at in faults))


# --- what is shown, and in which order ---------------------------------------------------------

def orders():
    """The device's own first (RFC 5246 section 7.4.2), the others in any order, with the root and without."""
    for kind, depth in (("p256", 2), ("p256", 3), ("rsa", 2), ("mixed", 3)):
        specs = path(depth, KINDS[kind])
        for with_root in (False, True):
            others = specs[1:] if with_root else specs[1:-1]
            for number, order in enumerate(itertools.permutations(others)):
                yield case(f"order/{kind}{depth}/{'root' if with_root else 'bare'}/{number}", specs,
                           shown=[specs[0], *order])


def _unneeded():
    other = authority(STRANGER, ("p256", 40))
    yield "foreign-root", other
    yield "foreign-ca", below(other, name(CN="Foreign 2"), ("p256", 41))
    yield "foreign-device", device(other, 42)
    yield "foreign-expired", replace(other, end="20220101000000Z")
    yield "foreign-broken", replace(other, damage="signature")
    yield "foreign-v1", replace(other, version=1, damage="no-extensions")
    yield "foreign-rsa", authority(STRANGER, ("rsa2048", 2))
    yield "foreign-weak", authority(STRANGER, ("rsa2048", 2), hash="sha1")
    yield "foreign-critical", replace(other, more=(("1.3.6.1.4.1.99999.1", True, der.octets(b"x")),))
    yield "foreign-constraints", replace(other, permitted=(("dns", "elsewhere.example"),))
    yield "foreign-serial-0", replace(other, serial=0)
    yield "same-ca-expired", replace(path(1)[1], end="20220101000000Z", serial=500)
    yield "same-ca-broken", replace(path(1)[1], damage="signature", serial=501)
    yield "same-ca-no-sign", replace(path(1)[1], usage=("cRLSign",), serial=502)
    yield "same-name-other-key", replace(path(1)[1], key=("p256", 43), serial=503)
    yield "same-root-unsigned", replace(path(1)[2], damage="signature", serial=504)
    yield "other-device", device(path(1)[1], 44, serial=505)
    yield "root-by-stranger", replace(path(1)[2], issuer=STRANGER, signer=("p256", 40), serial=506)


def extras():
    """Certificates that are not needed, at each place; and needed ones twice."""
    specs = path(1)
    for title, extra in _unneeded():
        for at in (1, 2):
            shown = specs[:-1]
            shown.insert(at, extra)
            yield case(f"extra/{title}/at{at}", specs, f"extra-{title}-{'before' if at == 1 else 'after'}", shown=shown)
    for title, shown in (("leaf", [0, 0, 1]), ("leaf-last", [0, 1, 0]), ("ca", [0, 1, 1]),
                         ("both", [0, 0, 1, 1]), ("root", [0, 1, 2, 2]), ("all", [0, 1, 2, 0, 1, 2])):
        yield case(f"extra/double/{title}", specs, shown=[specs[number] for number in shown])
    foreign = dict(_unneeded())
    for count in (2, 3, 5, 8, 12, 13, 14, 20):
        more = [below(foreign["foreign-root"], name(CN=f"Foreign {n}"), ("p256", 150 + n))
                for n in range(count)]
        yield case(f"extra/many/{count}-before", specs, shown=[specs[0], *more, specs[1]])
        yield case(f"extra/many/{count}-after", specs, shown=[*specs[:-1], *more])


def missing():
    for depth in (1, 2, 3):
        specs = path(depth)
        for subset in itertools.product((False, True), repeat=depth):
            kept = [spec for keep, spec in zip(subset, specs[1:-1]) if keep]
            title = "".join("x" if keep else "-" for keep in subset)
            yield case(f"missing/{depth}/{title}", specs, shown=[specs[0], *kept])
            yield case(f"missing/{depth}/{title}-root", specs, shown=[specs[0], *kept, specs[-1]])
    specs = path(2)
    wrong = replace(specs[1], key=("p256", 60))
    yield case("missing/wrong-key-instead", specs, shown=[specs[0], wrong, specs[2]])
    yield case("missing/wrong-name-instead", specs,
               shown=[specs[0], replace(specs[1], subject=name(CN="Someone")), specs[2]])


def anchors():
    """A trust anchor is any CA certificate in client_ca."""
    specs = path(2)
    foreign = authority(STRANGER, ("p256", 40))
    for title, trusted in (
            ("upper", [specs[2]]), ("issuing", [specs[1]]), ("issuing-and-root", [specs[1], specs[3]]),
            ("all", specs[1:]), ("root-twice", [specs[3], specs[3]]), ("foreign", [foreign]),
            ("foreign-and-root", [foreign, specs[3]]), ("root-and-foreign", [specs[3], foreign]),
            ("leaf", [specs[0]]), ("leaf-and-root", [specs[0], specs[3]])):
        for count in range(1, 5):
            yield case(f"anchor/{title}/shown{count}", specs,
                       *([f"anchor-{title}"] if "leaf" in title else []),
                       anchors=trusted, shown=specs[:count])
    many = [authority(name(CN=f"Foreign {number}"), ("p256", 80 + number)) for number in range(40)]
    yield case("anchor/forty-one", specs, anchors=[*many, specs[3]])
    # Same name and key as the anchor, but another certificate.
    again = replace(specs[3], serial=600, begin="20210101000000Z")
    yield case("anchor/reissued-shown", specs, shown=[*specs[:3], again])
    yield case("anchor/reissued-expired-shown", specs, shown=[*specs[:3], replace(again, end="20220101000000Z")])
    crossed = replace(specs[3], issuer=STRANGER, signer=("p256", 40), serial=601)
    yield case("anchor/cross-signed-shown", specs, shown=[*specs[:3], crossed])
    yield case("anchor/cross-signed-is-anchor", specs, anchors=[crossed])
    yield case("anchor/cross-signed-is-anchor-root-shown", specs, anchors=[crossed], shown=specs)
    # The anchor has expired, what is above it has not.
    old = replace(specs[2], end="20220101000000Z", serial=602)
    yield case("anchor/expired-issuer-and-root", specs, "anchor-expired-and-root",
               anchors=[old, specs[3]], shown=specs[:3])
    yield case("anchor/expired-issuer-shown-good", specs, "anchor-expired-shown-good",
               anchors=[old], shown=specs[:3])
    for title in ("expired", "not-yet", "path-len-0", "usage-no-cert-sign", "basic-false", "v1", "sha1",
                  "eku-server", "eku-client", "unknown-critical-extension", "signature-broken", "serial-0",
                  "no-key-ids", "akid-wrong", "no-basic"):
        changed = path(2)
        if apply(changed, title, 2):
            yield case(f"anchor/intermediate/{title}", changed, f"{title}@middle-anchor",
                       anchors=[changed[2]], shown=changed[:2])
            yield case(f"anchor/intermediate/{title}-shown", changed, f"{title}@middle-anchor",
                       anchors=[changed[2]], shown=changed[:3])


# --- keys change, CAs sign each other ----------------------------------------------------------

def rollover():
    """Two CAs of one name; with and without key identifiers."""
    root = authority(name(O="Works", CN="Root CA"), ("p256", 1))
    for ids in ("ids", "no-akid", "no-ids"):
        fields = {"ids": {}, "no-akid": {"akid": None}, "no-ids": {"akid": None, "skid": None}}[ids]
        first = replace(root, key=("p256", 1), signer=("p256", 1), serial=1, **fields)
        second = replace(root, key=("p256", 2), signer=("p256", 2), serial=2, **fields)
        third = replace(root, key=("p256", 3), signer=("p256", 3), serial=3, **fields)
        for which, signer in (("first", first), ("second", second)):
            leaf = device(signer, **fields)
            for title, trusted in (("both", [first, second]), ("swapped", [second, first]),
                                   ("first", [first]), ("second", [second]),
                                   ("three", [third, first, second])):
                yield case(f"rollover/root/{ids}/{which}/{title}", [leaf], anchors=trusted)
            # The same with CAs that are shown.
            top = authority(name(CN="Top"), ("p256", 9), **fields)
            old = below(top, signer.subject, ("p256", 1), serial=21, **fields)
            new = below(top, signer.subject, ("p256", 2), serial=22, **fields)
            for title, shown in (("both", [old, new]), ("swapped", [new, old]), ("old", [old]), ("new", [new])):
                yield case(f"rollover/shown/{ids}/{which}/{title}", [leaf], anchors=[top], shown=[leaf, *shown])
        # RFC 4210 section 4.4: the new key signed with the old one, and the other way round.
        new_with_old = replace(second, signer=("p256", 1), serial=31)
        old_with_new = replace(first, signer=("p256", 2), serial=32)
        by_first, by_second = device(first, **fields), device(second, **fields)
        yield case(f"rollover/new-with-old/{ids}", [by_second], anchors=[first], shown=[by_second, new_with_old])
        yield case(f"rollover/old-with-new/{ids}", [by_first], anchors=[second], shown=[by_first, old_with_new])
        yield case(f"rollover/new-with-old-missing/{ids}", [by_second], anchors=[first])
        yield case(f"rollover/both-links/{ids}", [by_second], anchors=[first],
                   shown=[by_second, old_with_new, new_with_old])
        no_more = replace(first, path_len=0)
        yield case(f"rollover/self-issued-not-counted/{ids}", [by_second], anchors=[no_more],
                   shown=[by_second, replace(new_with_old, path_len=0)])


def crossed():
    first = authority(name(CN="Root A"), ("p256", 1))
    second = authority(name(CN="Root B"), ("p256", 2))
    middle = name(CN="Shared CA")
    by_first = below(first, middle, ("p256", 3), serial=11)
    by_second = below(second, middle, ("p256", 3), serial=12)
    leaf = device(by_first)
    variants = {"a-b": [by_first, by_second], "b-a": [by_second, by_first], "a": [by_first], "b": [by_second]}
    for title, shown in variants.items():
        for which, trusted in (("a", [first]), ("b", [second]), ("both", [first, second]), ("ab", [second, first])):
            yield case(f"cross/{title}/anchor-{which}", [leaf], anchors=trusted, shown=[leaf, *shown])
    for title, bad in (("expired", {"end": "20220101000000Z"}), ("broken", {"damage": "signature"}),
                       ("no-sign", {"usage": ("cRLSign",)}), ("not-ca", {"ca": False}),
                       ("eku-server", {"eku": ("server",)}), ("akid-wrong", {"akid": b"\x99" * 20})):
        worse = replace(by_first, **bad)
        for order, shown in (("first", [worse, by_second]), ("last", [by_second, worse])):
            yield case(f"cross/one-{title}/{order}", [leaf], f"cross-one-{title}-{order}",
                       anchors=[first, second], shown=[leaf, *shown])
    # A bridge: B's root, signed by A.
    bridge = below(first, second.subject, ("p256", 2), serial=13)
    yield case("cross/bridge", [leaf], anchors=[first], shown=[leaf, by_second, bridge])
    yield case("cross/bridge-with-root", [leaf], anchors=[first], shown=[leaf, by_second, second, bridge])
    yield case("cross/bridge-before-root", [leaf], anchors=[first], shown=[leaf, by_second, bridge, second])
    # CAs that sign each other.
    one = authority(name(CN="One"), ("p256", 5), name(CN="Two"), ("p256", 6), serial=14)
    two = authority(name(CN="Two"), ("p256", 6), name(CN="One"), ("p256", 5), serial=15)
    looped = device(one)
    yield case("cross/loop", [looped], anchors=[first], shown=[looped, one, two])
    yield case("cross/loop-in-anchors", [looped], anchors=[one, two], shown=[looped])
    out = below(first, name(CN="Two"), ("p256", 6), serial=16)
    yield case("cross/loop-with-way-out", [looped], anchors=[first], shown=[looped, one, two, out])
    yield case("cross/way-out-first", [looped], anchors=[first], shown=[looped, one, out, two])


# --- forgeries ---------------------------------------------------------------------------------

def forged():
    """Made by somebody with a good device certificate and its key, or with nothing at all."""
    for kind in ("p256", "rsa"):
        specs = path(1, KINDS[kind])
        own, issuing, root = specs
        for title, fields in (
                ("plain", {}), ("no-basic", {"ca": None}), ("no-extensions", {"damage": "no-extensions"}),
                ("usage-sign", {"usage": ("keyCertSign",)}), ("no-usage", {"usage": None, "ca": None}),
                ("no-eku", {"eku": None, "usage": None, "ca": None}), ("v1", {"version": 1, "damage": "no-extensions"}),
                ("ca-but-no-sign", {"ca": True}), ("ca-eku", {"ca": True, "usage": ("keyCertSign",)})):
            mine = replace(own, **fields)
            victim = device(mine, 30)
            tag = f"forged-leaf-signs-{title}"
            yield case(f"forged/{kind}/leaf-signs/{title}", specs, tag, shown=[victim, mine, issuing])
            # One level more: a CA made by the device.
            made = below(mine, name(CN="Made CA"), ("p256", 31))
            yield case(f"forged/{kind}/leaf-signs-ca/{title}", specs, tag, shown=[device(made, 32), made, mine, issuing])
            # With the name of the root, of the issuing CA, and of the device itself.
            for whose, subject in (("root", root.subject), ("issuing", issuing.subject), ("self", mine.subject)):
                named = below(mine, subject, ("p256", 33))
                yield case(f"forged/{kind}/named-like-{whose}/{title}", specs, tag,
                           shown=[device(named, 34), named, mine, issuing])
        twin = replace(root, key=("p256", 35), signer=("p256", 35))
        for title, made in (("plain", twin), ("root-id", replace(twin, skid=key_id_of(root), akid=key_id_of(root))),
                            ("no-ids", replace(twin, skid=None, akid=None)),
                            ("by-root-name", replace(twin, signer=("p256", 36)))):
            victim = device(made, 37, akid=made.skid if isinstance(made.skid, bytes) else "own")
            yield case(f"forged/{kind}/twin-root/{title}", specs, shown=[victim, made])
            yield case(f"forged/{kind}/twin-root/{title}-and-root", specs, shown=[victim, made, root])
            yield case(f"forged/{kind}/twin-root/{title}-hidden", specs, shown=[victim, root, made])
        selfish = replace(own, issuer=own.subject, signer=own.key)
        yield case(f"forged/{kind}/self-signed", specs, shown=[selfish])
        yield case(f"forged/{kind}/self-signed-and-chain", specs, shown=[selfish, issuing])
        yield case(f"forged/{kind}/self-signed-ca", specs, shown=[replace(selfish, ca=True, usage=None)])
        renamed = replace(own, subject=root.subject, issuer=root.subject, signer=own.key)
        yield case(f"forged/{kind}/root-name-own-key", specs, shown=[renamed])
        yield case(f"forged/{kind}/root-name-own-key-and-root", specs, shown=[renamed, root])
        yield case(f"forged/{kind}/anchor-itself-shown", specs, "ca-as-device", shown=[root])
        yield case(f"forged/{kind}/ca-as-device", specs, "ca-as-device", shown=[issuing])
        # Under a CA that may sign devices only.
        short = replace(issuing, path_len=0)
        deeper = below(short, name(CN="Too deep"), ("p256", 38))
        yield case(f"forged/{kind}/too-deep", specs, shown=[device(deeper, 39), deeper, short])
        same = below(short, short.subject, ("p256", 38))
        yield case(f"forged/{kind}/self-issued-deep", specs, shown=[device(same, 39), same, short])
        twice = below(same, short.subject, ("p256", 45))
        yield case(f"forged/{kind}/self-issued-deeper", specs, shown=[device(twice, 39), twice, same, short])


def piles():
    """Many certificates of one name: what a stranger can make of nothing to keep the gate busy, and a good one among
    them. Without key identifiers, which would tell them apart."""
    specs = path(1)
    ids = {"skid": None, "akid": None}
    for kind in ("p256", "p521", "rsa2048"):
        made = [authority(name(CN="Pile"), (kind, 200 + number), signer=(kind, 200 + (number + 1) % 5), **ids)
                for number in range(5)]
        shown = [replace(spec, serial=700 + number) for number in range(3) for spec in made]
        leaf = device(made[0], 30, akid=None)
        yield case(f"pile/lost/{kind}", specs, shown=[leaf, *shown])
        # The same, below a CA that everybody has seen.
        led = [replace(spec, issuer=specs[1].subject) for spec in shown[:14]]
        yield case(f"pile/below-a-known-ca/{kind}", specs, shown=[leaf, *led, specs[1]])
    good = replace(specs[1], **ids)
    leaf = device(good, 30, akid=None)
    for count in (1, 4, 14):
        twins = [replace(good, key=("p256", 210 + number), serial=800 + number) for number in range(count)]
        signed = [replace(spec, damage="signature") for spec in twins]
        yield case(f"pile/good-one-last/{count}", specs, shown=[leaf, *signed, good])
        yield case(f"pile/good-one-first/{count}", specs, shown=[leaf, good, *signed])
        yield case(f"pile/true-twins/{count}", specs, shown=[leaf, *twins, good])


# --- dates to the second -----------------------------------------------------------------------

def moments():
    for position in range(3):
        for title, fields in (("until", {"end": "20300601120000Z"}), ("from", {"begin": "20300601120000Z"})):
            for second in ("115959", "120000", "120001"):
                specs = path(1)
                change(specs, position, **fields)
                yield case(f"moment/{title}@{position}/{second}", specs, moment=f"20300601{second}Z")
    for year, begin, end in (("1999", "19500101000000Z", "20991231235959Z"),
                             ("2049", "20200101000000Z", "20500101000000Z"),
                             ("2060", "20551231235959Z", "99991231235959Z")):
        for position in range(3):
            specs = path(1)
            for at in range(3):
                change(specs, at, begin="19500101000000Z", end="99991231235959Z")
            change(specs, position, begin=begin, end=end)
            yield case(f"moment/year-{year}@{position}", specs, moment=f"{year}1231235959Z")
            yield case(f"moment/year-before-{year}@{position}", specs, moment=f"{int(year) - 8}0615000000Z")


# --- who the device is -------------------------------------------------------------------------

def identities():
    long = "urn:dev:ops:" + "0123456789" * 20
    subjects = {
        "cn": name(CN="device-1"), "cn-long": name(CN="d" * 64), "cn-utf8": name(CN="gerät-ä-✓"),
        "cn-quotes": name(CN='a"b\\c\nd=e'), "cn-bmp": (("CN", der.BMP, "gerät"),),
        "cn-nul": name(CN="device\0admin"), "cn-empty": name(CN=""), "no-cn": name(O="Works", OU="Meters"),
        "serial-only": (("serial", der.PRINTABLE, "867000000000001"),),
        "email-only": (("email", der.IA5, "device@example.com"),),
        "two-cn": (("CN", der.UTF8, "first"), ("CN", der.UTF8, "second")), "empty": ()}
    alternatives = {
        "none": None, "uri": (("uri", "urn:dev:mac:0024befffe804ff1"),), "dns": (("dns", "device-1.example.com"),),
        "ip": (("ip", "c0000201"),), "ip6": (("ip", "20010db8000000000000000000000001"),),
        "email": (("email", "device@example.com"),), "directory": (("directory", name(CN="device-1")),),
        "other": (("other", "device-1"),), "registered": (("registered", "1.3.6.1.4.1.99999.4"),),
        "long": (("uri", long),), "many": tuple(("dns", f"d{n}.example.com") for n in range(20))}
    for subject, parts in subjects.items():
        for alternative in ("none", "uri"):
            specs = path(1, subject=parts, san=alternatives[alternative],
                         is_san_critical=not parts and alternative != "none")
            yield case(f"identity/{subject}/{alternative}", specs, f"subject-{subject}-{alternative}")
    for alternative, names in alternatives.items():
        for critical in (False, True):
            if names is not None:
                specs = path(1, subject=(), san=names, is_san_critical=critical)
                yield case(f"identity/san-only/{alternative}{'-critical' if critical else ''}", specs)
                specs = path(1, san=names, is_san_critical=critical)
                yield case(f"identity/san/{alternative}{'-critical' if critical else ''}", specs)


# --- kinds of keys -----------------------------------------------------------------------------

def keys():
    every_kind = ("p256", "p384", "p521", "ed25519", "rsa2048", "rsa3072")
    for leaf in every_kind:
        for other in every_kind:
            yield case(f"keys/{leaf}-{other}", path(1, (leaf, other, other)))
            yield case(f"keys/{leaf}-{other}-p256", path(1, (leaf, other, "p256")))


# --- length ------------------------------------------------------------------------------------

def lengths():
    for depth in range(4, 9):
        specs = path(depth)
        yield case(f"length/{depth}", specs)
        yield case(f"length/{depth}-root", specs, shown=specs)
        yield case(f"length/{depth}-reversed", specs, shown=[specs[0], *reversed(specs[1:-1])])
        for room in (depth - 1, depth):
            bounded = path(depth)
            change(bounded, depth + 1, path_len=room)
            yield case(f"length/{depth}-of-{room}", bounded)
    wide = path(1, san=tuple(("uri", f"urn:dev:mac:{number:016x}") for number in range(60)))
    yield case("length/wide", wide)


# --- name constraints --------------------------------------------------------------------------

def constraints():
    """On the issuing CA, the upper one, and the anchor."""
    tries = {
        "dns": ([("dns", "example.com")],
                {"same": ("dns", "example.com"), "below": ("dns", "d1.example.com"), "case": ("dns", "D1.EXAMPLE.com"),
                 "outside": ("dns", "d1.example.org"), "suffix": ("dns", "badexample.com"),
                 "other-kind": ("uri", "urn:dev:x")}),
        "dns-dot": ([("dns", ".example.com")],
                    {"same": ("dns", "example.com"), "below": ("dns", "d1.example.com"),
                     "outside": ("dns", "d1.example.org")}),
        "email-host": ([("email", "example.com")],
                       {"same": ("email", "a@example.com"), "below": ("email", "a@sub.example.com"),
                        "outside": ("email", "a@example.org")}),
        "email-domain": ([("email", ".example.com")],
                         {"same": ("email", "a@example.com"), "below": ("email", "a@sub.example.com")}),
        "email-box": ([("email", "a@example.com")],
                      {"same": ("email", "a@example.com"), "outside": ("email", "b@example.com")}),
        "ip": ([("ip", "c0000200ffffff00")],
               {"inside": ("ip", "c0000205"), "outside": ("ip", "c0000305"),
                "other-kind": ("ip", "20010db8000000000000000000000001")}),
        "ip6": ([("ip", "20010db8000000000000000000000000ffffffff000000000000000000000000")],
                {"inside": ("ip", "20010db8000000000000000000000001"), "outside": ("ip", "20010db9" + "00" * 12)}),
        "uri": ([("uri", "example.com")],
                {"same": ("uri", "coaps://example.com/a"), "below": ("uri", "coaps://d.example.com/a"),
                 "outside": ("uri", "coaps://example.org/a"), "no-host": ("uri", "urn:dev:x")}),
        "uri-dot": ([("uri", ".example.com")],
                    {"same": ("uri", "coaps://example.com/a"), "below": ("uri", "coaps://d.example.com/a"),
                     "port": ("uri", "coaps://d.example.com:5684/a")}),
        "directory": ([("directory", name(O="Works"))], {"subject": None, "san": ("directory", name(O="Elsewhere"))}),
        "directory-other": ([("directory", name(O="Elsewhere"))],
                            {"subject": None, "san": ("directory", name(O="Elsewhere", CN="x"))}),
        "directory-case": ([("directory", name(O="WORKS"))], {"subject": None}),
        "registered": ([("registered", "1.3.6.1.4.1.99999.4")], {"same": ("registered", "1.3.6.1.4.1.99999.4"), "absent": None}),
        "other": ([("other", "device-1")], {"same": ("other", "device-1"), "absent": None}),
    }
    for title, (trees, names) in tries.items():
        for which, entry in names.items():
            for side in ("permitted", "excluded"):
                for at in (1, 2, 3):
                    specs = path(2, san=None if entry is None else (entry,))
                    change(specs, at, **{side: tuple(trees)})
                    yield case(f"constraints/{title}/{which}/{side}@{at}", specs,
                               f"constraints-{title}-{which}-{side}@{'anchor' if at == 3 else 'ca'}")
    specs = path(2, san=(("dns", "d1.example.com"),))
    change(specs, 1, permitted=(("dns", "example.com"),), excluded=(("dns", "d1.example.com"),))
    yield case("constraints/both/excluded-wins", specs)
    specs = path(2, san=(("dns", "d1.example.com"), ("dns", "d1.example.org")))
    change(specs, 1, permitted=(("dns", "example.com"),))
    yield case("constraints/both/one-of-two-outside", specs)
    specs = path(2, san=(("dns", "d1.example.com"),))
    change(specs, 1, permitted=(("dns", "example.org"), ("dns", "example.com")))
    yield case("constraints/both/second-tree", specs)
    specs = path(2, san=(("dns", "d1.example.com"),))
    change(specs, 2, permitted=(("dns", "example.com"),))
    change(specs, 1, permitted=(("dns", "d1.example.com"),))
    yield case("constraints/both/narrowed", specs)
    change(specs, 1, permitted=(("dns", "example.org"),))
    yield case("constraints/both/widened", specs)
    for critical in (True, False):
        specs = path(1, san=(("dns", "d1.example.org"),))
        change(specs, 1, permitted=(("dns", "example.com"),), is_constraints_critical=critical)
        yield case(f"constraints/critical-{critical}", specs)
    specs = path(1, subject=name(CN="d1.example.org"))
    change(specs, 1, permitted=(("dns", "example.com"),))
    yield case("constraints/cn-as-host", specs, "constraints-cn-as-host")
    specs = path(1, subject=(("CN", der.UTF8, "d"), ("email", der.IA5, "a@example.org")))
    change(specs, 1, permitted=(("email", "example.com"),))
    yield case("constraints/email-in-subject", specs, "constraints-email-in-subject")
    # A self-issued CA is not bound by names, RFC 5280 section 6.1.4 (b) and 6.1.3 (b); a device is.
    specs = path(1)
    change(specs, 2, permitted=(("directory", name(O="Works")),))
    yield case("constraints/anchor-permits", specs)
    resubject(specs, 1, name(O="Elsewhere", CN="Stray CA"))
    yield case("constraints/ca-outside", specs, "constraints-ca-outside")
    specs = path(1)
    change(specs, 0, permitted=(("dns", "example.com"),))
    yield case("constraints/on-the-device", specs)


@lru_cache(maxsize=None)
def every():
    made = [*single_faults(), *pairs_of_faults(), *orders(), *extras(), *missing(), *anchors(), *rollover(),
            *crossed(), *forged(), *piles(), *moments(), *identities(), *keys(), *lengths(), *constraints()]
    names = [one.name for one in made]
    assert len(set(names)) == len(names), "two chains of one name"
    return tuple(made)
