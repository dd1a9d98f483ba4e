"""Where the judges differ, or the gate from both: a pattern of names, whether the gate serves such
hellos, and why. The first row that fits counts; one that no hello needs is an error."""

SERVES, REFUSES = True, False

DIFFERENCES = [
    # --- what the judges cannot tell, as they have no DTLS 1.3 and no connection IDs ---
    ("1.3 *: legacy_cookie", REFUSES, "RFC 9147 5.3: of no bytes; TLS has no such field"),
    ("1.2 *: connection_id empty", REFUSES, "RFC 9146 3: a length at least"),
    ("1.2 *: connection_id says more", REFUSES, "RFC 9146 3: no such bytes"),

    # --- versions ---
    ("*: records of *", SERVES, "RFC 9147 4: the version of a record in plaintext is ignored"),
    ("1.2 *: wrong version *", REFUSES, "RFC 6347 4.1: versions of DTLS begin with 254"),
    ("1.3 *: legacy_version feff", REFUSES, "RFC 9147 5.3: MUST be 254, 253"),

    # --- cookies ---
    ("1.2 *: unknown cookie of *", SERVES, "RFC 6347 4.2.1: as if there were none"),

    # --- malformed; one judge or both look away ---
    ("*: extension * with a byte too many", REFUSES, "RFC 8446 6.2: decode_error"),
    ("*: group list says less", REFUSES, "RFC 8446 6.2: decode_error"),
    ("*: half a signature", REFUSES, "RFC 8446 6.2: decode_error"),
    ("1.2 psk: no group", REFUSES, "RFC 8422 5.1.1: one at least"),
    ("1.2 *: points say more", REFUSES, "RFC 5246 7.2.2: decode_error"),
    ("1.2 certificate: no point format", REFUSES, "RFC 8422 5.1.2: uncompressed MUST be there"),
    ("1.2 certificate: compressed points only", REFUSES, "RFC 8422 5.1.2: likewise"),
    ("1.2 psk: no point format", SERVES, "RFC 8422 5.1.2: no matter where there are no points"),
    ("1.2 *: encrypt_then_mac with content", REFUSES, "RFC 7366 2: empty"),
    ("1.2 *: max_fragment_length of two", REFUSES, "RFC 6066 4: one byte"),
    ("1.2 *: server_name of no bytes", SERVES, "RFC 6066 3: nobody looks at the name"),
    ("1.2 *: renegotiation_info says less", REFUSES, "RFC 5746 3.2: nothing behind it"),
    ("1.3 *: renegotiation_info with verify_data", SERVES, "RFC 8446 4.2: not of 1.3, ignored"),
    ("1.3 *: ? compressions, *", REFUSES, "RFC 8446 4.1.2: one byte, 0"),
    ("1.3 *: 255 compressions, *", REFUSES, "RFC 8446 4.1.2: one byte, 0"),

    # --- groups and signatures ---
    ("1.2 psk: unknown signatures", SERVES, "RFC 5246 7.4.1.4.1: a PSK suite signs nothing"),
    ("1.2 certificate: psk *: unknown signatures", SERVES, "RFC 5246 7.4.1.4.1: likewise"),
    ("1.2 certificate: group 29", SERVES, "RFC 8422 5.3: it is for the device to refuse P-256"),
    ("1.2 certificate: no groups", SERVES, "RFC 8422 4: the server may choose"),
    ("1.2 certificate: no extensions", SERVES, "RFC 8422 4: the server may choose"),
    ("1.3 *: share twice", REFUSES, "RFC 8446 4.2.8: MAY check"),
    ("1.3 *: share of a group not offered", SERVES, "RFC 8446 4.2.8: MAY check; another is asked for"),

    # --- pre-shared keys: GnuTLS takes the first identity for the one ---
    ("1.3 psk*: age *", SERVES, "RFC 8446 4.2.11: of external PSKs MUST be ignored"),
    ("1.3 psk*: behind *", SERVES, "RFC 8446 4.2.11: unknown ones are passed over"),
    ("1.3 psk: with certificate: unknown", SERVES, "RFC 8446 4.2.11: SHOULD do without"),
    ("1.3 psk: with certificate: unknown of *", SERVES, "RFC 8446 4.2.11: SHOULD do without"),
    ("1.3 psk: with certificate: unknown with *", SERVES, "RFC 8446 4.2.11: SHOULD do without"),
    ("1.3 psk: with certificate: unknown mode", REFUSES,
     "RFC 8446 4.2.9: who names a PSK of ours is told about that, not asked for a certificate"),
    ("1.3 psk*: binder of 31", REFUSES, "RFC 8446 4.2.11: 32 bytes at least"),
    ("1.3 psk*: byte behind binders", REFUSES, "RFC 8446 6.2: decode_error"),
]
