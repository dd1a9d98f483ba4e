#include "property/property_wire.h"

#include <string.h>

enum {
    HEADER = 13,
    EPOCH_AT = 3,
    CID_AT = 11, /* RFC 9146 section 4 */
    TYPE_APPLICATION_DATA = 23,
    TYPE_CID = 25,
    /* RFC 9147 section 4: 001CSLEE. */
    CIPHERTEXT_MASK = 0xe0,
    CIPHERTEXT = 0x20,
    HAS_CID = 0x10,
    HAS_LONG_NUMBER = 0x08,
    HAS_LENGTH = 0x04,
    EPOCH_BITS = 0x03,
};

static bool is_ciphertext(const uint8_t *record)
{
    return (record[0] & CIPHERTEXT_MASK) == CIPHERTEXT;
}

bool wire_read(const uint8_t *data, size_t len, size_t cid_len, struct wire_record *record)
{
    if (len == 0)
        return false;
    bool has_cid = is_ciphertext(data) ? (data[0] & HAS_CID) != 0 : data[0] == TYPE_CID;
    size_t header = has_cid ? cid_len : 0;
    if (!is_ciphertext(data))
        header += HEADER;
    else if ((data[0] & HAS_LENGTH) != 0)
        header += (data[0] & HAS_LONG_NUMBER) != 0 ? 5 : 4;
    else
        return false; /* no library here makes these */
    if (len < header)
        return false;
    *record = (struct wire_record){
        .len = header + (size_t)(data[header - 2] << 8 | data[header - 1]),
        .epoch = is_ciphertext(data) ? data[0] & EPOCH_BITS
                                     : (uint32_t)(data[EPOCH_AT] << 8 | data[EPOCH_AT + 1]),
        .cid = !has_cid ? NULL : data + (is_ciphertext(data) ? 1 : CID_AT)};
    record->is_protected = is_ciphertext(data) || record->epoch != 0;
    return record->len <= len;
}

bool wire_last_protected(const uint8_t *data, size_t len, size_t cid_len,
                         struct wire_record *record)
{
    bool is_found = false;
    struct wire_record here;
    for (size_t at = 0; wire_read(data + at, len - at, cid_len, &here); at += here.len) {
        if (here.is_protected) {
            *record = here;
            is_found = true;
        }
    }
    return is_found;
}

size_t wire_strip_cid(const uint8_t *data, size_t len, size_t cid_len, uint8_t *out)
{
    struct wire_record record;
    if (!wire_read(data, len, cid_len, &record) || record.cid == NULL)
        return 0;
    size_t before = (size_t)(record.cid - data), behind = record.len - before - cid_len;
    memcpy(out, data, before);
    memcpy(out + before, record.cid + cid_len, behind);
    if (is_ciphertext(out))
        out[0] &= (uint8_t)~HAS_CID;
    else
        out[0] = TYPE_APPLICATION_DATA;
    return before + behind;
}
