#include "handshake/period_secret.h"

#include <string.h>

#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/hmac.h>

bool period_secret(const uint8_t master[PERIOD_SECRET_MASTER_BYTES], const char *purpose,
                   uint64_t period, uint8_t secret[PERIOD_SECRET_BYTES])
{
    Hmac hmac;
    uint8_t text[8];
    for (int i = 0; i < 8; i++)
        text[i] = (uint8_t)(period >> (8 * i));
    bool ok = wc_HmacInit(&hmac, NULL, INVALID_DEVID) == 0 &&
              wc_HmacSetKey(&hmac, WC_SHA256, master, PERIOD_SECRET_MASTER_BYTES) == 0 &&
              wc_HmacUpdate(&hmac, (const uint8_t *)purpose, (word32)strlen(purpose) + 1) == 0 &&
              wc_HmacUpdate(&hmac, text, sizeof(text)) == 0 && wc_HmacFinal(&hmac, secret) == 0;
    wc_HmacFree(&hmac);
    return ok;
}
