#include "creds/creds_flight.h"

#include "wire/message.h"

enum {
    /* The library keeps so many records of a flight (DtlsMsgPoolSave() and DTLS_POOL_SZ,
       internal.c). */
    RECORDS_MAX = 21,
    /* ServerHello, CertificateRequest and ServerHelloDone take one each, ServerKeyExchange the
       rest. */
    OTHER_RECORDS = 3,
    HEADERS = RECORD_HEADER_BYTES + HANDSHAKE_HEADER_BYTES,
    /* ServerKeyExchange but for the signature: curve, a point on P-384, algorithm, length. */
    KEY_EXCHANGE_BYTES = 4 + 97 + 4,
};

size_t creds_flight_certificates_max(uint32_t mtu_bytes, size_t signature_bytes)
{
    size_t record = mtu_bytes < DTLS_HANDSHAKE_RECORD_MAX ? mtu_bytes : DTLS_HANDSHAKE_RECORD_MAX;
    size_t room = record - HEADERS;
    size_t exchange = (KEY_EXCHANGE_BYTES + signature_bytes + room - 1) / room;
    size_t taken = OTHER_RECORDS + exchange;
    return taken < RECORDS_MAX ? (RECORDS_MAX - taken) * room : 0;
}
