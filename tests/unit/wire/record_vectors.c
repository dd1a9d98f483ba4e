#include "wire/record_vectors.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int version;
    enum aead aead;
    const char *secret, *iv, *cid;
    uint64_t number;
    uint8_t type;
    const char *record, *plaintext;
} texts[] = {
#define VECTOR(...) {__VA_ARGS__},
#include "wire/record_vectors.def"
};

static size_t unhex(const char *text, uint8_t *bytes, size_t max)
{
    size_t len = strlen(text) / 2;
    assert(len <= max);
    for (size_t i = 0; i < len; i++) {
        unsigned value;
        int read = sscanf(text + 2 * i, "%2x", &value);
        assert(read == 1);
        (void)read;
        bytes[i] = (uint8_t)value;
    }
    return len;
}

unsigned record_vectors_each(int version, void (*test)(const struct record_vector *vector))
{
    unsigned count = 0;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (texts[i].version != version)
            continue;
        struct record_vector vector = {.name = texts[i].name,
                                       .version = version,
                                       .aead = texts[i].aead,
                                       .number = texts[i].number,
                                       .type = texts[i].type};
        vector.secret_len = unhex(texts[i].secret, vector.secret, sizeof(vector.secret));
        vector.iv_len = unhex(texts[i].iv, vector.iv, sizeof(vector.iv));
        vector.cid_len = unhex(texts[i].cid, vector.cid, sizeof(vector.cid));
        vector.record_len = unhex(texts[i].record, vector.record, sizeof(vector.record));
        vector.plaintext_len =
            unhex(texts[i].plaintext, vector.plaintext, sizeof(vector.plaintext));
        test(&vector);
        count++;
    }
    return count;
}
