#include "wire/record.h"

#include "base/order.h"

bool record_window_has(const struct record_window *window, uint64_t number)
{
    if (number >= window->next)
        return false;
    uint64_t age = window->next - 1 - number;
    return age >= RECORD_WINDOW_BITS || (window->seen >> age & 1) != 0;
}

void record_window_take(struct record_window *window, uint64_t number)
{
    if (number < window->next) {
        uint64_t age = window->next - 1 - number;
        if (age < RECORD_WINDOW_BITS)
            window->seen |= (uint64_t)1 << age;
        return;
    }
    uint64_t steps = number + 1 - window->next;
    uint64_t seen = steps < RECORD_WINDOW_BITS ? window->seen << steps | 1 : 1;
    /* Who is killed on the way leaves a window that takes too little, never a replay (C4). */
    window->seen = UINT64_MAX;
    order_stores();
    window->next = number + 1;
    order_stores();
    window->seen = seen;
}

bool record_take_type(struct record_content *content)
{
    while (content->data_len != 0 && content->data[content->data_len - 1] == 0)
        content->data_len--;
    if (content->data_len == 0)
        return false;
    content->type = content->data[--content->data_len];
    return true;
}

enum { TWO_TO_23_5 = 11863283, TWO_TO_24_5 = 23726566 };
#define TWO_TO(n) ((uint64_t)1 << (n))

const struct record_limits *record_limits(enum aead aead, bool is_1_3)
{
    static const struct record_limits limits[AEAD_COUNT] = {
        [AEAD_AES_128_GCM] = {TWO_TO_24_5, TWO_TO(36)},
        [AEAD_AES_256_GCM] = {TWO_TO_24_5, TWO_TO(36)},
        [AEAD_AES_128_CCM] = {TWO_TO(23), TWO_TO_23_5},
        [AEAD_AES_256_CCM] = {TWO_TO(23), TWO_TO_23_5},
        /* Our own: with the 2^7 of the RFC's example 128 forged datagrams would end a session. */
        [AEAD_AES_128_CCM_8] = {TWO_TO(23), TWO_TO(20)},
        [AEAD_AES_256_CCM_8] = {TWO_TO(23), TWO_TO(20)},
        /* The numbers of records end before the key does (R35); one is left for an alert. */
        [AEAD_CHACHA20_POLY1305] = {TWO_TO(48) - 1, TWO_TO(36)},
    };
    static const struct record_limits gcm_12 = {TWO_TO_24_5, TWO_TO(28)};
    bool is_gcm = aead == AEAD_AES_128_GCM || aead == AEAD_AES_256_GCM;
    return is_gcm && !is_1_3 ? &gcm_12 : &limits[aead];
}
